"""What the bus has stored, as a principal may see it: pages of events, one event, topics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import NamedTuple, TypedDict

from antiphon.bus.access import SYSTEM, Principal
from antiphon.bus.event_rules import to_utc
from antiphon.bus.log import Log
from antiphon.bus.patterns import check_patterns
from antiphon.bus.position import resolve
from antiphon.bus.store import Query, Stored, StoreReader, TopicState
from antiphon.bus.topics import matcher
from antiphon.bus.turns import in_turns
from antiphon.errors import (
    BadRequest,
    InvalidPayload,
    SubscriptionGap,
    SubscriptionReset,
    cut,
)
from antiphon.messages import TopicInfo

QUERY_LIMIT = 500
PAGE_BYTES = 4 * 1024 * 1024
"""A page ends about there: it lies in memory until its reader has taken it."""
FIRST_EVENTS = 100


class Page(NamedTuple):
    """Stored events as wire JSON, and where to go on; see ``messages.EventPage``."""

    data: list[bytes]
    cursor: str
    next: str | None


class PageAsked(TypedDict, total=False):
    """What ``query`` takes besides the patterns."""

    after: str | int | None
    before: str | int | None
    order: str
    since: datetime | None
    until: datetime | None
    type: str | None
    source: str | None
    correlation_id: str | None
    limit: int
    principal: Principal


class Past:
    """Reads the log; see ``Bus``."""

    def __init__(self, log: Log) -> None:
        self._log = log

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
        """A page of stored events, of those topics that *principal* may see.

        Args:
            after: Go on past this cursor or seq (``asc``).
            before: Go back from this cursor or seq (``desc``).
            since, until: Recorded from this time on; up to that time, itself included.
            limit: Events, 1 to 500; fewer come if they have more than about 4 MiB.

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
        checked = check_patterns(patterns, principal, narrow=True)
        seen = await self._topics_seen(checked, principal)
        low = await self._position(after, seen) if after is not None else 0
        head = self._log.head
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
        rows, is_whole = await self._select(query)
        return self._page(rows, query, max(high - 1, 0), is_whole=is_whole)

    async def get(self, seq: int, principal: Principal) -> bytes | None:
        """See ``Bus.get``."""
        if not 1 <= seq <= self._log.head:
            return None
        rows = await self._log.pages.run(lambda reader: reader.get((seq,)))
        return rows[0].data if rows and principal.access.may_see(rows[0].topic) else None

    async def topics(
        self, patterns: Sequence[str], *, principal: Principal, after: str, limit: int | None
    ) -> list[TopicInfo]:
        """See ``Bus.topics``."""
        may_see = _sight(check_patterns(patterns, principal, narrow=True), principal)
        found: list[str] = []
        async for names in in_turns(self._log.topics):
            found += [name for name in names if name > after and may_see(name)]
            if limit is not None:
                found = sorted(found)[:limit]
        states = ((name, self._log.topics.get(name)) for name in sorted(found))
        return [_info(name, state) for name, state in states if state is not None]

    async def _select(self, query: Query) -> tuple[list[Stored], bool]:
        """As many rows as are asked for or fit; and whether these are all that there are.

        Large events come a few at a time, by the average of those before.
        """
        rows: list[Stored] = []
        size, step = 0, min(query.limit, FIRST_EVENTS)
        while step:
            left = _beyond(query, rows[-1].seq, step) if rows else replace(query, limit=step)
            found = await self._log.pages.run(partial(_read, left))
            for row in found:
                if rows and size + len(row.data) > PAGE_BYTES:
                    return rows, False
                rows.append(row)
                size += len(row.data)
            if len(found) < step:
                return rows, True
            step = min(query.limit - len(rows), max(0, PAGE_BYTES - size) * len(rows) // size)
        return rows, False

    def _page(self, rows: list[Stored], query: Query, scanned: int, *, is_whole: bool) -> Page:
        data = [row.data for row in rows]
        if is_whole:
            return Page(data, self._log.cursor(scanned), None)
        last = self._log.cursor(rows[-1].seq)
        return Page(data, self._log.cursor(scanned) if query.descending else last, last)

    async def _topics_seen(
        self, patterns: tuple[str, ...], principal: Principal
    ) -> frozenset[str] | None:
        """The stored topics that *patterns* name and *principal* may see; None for all."""
        may_see = _sight(patterns, principal)
        seen: set[str] = set()
        async for names in in_turns(self._log.topics):
            seen.update(filter(may_see, names))
        return None if len(seen) == len(self._log.topics) else frozenset(seen)

    async def _position(self, after: str | int, seen: frozenset[str] | None) -> int:
        start = resolve(after, self._log.epochs, self._log.head)
        if start.reset is not None:
            raise SubscriptionReset(start.reset, self._log.cursor(start.position))
        if not isinstance(after, str) or after.isdigit():
            # A bare seq: the gap was told, and other topics may have events within it.
            return start.position
        trimmed = self._log.removals.gone_upto
        async for names in in_turns(self._log.topics if seen is None else seen):
            known = map(self._log.topics.get, names)
            ends = (state.trimmed_upto for state in known if state is not None)
            trimmed = max(trimmed, max(ends, default=0))
        if trimmed > start.position:
            raise SubscriptionGap(start.position + 1, trimmed, str(start.position))
        return start.position

    def _before(self, before: str | int) -> int:
        start = resolve(before, self._log.epochs, self._log.head + 1)
        if start.reset is not None:
            raise SubscriptionReset(start.reset, self._log.cursor(start.position))
        return start.position


def _sight(patterns: tuple[str, ...], principal: Principal) -> Callable[[str], object]:
    """Whether a topic is of *patterns*, and one that *principal* may see."""
    match, access = matcher(patterns), principal.access
    if access.admin:
        return match
    return lambda topic: match(topic) and access.may_see(topic)


def _beyond(query: Query, seq: int, limit: int) -> Query:
    """The same query, on from the row *seq*."""
    if query.descending:
        return replace(query, before=seq, limit=limit)
    return replace(query, after=seq, limit=limit)


def _read(query: Query, reader: StoreReader) -> list[Stored]:
    return reader.select(query)


def _info(name: str, state: TopicState) -> TopicInfo:
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
