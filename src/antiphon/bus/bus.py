"""The bus as the rest of the program sees it: publish, subscribe, query.

A facade over one ``Log`` and, for actors' subscriptions, the EventBusActor.
Every entry checks its topic, pattern, payload and access here, once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from antiphon.actors import ActorRef, current_trace
from antiphon.bus.access import SYSTEM, Principal
from antiphon.bus.batch import Batch
from antiphon.bus.event_rules import EVENT_BYTES, add_header, check_fields, check_payload, to_utc
from antiphon.bus.intake import Pending
from antiphon.bus.iterator import EventIterator
from antiphon.bus.log import Log
from antiphon.bus.position import resolve
from antiphon.bus.protocol import BusMessage, Subscribe, Unsubscribe
from antiphon.bus.store import Query, Stored, StoreStatus
from antiphon.bus.subscription import Subscription
from antiphon.bus.topics import check_pattern, check_topic, matches
from antiphon.errors import (
    BadRequest,
    Forbidden,
    InvalidPattern,
    InvalidPayload,
    Overloaded,
    PayloadTooLarge,
    StorageUnavailable,
    SubscriptionGap,
    SubscriptionReset,
    cut,
)
from antiphon.ids import new_id
from antiphon.messages import Event, EventIn, Level, Published, TopicInfo

PATTERNS = 32
QUERY_LIMIT = 500
TRACEPARENT = "traceparent"
EPHEMERAL = ("*.typing", "_sys.stats.*")
TOPICS_KEPT = 100_000

_encode = msgspec.json.Encoder().encode


class Page(NamedTuple):
    """Stored events as wire JSON, and where to go on; see ``messages.EventPage``."""

    data: list[bytes]
    cursor: str
    next: str | None


class Bus:
    """Publishes, subscribes and queries, on behalf of a principal.

    Use it from the loop that made it.

    Args:
        log: The log to work on.
        actor: The EventBusActor, for subscriptions of actors.
        ephemeral: Patterns of topics whose events are handed on but not kept.
    """

    def __init__(
        self, log: Log, actor: ActorRef[BusMessage], *, ephemeral: Sequence[str] = EPHEMERAL
    ) -> None:
        self._log = log
        self._actor = actor
        self._ephemeral = tuple(ephemeral)
        self._may_publish: dict[tuple[str, Principal], bool] = {}

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
        level: Level = "synced",
        principal: Principal = SYSTEM,
        remote: bool = False,
    ) -> asyncio.Future[Published]:
        """Publish one event; await the result, or keep it and go on.

        The event is fixed here: changing *payload* afterwards changes nothing. While a
        trace is current, the event carries its correlation id and its ``traceparent``
        header, unless given others, or the headers are full.

        Raises:
            InvalidTopic, InvalidPayload, PayloadTooLarge, Forbidden: At once, nothing queued.
            Overloaded, StorageUnavailable: By the future.
        """
        ephemeral = self._check_topic(topic, principal)
        body_payload = check_payload(payload, limit=EVENT_BYTES)
        if source is None:
            source = principal.source
        trace = current_trace()
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
        if trace is not None:
            headers = add_header(headers, TRACEPARENT, trace.traceparent)
        event = Event(
            id=new_id() if id is None else id,
            topic=topic,
            type=type,
            source=source,
            principal=principal.name,
            time=datetime.now(UTC) if time is None else to_utc(time),
            payload=msgspec.Raw(body_payload),
            correlation_id=correlation_id,
            causation_id=causation_id,
            key=key,
            headers=headers,
        )
        body = _encode(event)
        if len(body) > EVENT_BYTES:
            raise PayloadTooLarge(
                f"an event of {len(body)} bytes is over the limit of {EVENT_BYTES}",
                limit=EVENT_BYTES,
            )
        future: asyncio.Future[Published] = self._log.loop.create_future()
        if ephemeral:
            self._pass_on(topic, body)
            future.set_result(Published(id=event.id, seq=None, level="none"))
            return future
        given = None if id is None else f"{principal.name}\x1f{id}"
        waits = None if level == "none" else future
        pending = Pending(topic, event.id, body[1:], given, time is not None, waits)
        try:
            self._log.put(pending, remote=remote)
        except (Overloaded, StorageUnavailable) as error:
            future.set_exception(error)
            return future
        if waits is None:
            future.set_result(Published(id=event.id, seq=None, level="none"))
        return future

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
            level=level,
            principal=principal,
            remote=remote,
        )

    def _check_topic(self, topic: str, principal: Principal) -> bool:
        """Whether *topic* is ephemeral; decided once for each topic and principal."""
        known = (topic, principal)
        try:
            ephemeral = self._may_publish.get(known)
        except TypeError:  # a topic that can't be hashed is no topic
            ephemeral = None
        if ephemeral is None:
            check_topic(topic)
            if not principal.access.may_publish(topic):
                raise Forbidden(f"{principal.name} may not publish to {topic}", value=topic)
            ephemeral = any(matches(pattern, topic) for pattern in self._ephemeral)
            if len(self._may_publish) >= TOPICS_KEPT:
                self._may_publish.clear()
            self._may_publish[known] = ephemeral
        return ephemeral

    def _pass_on(self, topic: str, body: bytes) -> None:
        batch = Batch(after=0, upto=0, seqs=(0,), topics=[topic], data=[body])
        self._log.deliver_ephemeral(batch)

    # --- subscribing --------------------------------------------------------------------

    def check_patterns(
        self, patterns: Sequence[str], principal: Principal, *, narrow: bool = False
    ) -> tuple[str, ...]:
        """The patterns, checked, each once, sorted.

        Raises:
            InvalidPattern: One is no pattern, there are none, or more than 32.
            Forbidden: The principal's access doesn't cover one (with *narrow*: meets none).
        """
        if not 1 <= len(patterns) <= PATTERNS:
            raise InvalidPattern(
                f"a subscription takes 1 to {PATTERNS} patterns, got {len(patterns)}",
                limit=PATTERNS,
            )
        checked = sorted({check_pattern(pattern) for pattern in patterns})
        if narrow:
            checked = sorted(set(principal.access.narrow(checked)))
            if not checked:
                raise Forbidden(f"{principal.name} may see nothing of {cut(list(patterns))}")
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
    ) -> Subscription:
        """A subscription that its holder pulls from and closes.

        Raises:
            InvalidPattern, Forbidden, BadRequest: See ``check_patterns``; *start* is none.
        """
        checked = self.check_patterns(patterns, principal, narrow=narrow)
        return self._log.subscribe(
            sid, checked, principal.access, start, on_ready, owner=principal.name
        )

    async def subscribe(
        self,
        ref: ActorRef[Any],
        *patterns: str,
        start: str | int = "now",
        sid: str | None = None,
        principal: Principal = SYSTEM,
    ) -> str:
        """Let the actor *ref* handle the events of *patterns*, from *start*; the sid.

        The subscription belongs to the ref and survives restarts. Called again with the
        same patterns it keeps its position, so calling it in ``pre_start`` is right.
        """
        checked = self.check_patterns(patterns, principal)
        name = ",".join(checked) if sid is None else sid
        message = Subscribe(ref, name, checked, start, principal)
        return await self._actor.call(message)

    async def unsubscribe(self, ref: ActorRef[Any], sid: str) -> bool:
        """End a subscription of *ref*; False if it had none of that name."""
        return await self._actor.call(Unsubscribe(ref, sid))

    def events(
        self, *patterns: str, start: str | int = "now", principal: Principal = SYSTEM
    ) -> EventIterator:
        """Iterate over events, for code that is no actor. Close it, or use ``async with``."""
        checked = self.check_patterns(patterns, principal)
        return EventIterator(self._log, checked, principal, start)

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
        may_see = principal.access.may_see
        seen = frozenset(
            name
            for name in self._log.topics
            if any(matches(pattern, name) for pattern in patterns) and may_see(name)
        )
        return None if len(seen) == len(self._log.topics) else seen

    def _position(self, after: str | int, seen: frozenset[str] | None) -> int:
        start = resolve(after, self._log.epochs, self.head)
        if start.reset is not None:
            raise SubscriptionReset(start.reset, self.cursor(start.position))
        names = self._log.topics if seen is None else seen
        trimmed = max((self._log.topics[name].trimmed_upto for name in names), default=0)
        if trimmed > start.position and isinstance(after, str) and not after.isdigit():
            raise SubscriptionGap(start.position + 1, trimmed, self.cursor(trimmed))
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
        self, patterns: Sequence[str] = ("*",), *, principal: Principal = SYSTEM
    ) -> list[TopicInfo]:
        """The stored topics by name, with counts."""
        checked = self.check_patterns(patterns, principal, narrow=True)
        seen = self._topics_seen(checked, principal)
        names = self._log.topics if seen is None else seen
        return [self._topic(name) for name in sorted(names)]

    def _topic(self, name: str) -> TopicInfo:
        state = self._log.topics[name]
        return TopicInfo(
            name=name,
            count=state.count,
            size_bytes=state.size_bytes,
            first_seq=state.first_seq,
            last_seq=state.last_seq,
        )


def _micros(time: datetime) -> int:
    try:
        return round(to_utc(time).timestamp() * 1_000_000)
    except InvalidPayload as error:  # of a query it is no payload
        raise BadRequest(str(error), value=error.value) from None
