"""The bus as the rest of the program sees it: publish, subscribe, query.

A facade over one ``Log`` and, for actors' subscriptions, the EventBusActor.
Every entry checks its topic, pattern, payload and access here, once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Unpack, get_args

from antiphon.actors import ActorRef, Trace, current_trace
from antiphon.actors.spans import Span, begin_span, end_with, recording
from antiphon.bus.access import SYSTEM, Principal
from antiphon.bus.batch import Batch
from antiphon.bus.durable import Lease
from antiphon.bus.ephemeral import EphemeralPolicy
from antiphon.bus.event_rules import BODY_BYTES, EVENT_BYTES, add_header, check_fields, to_utc
from antiphon.bus.holder import Holder
from antiphon.bus.intake import Pending
from antiphon.bus.iterator import EventIterator
from antiphon.bus.letterheads import Letterheads
from antiphon.bus.log import Log
from antiphon.bus.past import Page, PageAsked, Past
from antiphon.bus.patterns import check_patterns
from antiphon.bus.protocol import BusMessage, Subscribe, Unsubscribe
from antiphon.bus.quotas import Quotas
from antiphon.bus.schemas import Schemas
from antiphon.bus.schemas import check as check_schemas
from antiphon.bus.store import StoreStatus
from antiphon.bus.subscription import Subscription
from antiphon.bus.terms import MEMBERS, Terms, TermsAsked, check_terms
from antiphon.bus.traces import TRACEPARENT
from antiphon.bus.wording import Stamp, full, plain
from antiphon.errors import (
    BadRequest,
    InvalidPayload,
    InvalidSchema,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    StorageUnavailable,
    cut,
)
from antiphon.ids import new_id
from antiphon.messages import DurableInfo, EventIn, Level, Published, TopicInfo
from antiphon.messages.payload import MAX_INT, check_payload

LEVELS: tuple[Level, ...] = get_args(Level)
EPHEMERAL = ("*.typing", "_sys.stats.*")
NONE_GIVEN = (None,) * 7
SCHEMAS = "_sys.schemas"


class HoldOptions(TermsAsked, total=False):
    """What ``durable`` and ``join`` take besides the name and the patterns."""

    start: str | int
    principal: Principal
    member: str | None
    lease: float | None


class Bus:
    """Publishes, subscribes and queries, on behalf of a principal.

    Use it from the loop that made it.

    Args:
        log: The log to work on.
        actor: The EventBusActor, for subscriptions of actors.
        ephemeral: Patterns of topics whose events are handed on but not kept.
        schemas: Which payloads topics take; None: any, until ``set_schema``.
        quotas: How much each principal may publish from outside; None: as much as it likes.

    Raises:
        InvalidPattern: One of *ephemeral* is none.
    """

    def __init__(
        self,
        log: Log,
        actor: ActorRef[BusMessage],
        *,
        ephemeral: Sequence[str] = EPHEMERAL,
        schemas: Schemas | None = None,
        quotas: Quotas | None = None,
    ) -> None:
        self.quotas = quotas
        self._log = log
        self._actor = actor
        self._schemas = Schemas() if schemas is None else schemas
        self._changing = asyncio.Lock()
        self._letterheads = Letterheads(ephemeral, self._schemas)
        self._past = Past(log)
        self._stamp = Stamp()

    # --- facts --------------------------------------------------------------------------

    @property
    def log(self) -> Log:
        return self._log

    @property
    def head(self) -> int:
        """The last seq announced."""
        return self._log.head

    @property
    def epoch(self) -> str:
        """This incarnation of the log."""
        return self._log.epoch

    @property
    def status(self) -> StoreStatus:
        """How the store does."""
        return self._log.status

    def cursor(self, seq: int) -> str:
        """The cursor of *seq*."""
        return self._log.cursor(seq)

    # --- publishing ---------------------------------------------------------------------

    def publish_event(
        self,
        topic: str,
        payload: Any = None,
        *,
        type: str = "custom.event",
        source: str | None = None,
        id: str | None = None,
        time: datetime | None = None,
        correlation_id: str | None = None,
        causation_id: str | None = None,
        key: str | None = None,
        headers: dict[str, str] | None = None,
        expect_last_seq: int | None = None,
        level: Level = "synced",
        principal: Principal = SYSTEM,
        remote: bool = False,
    ) -> asyncio.Future[Published]:
        """Publish one event; await the result, or keep it and go on.

        The event is fixed here: changing *payload* afterwards changes nothing. While a
        trace is current, the event carries its correlation id and its ``traceparent``
        header, unless given others, or the headers are full.

        Args:
            expect_last_seq: Store it only if the last event of *topic* has this seq; 0: only
                if it never had one. A repeated *id* is a duplicate all the same.

        Raises:
            InvalidTopic, InvalidPayload, PayloadTooLarge, Forbidden, BadRequest: At once,
                nothing queued.
            Overloaded, StorageUnavailable, IdConflict, WrongExpectedSeq: By the future.
        """
        if level not in LEVELS:
            raise BadRequest(f"level is {' or '.join(LEVELS)}, got {cut(level)}", value=level)
        quotas = self.quotas if remote else None
        head = self._letterheads.of(topic, principal, quotas)
        words = check_payload(payload, limit=EVENT_BYTES)
        if head.schemas:
            check_schemas(topic, payload, head.schemas)
        if expect_last_seq is not None:
            _check_expected(topic, expect_last_seq, head.ephemeral)
        trace, span = current_trace(), None
        others = (source, time, correlation_id, causation_id, key, headers, trace)
        if id is None and type == "custom.event" and others == NONE_GIVEN:
            name = new_id()
            body = plain(head, name, self._stamp(), words)
        else:
            name, body, span = _written(
                words,
                topic,
                principal,
                trace,
                id=id,
                type=type,
                source=source,
                time=time,
                correlation_id=correlation_id,
                causation_id=causation_id,
                key=key,
                headers=headers,
            )
        if len(body) > BODY_BYTES:
            raise _too_large(len(body) + EVENT_BYTES - BODY_BYTES, span)
        future: asyncio.Future[Published] = self._log.loop.create_future()
        if span is not None:
            future.add_done_callback(end_with(span))
        stored = not head.ephemeral and level != "none"
        try:
            if quotas is not None:
                quotas.charge(principal, len(body))
            if head.ephemeral:
                self._pass_on(topic, b"{" + body)
            else:
                given = None if id is None else f"{principal.name}\x1f{id}"
                timed, correlated = time is not None, correlation_id is not None
                waits = future if stored else None
                pending = Pending(
                    topic, name, body, given, timed, correlated, waits, expect_last_seq
                )
                self._log.put(pending, remote=remote)
        except (Overloaded, StorageUnavailable) as error:
            future.set_exception(error)
        else:
            if not stored:
                future.set_result(Published(id=name, seq=None, level="none"))
        return future

    async def room(self) -> None:
        """Wait while too much is waiting to be stored, so that the next publish is taken.

        For code of this process that publishes without awaiting each answer::

            await bus.room()
            answers.append(bus.publish_event(topic, payload))

        Whoever doesn't wait is told ``Overloaded`` beyond 131,072 events or 64 MiB.
        """
        await self._log.room()

    def publish(
        self,
        event: EventIn,
        *,
        principal: Principal,
        level: Level = "synced",
        remote: bool = False,
    ) -> asyncio.Future[Published]:
        """Publish an event as a client handed it in; see ``publish_event``.

        Args:
            remote: The publisher is elsewhere: be told ``overloaded`` early, since
                nothing slows it down otherwise.
        """
        return self.publish_event(
            event.topic,
            event.payload,
            type=event.type,
            source=event.source,
            id=event.id,
            time=event.time,
            correlation_id=event.correlation_id,
            causation_id=event.causation_id,
            key=event.key,
            headers=event.headers,
            expect_last_seq=event.expect_last_seq,
            level=level,
            principal=principal,
            remote=remote,
        )

    def _pass_on(self, topic: str, body: bytes) -> None:
        batch = Batch(after=0, upto=0, seqs=(0,), topics=[topic], data=[body])
        self._log.deliver_ephemeral(batch)

    # --- schemas ------------------------------------------------------------------------

    def schemas(self) -> dict[str, Any]:
        """The JSON schema of each pattern that has one, as JSON values."""
        return self._schemas.all()

    async def set_schema(
        self, pattern: str, schema: Any | None, *, principal: Principal = SYSTEM
    ) -> None:
        """From now on refuse payloads for topics of *pattern* that don't fit *schema*.

        Kept before it counts, across restarts. Stored events stay as they are. The change is
        told on ``_sys.schemas``.

        Args:
            schema: A JSON Schema, of draft 2020-12 unless its ``$schema`` says else; None takes
                the pattern's away.

        Raises:
            InvalidPattern, InvalidSchema, BadRequest: *pattern* takes no schema, or it is none.
            InvalidPayload: The correlation id of the current trace is none.
            NotFound: The pattern has none that could be taken away.
            StorageUnavailable: The disk refused; all is as before.
        """
        async with self._changing:
            following = self._schemas.changed(pattern, schema)
            if schema is None and pattern not in self._schemas.all():
                raise NotFound(f"{pattern} has no schema", value=pattern)
            news = {"pattern": pattern, "schema": schema, "by": principal.name}
            _check_news(news)
            await asyncio.to_thread(self._schemas.save, following)
            self._schemas.take(following)
            self._letterheads.forget()
        self.publish_event(SCHEMAS, news, key=pattern, level="none")

    # --- subscribing --------------------------------------------------------------------

    def open_subscription(
        self,
        patterns: Sequence[str],
        *,
        start: str | int = "now",
        principal: Principal = SYSTEM,
        on_ready: Callable[[], None],
        sid: str = "",
        narrow: bool = False,
        ephemeral: EphemeralPolicy = "drop_oldest",
    ) -> Subscription:
        """A subscription that its holder pulls from and closes.

        Args:
            ephemeral: What a slow reader of ephemeral events keeps: the newest 256
                (``drop_oldest``), or the newest of each topic (``conflate``).

        Raises:
            InvalidPattern, Forbidden, BadRequest: See ``check_patterns``; *start* is none.
        """
        checked = check_patterns(patterns, principal, narrow=narrow)
        return self._log.subscribe(
            sid, checked, principal.access, start, on_ready, ephemeral, owner=principal.name
        )

    async def subscribe(
        self,
        ref: ActorRef[Any],
        *patterns: str,
        start: str | int = "now",
        sid: str | None = None,
        principal: Principal = SYSTEM,
        ephemeral: EphemeralPolicy = "drop_oldest",
        durable: str | None = None,
        group: str | None = None,
        **terms: Unpack[TermsAsked],
    ) -> str:
        """Let the actor *ref* handle the events of *patterns*, from *start*; the sid.

        The subscription belongs to the ref and survives restarts. Called again with the
        same patterns it keeps its position, so calling it in ``pre_start`` is right.

        Args:
            ephemeral: As for ``open_subscription``.
            durable: Hold the durable subscription of this name, which outlives the ref. An
                event whose handler returned is acknowledged; one whose handler raised
                comes again, to the next generation, and is parked after 5 tries.
            group: Join the group of this name in the same way; see ``join``.
            terms: As ``durable`` and ``join`` take them.
        """
        if durable is not None and group is not None:
            raise BadRequest(f"durable={cut(durable)} and group={cut(group)}: give one of them")
        terms.setdefault("members", 1 if group is None else MEMBERS)
        held = group if durable is None else durable
        checked = check_patterns(patterns, principal)
        name = (held or ",".join(checked)) if sid is None else sid
        asked = _asked(terms)
        message = Subscribe(ref, name, checked, start, principal, ephemeral, held, asked)
        return await self._actor.call(message)

    async def unsubscribe(self, ref: ActorRef[Any], sid: str) -> bool:
        """End a subscription of *ref*; False if it had none of that name."""
        return await self._actor.call(Unsubscribe(ref, sid))

    def events(
        self,
        *patterns: str,
        start: str | int = "now",
        principal: Principal = SYSTEM,
        ephemeral: EphemeralPolicy = "drop_oldest",
    ) -> EventIterator:
        """Iterate over events, for code that is no actor. Close it, or use ``async with``.

        *ephemeral* is as for ``open_subscription``.
        """
        checked = check_patterns(patterns, principal)
        return EventIterator(self._log, checked, principal, start, ephemeral)

    # --- durable subscriptions ----------------------------------------------------------

    async def durable(
        self,
        name: str,
        *patterns: str,
        start: str | int = "now",
        principal: Principal = SYSTEM,
        member: str | None = None,
        lease: float | None = None,
        **terms: Unpack[TermsAsked],
    ) -> Holder:
        """Hold the durable subscription *name*, which is made if it isn't there.

        It keeps its place in the store: whoever holds it next goes on where the last one
        has acknowledged. Each event comes at least once, in order within its lane: its key,
        or else its topic.

        Args:
            patterns: What it is about; none, to take one that is there as it is.
            start: Where a new one begins: ``now``, ``earliest``, ``last``, a cursor, a seq.
            member: The holder's name.
            lease: Seconds that the holder may be silent with an event in hand, default 30.
            terms: ``window`` (events in hand, 1,000), ``window_bytes`` (1 MiB), ``tries``
                (5), ``on_exhausted`` (``park`` to ``_sys.dlq.NAME``, or ``stop``). What is
                given replaces what was.

        Raises:
            BadRequest: *name* is no name, or has other patterns; a term is out of bounds.
            NotFound: It isn't there, and no patterns were given.
            Forbidden: It is somebody else's; or a pattern is not covered by what
                *principal* may see, or meets what it may not.
            LeaseHeld: Somebody holds it. DurableStopped: It stands still.
            SubscriptionReset: *start* is of another history.
            StorageUnavailable, Overloaded: It can't be kept now; 1,000 are there already.
        """
        holder = Holder(self._log.durables.save)
        attached = await self.open_lease(
            name,
            *patterns,
            on_ready=holder.wake,
            start=start,
            principal=principal,
            member=member,
            lease=lease,
            **terms,
        )
        holder.hold(attached)
        return holder

    async def open_lease(
        self,
        name: str,
        *patterns: str,
        on_ready: Callable[[], None],
        start: str | int = "now",
        principal: Principal = SYSTEM,
        member: str | None = None,
        lease: float | None = None,
        **terms: Unpack[TermsAsked],
    ) -> Lease:
        """As ``durable`` (and ``join``, with *members*), for a holder that pulls by itself.

        It calls ``take`` until that gives None, then again after *on_ready*, and releases the
        lease in the end.
        """
        checked = check_patterns(patterns, principal) if patterns else ()
        return await self._log.durables.attach(
            name,
            checked,
            terms=_asked({"members": 1, **terms}),
            start=start,
            principal=principal,
            member=new_id() if member is None else member,
            on_ready=on_ready,
            ttl=lease,
        )

    async def join(self, name: str, *patterns: str, **options: Unpack[HoldOptions]) -> Holder:
        """Join the group *name*: a durable subscription with room for many; see ``durable``.

        Its lanes are shared out among the members, each with its own window, lease and
        acknowledgements. When a member ends, what it had in hand goes to the others.

        Args:
            options: As ``durable`` takes them; *member* should be the same when the same
                one comes back, then it gets the same lanes. *members*: 256 at most.
        """
        options.setdefault("members", MEMBERS)
        return await self.durable(name, *patterns, **options)

    def durables(self) -> list[DurableInfo]:
        """The durable subscriptions, by name."""
        return self._log.durables.infos()

    async def drop_durable(self, name: str, *, principal: Principal = SYSTEM) -> None:
        """Forget a durable subscription for good; see ``Durables.drop``."""
        await self._log.durables.drop(name, principal=principal)

    async def resume_durable(
        self, name: str, *, skip: bool = False, principal: Principal = SYSTEM
    ) -> bool:
        """Let a stopped durable subscription go on; see ``Durables.resume``."""
        return await self._log.durables.resume(name, skip=skip, principal=principal)

    # --- asking -------------------------------------------------------------------------

    async def query(self, patterns: Sequence[str] = ("*",), **asked: Unpack[PageAsked]) -> Page:
        """A page of stored events; see ``Past.query``."""
        return await self._past.query(patterns, **asked)

    async def get(self, seq: int, *, principal: Principal = SYSTEM) -> bytes | None:
        """The event *seq* as wire JSON; None if it isn't there or may not be seen."""
        return await self._past.get(seq, principal)

    async def topics(
        self,
        patterns: Sequence[str] = ("*",),
        *,
        principal: Principal = SYSTEM,
        after: str = "",
        limit: int | None = None,
    ) -> list[TopicInfo]:
        """The stored topics by name, with counts: past *after*, and *limit* of them at most."""
        return await self._past.topics(patterns, principal=principal, after=after, limit=limit)


def _written(
    words: bytes,
    topic: str,
    principal: Principal,
    trace: Trace | None,
    *,
    id: str | None,
    type: str,
    source: str | None,
    time: datetime | None,
    correlation_id: str | None,
    causation_id: str | None,
    key: str | None,
    headers: dict[str, str] | None,
) -> tuple[str, bytes, Span | None]:
    """The id and the body of an event that gives more than a payload, and its step, if told."""
    span = None
    if trace is not None and correlation_id is None:
        correlation_id = trace.correlation_id
    check_fields(
        id=id,
        type=type,
        source=source,
        correlation_id=correlation_id,
        causation_id=causation_id,
        key=key,
        headers=headers,
    )
    when = datetime.now(UTC) if time is None else to_utc(time)
    name = new_id() if id is None else id
    if trace is not None:
        if recording():
            span = _publishing(topic, name, len(words), trace)
        own = trace if span is None else span.trace
        headers = add_header(headers, TRACEPARENT, own.traceparent)
    body = full(
        words,
        id=name,
        topic=topic,
        type=type,
        source=principal.source if source is None else source,
        principal=principal.name,
        time=when,
        correlation_id=correlation_id,
        causation_id=causation_id,
        key=key,
        headers=headers,
    )
    return name, body, span


def _too_large(size: int, span: Span | None) -> PayloadTooLarge:
    if span is not None:
        span.end(PayloadTooLarge.__name__)
    return PayloadTooLarge(
        f"an event of {size} bytes is over the limit of {EVENT_BYTES}", limit=EVENT_BYTES
    )


def _publishing(topic: str, id: str, size: int, trace: Trace) -> Span | None:
    """The step of publishing, until the event is taken or refused."""
    told = {
        "messaging.operation.type": "send",
        "messaging.operation.name": "publish",
        "messaging.destination.name": topic,
        "messaging.message.id": id,
        "messaging.message.body.size": size,
    }
    return begin_span(f"publish {topic}", "producer", trace, told)


def _check_news(news: dict[str, Any]) -> None:
    """See that the change of a schema can be told, before it is made."""
    trace = current_trace()
    check_fields(correlation_id=None if trace is None else trace.correlation_id)
    try:
        check_payload(news)
    except InvalidPayload as error:
        raise InvalidSchema(f"a schema must fit into an event of {SCHEMAS}: {error}") from None


def _check_expected(topic: str, seq: int, ephemeral: bool) -> None:
    if type(seq) is not int or not 0 <= seq <= MAX_INT:
        raise BadRequest(f"expect_last_seq is a seq, or 0 for none, got {cut(seq)}", value=seq)
    if ephemeral:
        raise BadRequest(f"events of {topic} are not kept and have no seq", value=topic)


def _asked(terms: TermsAsked) -> Callable[[Terms], Terms]:
    """Checks and applies *terms*; what is wrong with them is told at once."""
    check_terms(Terms(), **terms)
    return lambda base: check_terms(base, **terms)
