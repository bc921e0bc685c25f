"""Forgetting: events are removed for good, as after a secret was published by mistake.

They leave the log, its index, the ring, and every file's bytes; readers' cursors go on,
and nobody hears of a gap. What stays is an audit record that says who did it, never what.

Promises: docs/semantics/retention.md#forgetting.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

import msgspec

from antiphon.bus.access import SYSTEM, Principal
from antiphon.bus.bus import Bus
from antiphon.bus.event_rules import check_id
from antiphon.bus.own_events import DLQ
from antiphon.bus.store import Query, Stored, StoreReader
from antiphon.bus.topics import check_pattern, matches
from antiphon.bus.turns import in_turns
from antiphon.errors import BadRequest, Forbidden
from antiphon.messages import Forgotten

logger = logging.getLogger(__name__)

FORGOTTEN = "_sys.audit.forgotten"
AUDIT = "_sys.audit.*"
LETTERS = f"{DLQ}.*"
STEP = 500
SCRUB_S = 60.0
SCRUB_PAUSE_S = 0.05
"""Between tries, since a reader may be in the way."""


class _Parked(msgspec.Struct):
    id: str
    topic: str


class _Letter(msgspec.Struct):
    event: _Parked


class _LetterEvent(msgspec.Struct):
    payload: _Letter


_decode = msgspec.json.Decoder(_LetterEvent).decode


async def forget(
    bus: Bus,
    *,
    pattern: str | None = None,
    id: str | None = None,
    principal: Principal = SYSTEM,
    dry_run: bool = False,
) -> Forgotten:
    """Remove the events that *pattern* matches, or all that have the id *id*, for good.

    The dead letters that hold one of them go too. Events published after this was called
    stay. Audit records stay whatever the pattern.

    Args:
        dry_run: Only count them.

    Raises:
        BadRequest, InvalidPattern: Not exactly one of the two is given, or it is none.
        Forbidden: *principal* is no admin.
        StoreUnavailable, StoreCorrupt, StorageUnavailable: The disk refuses; some may be gone.
    """
    _check(pattern, id, principal)
    wanted = await _wanted(bus, pattern, id)
    found = await _count(bus, wanted)
    letters = [row async for rows in _letters(bus, wanted, pattern, id) for row in rows]
    found = msgspec.structs.replace(
        found,
        events=found.events + len(letters),
        size_bytes=found.size_bytes + sum(size for _, _, size in letters),
        topics=found.topics + len({topic for _, topic, _ in letters}),
    )
    if dry_run or not found.events:
        return found
    # First the record: if the power fails now, it tells of too much, never of too little.
    facts = {"principal": principal.name, "pattern": pattern, "id": id, "events": found.events}
    await bus.publish_event(FORGOTTEN, facts, type="events_forgotten")
    events = 0
    async for rows in _steps(bus, wanted):
        events += await bus.log.removals.drop([row.seq for row in rows])
    async for copies in _letters(bus, wanted, pattern, id):  # anew: some may have come since
        events += await bus.log.removals.drop([seq for seq, _, _ in copies])
    return msgspec.structs.replace(found, events=events, scrubbed=await _scrub(bus), dry_run=False)


def _check(pattern: str | None, id: str | None, principal: Principal) -> None:
    if (pattern is None) == (id is None):
        raise BadRequest("forget takes either a pattern or an id")
    if not principal.access.admin:
        raise Forbidden(f"{principal.name} may not forget: that is an admin's")
    if pattern is not None:
        check_pattern(pattern)
    if id is not None:
        check_id(id)


async def _wanted(bus: Bus, pattern: str | None, id: str | None) -> Query:
    wanted = {
        name
        async for names in in_turns(bus.log.topics)
        for name in names
        if (pattern is None or matches(pattern, name)) and not matches(AUDIT, name)
    }
    return Query(topics=frozenset(wanted), id=id, before=bus.head + 1, limit=STEP)


async def _count(bus: Bus, wanted: Query) -> Forgotten:
    """What is there to forget; of whole topics that is known."""
    if wanted.id is None and wanted.topics is not None:
        known = map(bus.log.topics.get, wanted.topics)
        states = [state for state in known if state is not None and state.count]
        return Forgotten(
            events=sum(state.count for state in states),
            size_bytes=sum(state.size_bytes for state in states),
            topics=len(states),
            dry_run=True,
        )
    found = [(row.topic, len(row.data)) async for rows in _steps(bus, wanted) for row in rows]
    return Forgotten(
        events=len(found),
        size_bytes=sum(size for _, size in found),
        topics=len({topic for topic, _ in found}),
        dry_run=True,
    )


async def _letters(
    bus: Bus, wanted: Query, pattern: str | None, id: str | None
) -> AsyncIterator[list[tuple[int, str, int]]]:
    """The dead letters that hold such an event, some at a time: seq, topic, bytes."""
    own = wanted.topics if wanted.id is None and wanted.topics is not None else frozenset()
    names = frozenset(name for name in bus.log.topics if matches(LETTERS, name)) - own
    async for rows in _steps(bus, Query(topics=names, before=bus.head + 1, limit=STEP)):
        found = [(r.seq, r.topic, len(r.data)) for r in rows if _holds(r, pattern, id)]
        if found:
            yield found


def _holds(letter: Stored, pattern: str | None, id: str | None) -> bool:
    """Whether *letter* holds an event of that pattern or id."""
    event = _decode(letter.data).payload.event
    return event.id == id if pattern is None else matches(pattern, event.topic)


async def _steps(bus: Bus, wanted: Query) -> AsyncIterator[list[Stored]]:
    """The events by *wanted*, some at a time."""
    after = 0
    while True:
        rows = await bus.log.pages.run(partial(_select, replace(wanted, after=after)))
        if rows:
            yield rows
        if len(rows) < wanted.limit:
            return
        after = rows[-1].seq


def _select(query: Query, reader: StoreReader) -> list[Stored]:
    return reader.select(query)


async def _scrub(bus: Bus) -> bool:
    """Take the bytes out of the files; False if readers were in the way all the time."""
    deadline = bus.log.loop.time() + SCRUB_S
    while not await bus.log.removals.scrub():
        if bus.log.loop.time() > deadline:
            logger.warning("what was forgotten may stay in the WAL until it is next emptied")
            return False
        await asyncio.sleep(SCRUB_PAUSE_S)
    return True
