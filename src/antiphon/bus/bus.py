"""The bus as the rest of the program sees it: publish, subscribe, query.

A facade over one ``Log`` and, for actors' subscriptions, the EventBusActor.
Every entry checks its topic, pattern, payload and access here, once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Unpack

from antiphon.actors import ActorRef, Trace, current_trace
from antiphon.actors.spans import Span, begin_span, end_with, recording
from antiphon.bus.access import SYSTEM, Principal
from antiphon.bus.batch import Batch
from antiphon.bus.durable import Lease
from antiphon.bus.ephemeral import EphemeralPolicy
from antiphon.bus.event_rules import (
    EVENT_BYTES,
    MAX_INT,
    add_header,
    check_fields,
    check_payload,
    may_not_publish,
    to_utc,
)
from antiphon.bus.holder import Holder
from antiphon.bus.intake import Pending
from antiphon.bus.iterator import EventIterator
from antiphon.bus.log import Log
from antiphon.bus.position import resolve
from antiphon.bus.protocol import BusMessage, Subscribe, Unsubscribe
from antiphon.bus.quotas import Quotas
from antiphon.bus.schemas import Schemas
from antiphon.bus.schemas import check as check_schemas
from antiphon.bus.store import Query, Stored, StoreStatus
from antiphon.bus.subscription import Subscription
from antiphon.bus.terms import MEMBERS, Terms, TermsAsked, check_terms
from antiphon.bus.topics import check_pattern, check_topic, matcher, matches
from antiphon.bus.traces import TRACEPARENT
from antiphon.bus.wording import Letterhead, Stamp, full, plain
from antiphon.errors import (
    BadRequest,
    Forbidden,
    InvalidPattern,
    InvalidPayload,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    StorageUnavailable,
    SubscriptionGap,
    SubscriptionReset,
    cut,
)
from antiphon.ids import new_id
from antiphon.messages import DurableInfo, EventIn, Level, Published, TopicInfo

PATTERNS = 32
QUERY_LIMIT = 500
EPHEMERAL = ("*.typing", "_sys.stats.*")
TOPICS_KEPT = 100_000
NONE_GIVEN = (None,) * 7
SCHEMAS = "_sys.schemas"


class Page(NamedTuple):
    """Stored events as wire JSON, and where to go on; see ``messages.EventPage``."""

    data: list[bytes]
    cursor: str
    next: str | None


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
        self._ephemeral = tuple(check_pattern(pattern) for pattern in ephemeral)
        self._schemas = Schemas() if schemas is None else schemas
        self._changing = asyncio.Lock()
        self._letterheads: dict[Principal, dict[str, Letterhead]] = {}
        self._heads_kept = 0
        self._writer: Principal | None = None  # who published last, and what is kept for them
        self._heads: dict[str, Letterhead] = {}
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
        head = self._letterhead(topic, principal, remote=remote)
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
            if trace is not None:
                correlation_id = correlation_id or trace.correlation_id
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
        if len(body) >= EVENT_BYTES:
            large = PayloadTooLarge(
                f"an event of {len(body) + 1} bytes is over the limit of {EVENT_BYTES}",
                limit=EVENT_BYTES,
            )
            if span is not None:
                span.end(PayloadTooLarge.__name__)
            raise large
        future: asyncio.Future[Published] = self._log.loop.create_future()
        if span is not None:
            future.add_done_callback(end_with(span))
        if remote and self.quotas is not None:
            try:
                self.quotas.charge(principal, len(body))
            except Overloaded as error:
                future.set_exception(error)
                return future
        if head.ephemeral:
            self._pass_on(topic, b"{" + body)
            future.set_result(Published(id=name, seq=None, level="none"))
            return future
        given = None if id is None else f"{principal.name}\x1f{id}"
        waits = None if level == "none" else future
        pending = Pending(topic, name, body, given, time is not None, waits, expect_last_seq)
        try:
            self._log.put(pending, remote=remote)
        except (Overloaded, StorageUnavailable) as error:
            future.set_exception(error)
            return future
        if waits is None:
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

    def _letterhead(self, topic: str, principal: Principal, *, remote: bool) -> Letterhead:
        """What is known of *topic* for *principal*; decided once for each pair."""
        if principal is not self._writer:
            self._writer = principal
            self._heads = self._letterheads.setdefault(principal, {})
        try:
            head = self._heads.get(topic)
        except TypeError:  # a topic that can't be hashed is no topic
            head = None
        if head is None:
            check_topic(topic)
            if not principal.access.may_publish(topic):
                raise may_not_publish(principal, topic)
            ephemeral = any(matches(pattern, topic) for pattern in self._ephemeral)
            if remote and self.quotas is not None and not ephemeral:
                self.quotas.check_topic(principal, topic)
            schemas = self._schemas.of(topic)
            head = Letterhead.of(topic, principal, ephemeral=ephemeral, schemas=schemas)
            self._keep(head, topic, principal)
        return head

    def _keep(self, head: Letterhead, topic: str, principal: Principal) -> None:
        if self._heads_kept >= TOPICS_KEPT:
            self._forget_letterheads()
            self._writer = principal
            self._heads = self._letterheads[principal] = {}
        self._heads_kept += 1
        self._heads[topic] = head

    def _forget_letterheads(self) -> None:
        self._letterheads.clear()
        self._heads_kept = 0
        self._writer = None

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
            NotFound: The pattern has none that could be taken away.
            StorageUnavailable: The disk refused; all is as before.
        """
        async with self._changing:
            following = self._schemas.changed(pattern, schema)
            if schema is None and pattern not in self._schemas.all():
                raise NotFound(f"{pattern} has no schema", value=pattern)
            await asyncio.to_thread(self._schemas.save, following)
            self._schemas.take(following)
            self._forget_letterheads()
        self.publish_event(
            SCHEMAS,
            {"pattern": pattern, "schema": schema, "by": principal.name},
            key=pattern,
            level="none",
        )

    # --- subscribing --------------------------------------------------------------------

    def check_patterns(
        self, patterns: Sequence[str], principal: Principal, *, narrow: bool = False
    ) -> tuple[str, ...]:
        """The patterns, checked, each once, sorted.

        Raises:
            InvalidPattern: One is no pattern, there are none, or more than 32.
            Forbidden: The principal's access doesn't cover one (with *narrow*: meets none).
        """
        if isinstance(patterns, str):
            raise InvalidPattern(f"patterns are a list, got {cut(patterns)} alone", value=patterns)
        if not 1 <= len(patterns) <= PATTERNS:
            raise InvalidPattern(
                f"a subscription takes 1 to {PATTERNS} patterns, got {len(patterns)}",
                limit=PATTERNS,
            )
        checked = sorted({check_pattern(pattern) for pattern in patterns})
        if narrow:
            checked = sorted(set(principal.access.narrow(checked)))
            if not checked:
                asked = cut(", ".join(patterns))
                raise Forbidden(f"{principal.name} may see nothing of {asked}", value=asked)
            return tuple(checked)
        for pattern in checked:
            if not principal.access.may_subscribe(pattern):
                raise Forbidden(f"{principal.name} may not subscribe to {pattern}", value=pattern)
        return tuple(checked)

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
        checked = self.check_patterns(patterns, principal, narrow=narrow)
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
        checked = self.check_patterns(patterns, principal)
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
        checked = self.check_patterns(patterns, principal)
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
        checked = self.check_patterns(patterns, principal) if patterns else ()
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

    async def query(
        self,
        patterns: Sequence[str] = ("*",),
        *,
        after: str | int | None = None,
        before: str | int | None = None,
        order: str = "asc",
        since: datetime | None = None,
        until: datetime | None = None,
        type: str | None = None,
        source: str | None = None,
        correlation_id: str | None = None,
        limit: int = 100,
        principal: Principal = SYSTEM,
    ) -> Page:
        """A page of stored events.

        Raises:
            BadRequest, InvalidPattern, Forbidden: By the rules of the arguments.
            SubscriptionGap, SubscriptionReset: *after* can't be continued.
            StoreUnavailable, StoreCorrupt: The log can't be read there.
        """
        if not 1 <= limit <= QUERY_LIMIT:
            raise BadRequest(
                f"limit must be from 1 to {QUERY_LIMIT}, got {limit}",
                value=limit,
                limit=QUERY_LIMIT,
            )
        if order not in ("asc", "desc"):
            raise BadRequest(f"order must be asc or desc, got {cut(order)}", value=order)
        if before is not None and order == "asc":
            raise BadRequest("before goes with order=desc")
        if after is not None and order == "desc":
            raise BadRequest("after goes with order=asc")
        checked = self.check_patterns(patterns, principal, narrow=True)
        seen = self._topics_seen(checked, principal)
        low = self._position(after, seen) if after is not None else 0
        head = self.head
        high = head + 1 if before is None else min(self._before(before), head + 1)
        query = Query(
            topics=seen,
            after=low,
            before=high,
            descending=order == "desc",
            since_us=None if since is None else _micros(since),
            until_us=None if until is None else _micros(until),
            type=type,
            source=source,
            correlation_id=correlation_id,
            limit=limit,
        )
        rows = await self._log.pages.run(lambda reader: reader.select(query))
        return self._page(rows, query, max(high - 1, 0))

    def _page(self, rows: list[Stored], query: Query, scanned: int) -> Page:
        data = [row.data for row in rows]
        if len(rows) < query.limit:
            return Page(data, self.cursor(scanned), None)
        last = self.cursor(rows[-1].seq)
        return Page(data, self.cursor(scanned) if query.descending else last, last)

    def _topics_seen(
        self, patterns: tuple[str, ...], principal: Principal
    ) -> frozenset[str] | None:
        """The stored topics that *patterns* name and *principal* may see; None for all."""
        named = filter(matcher(patterns), self._log.topics)
        access = principal.access
        seen = frozenset(named if access.admin else filter(access.may_see, named))
        return None if len(seen) == len(self._log.topics) else seen

    def _position(self, after: str | int, seen: frozenset[str] | None) -> int:
        start = resolve(after, self._log.epochs, self.head)
        if start.reset is not None:
            raise SubscriptionReset(start.reset, self.cursor(start.position))
        names = self._log.topics if seen is None else seen
        trimmed = max((self._log.topics[name].trimmed_upto for name in names), default=0)
        if trimmed > start.position and isinstance(after, str) and not after.isdigit():
            # A bare seq: it was told, and other topics may have events within the gap.
            raise SubscriptionGap(start.position + 1, trimmed, str(start.position))
        return start.position

    def _before(self, before: str | int) -> int:
        start = resolve(before, self._log.epochs, self.head + 1)
        if start.reset is not None:
            raise SubscriptionReset(start.reset, self.cursor(start.position))
        return start.position

    async def get(self, seq: int, *, principal: Principal = SYSTEM) -> bytes | None:
        """The event *seq* as wire JSON; None if it isn't there or may not be seen."""
        if not 1 <= seq <= self.head:
            return None
        rows = await self._log.pages.run(lambda reader: reader.get((seq,)))
        return rows[0].data if rows and principal.access.may_see(rows[0].topic) else None

    def topics(
        self,
        patterns: Sequence[str] = ("*",),
        *,
        principal: Principal = SYSTEM,
        after: str = "",
        limit: int | None = None,
    ) -> list[TopicInfo]:
        """The stored topics by name, with counts: past *after*, and *limit* of them at most."""
        checked = self.check_patterns(patterns, principal, narrow=True)
        seen = self._topics_seen(checked, principal)
        names: Iterable[str] = self._log.topics if seen is None else seen
        if after:
            names = (name for name in names if name > after)
        return [self._topic(name) for name in sorted(names)[:limit]]

    def _topic(self, name: str) -> TopicInfo:
        state = self._log.topics[name]
        return TopicInfo(
            name=name,
            count=state.count,
            size_bytes=state.size_bytes,
            first_seq=state.first_seq,
            last_seq=state.last_seq,
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


def _check_expected(topic: str, seq: int, ephemeral: bool) -> None:
    if type(seq) is not int or not 0 <= seq <= MAX_INT:
        raise BadRequest(f"expect_last_seq is a seq, or 0 for none, got {cut(seq)}", value=seq)
    if ephemeral:
        raise BadRequest(f"events of {topic} are not kept and have no seq", value=topic)


def _asked(terms: TermsAsked) -> Callable[[Terms], Terms]:
    """Checks and applies *terms*; what is wrong with them is told at once."""
    check_terms(Terms(), **terms)
    return lambda base: check_terms(base, **terms)


def _micros(time: datetime) -> int:
    try:
        return round(to_utc(time).timestamp() * 1_000_000)
    except InvalidPayload as error:  # of a query it is no payload
        raise BadRequest(str(error), value=error.value) from None
