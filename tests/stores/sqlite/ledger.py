"""What publishers and readers were told of a log, and whether the log still says the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from antiphon.app import Core, core
from antiphon.bus import Gap, Live, Reset, Subscription
from antiphon.bus.batch import Slice
from antiphon.messages import Event
from antiphon.stores import SqliteEventStore
from antiphon.stores.sqlite.health import examine

PATTERN = "load.*"
OLD = "load.old"
"""The topic that is trimmed now and then."""
CURSORS_TRIED = 5


def topic_of(id: str) -> str:
    number = int(id.rpartition("-")[2])
    return OLD if number % 5 == 0 else f"load.t{number % 5}"


def payload_of(id: str) -> dict[str, Any]:
    """Small, large, and past one page."""
    number = int(id.rpartition("-")[2])
    return {"id": id, "text": "x" * (20, 300, 9000)[number % 3]}


@dataclass
class Ledger:
    """What is to be true of one log, whatever happened to its process or its power.

    Attributes:
        tried: Ids that were published, answered or not.
        acknowledged: The seq that each acknowledged id got.
        cursors: Cursors that were handed out, with their seqs.
        shown: Ids by seq, as readers saw them.
        trimmed: Up to here, events of ``OLD`` may be gone.
    """

    tried: set[str] = field(default_factory=set)
    acknowledged: dict[str, int] = field(default_factory=dict)
    cursors: dict[str, int] = field(default_factory=dict)
    shown: dict[int, str] = field(default_factory=dict)
    trimmed: int = 0

    def copy(self) -> Ledger:
        return Ledger(
            set(self.tried),
            dict(self.acknowledged),
            dict(self.cursors),
            dict(self.shown),
            self.trimmed,
        )

    def hear(self, line: str) -> None:
        """Take in a line of ``publisher.py``."""
        match line.split():
            case ["try", id]:
                self.tried.add(id)
            case ["ack", id, seq, cursor]:
                assert self.acknowledged.setdefault(id, int(seq)) == int(seq), "moved"
                self.cursors[cursor] = int(seq)
            case ["got", seq, id]:
                self.see(int(seq), id)
            case ["trim", seq]:
                self.trimmed = max(self.trimmed, int(seq))
            case other:
                raise AssertionError(f"not a line of a publisher: {other}")

    def see(self, seq: int, id: str) -> None:
        assert self.shown.setdefault(seq, id) == id, f"seq {seq} was given twice"

    async def check(self, path: Path, tries: Iterable[int]) -> int:
        """Open the log at *path* and compare; how many of the unanswered ids were stored.

        Args:
            tries: Picks the cursors to go on from, each a number of any size.
        """
        health = await asyncio.to_thread(examine, path)
        assert not health.troubles, health.troubles
        async with core(SqliteEventStore(path)) as running:
            events = await stored(running)
            found = self._check_events(events)
            cursors = sorted(self.cursors.items(), key=lambda item: item[1])
            for number in tries:
                if cursors:
                    cursor, seq = cursors[number % len(cursors)]
                    await self._check_cursor(running, cursor, seq, events)
            await self._repeat_the_rest(running)
            self._check_events(await stored(running))
        return found

    def _check_events(self, events: list[Event]) -> int:
        """Acknowledged and shown events are there, each once, under its own seq."""
        places: dict[str, int] = {}
        for event in events:
            assert event.id not in places, f"{event.id} is stored twice"
            assert event.payload == payload_of(event.id)
            assert event.seq is not None
            places[event.id] = event.seq
            self.see(event.seq, event.id)
        for id, seq in [*self.acknowledged.items(), *((i, s) for s, i in self.shown.items())]:
            if topic_of(id) == OLD and seq <= self.trimmed:
                assert places.get(id, seq) == seq
            else:
                assert places.get(id) == seq, f"{id} was seq {seq}, now {places.get(id)}"
        return len(self.tried & places.keys() - self.acknowledged.keys())

    async def _check_cursor(
        self, running: Core, cursor: str, seq: int, events: list[Event]
    ) -> None:
        """It goes on right after its event; what was trimmed meanwhile is told as a gap."""
        got, notices = await read_on(running, cursor)
        assert got == [event.seq for event in events if event.seq > seq]  # type: ignore[operator]
        state = running.log.topics.get(OLD)
        trimmed = state is not None and state.trimmed_upto > seq
        assert [type(notice) for notice in notices] == ([Gap] if trimmed else [])

    async def _repeat_the_rest(self, running: Core) -> None:
        """Publish again what was never answered, with the same ids."""
        left = sorted(self.tried - self.acknowledged.keys())
        futures = [publish(running, id) for id in left]
        for id, result in zip(left, await asyncio.gather(*futures), strict=True):
            assert result.seq is not None
            assert result.cursor is not None
            self.acknowledged[id] = result.seq
            self.see(result.seq, id)


def publish(running: Core, id: str) -> Any:
    return running.bus.publish_event(topic_of(id), payload_of(id), id=id)


async def stored(running: Core) -> list[Event]:
    """Every event of the load, in order."""
    got, _ = await _read(running, "earliest")
    return got


async def read_on(running: Core, cursor: str) -> tuple[list[int], list[Gap | Reset]]:
    """The seqs after *cursor* up to the head, and what was said of missing ones."""
    events, notices = await _read(running, cursor)
    return [event.seq or 0 for event in events], notices


async def _read(running: Core, start: str) -> tuple[list[Event], list[Gap | Reset]]:
    ready = asyncio.Event()
    subscription: Subscription = running.bus.open_subscription(
        [PATTERN], start=start, on_ready=ready.set
    )
    events: list[Event] = []
    notices: list[Gap | Reset] = []
    try:
        async with asyncio.timeout(30):
            while True:
                taken = subscription.take()
                if taken is None:
                    await ready.wait()
                    ready.clear()
                elif isinstance(taken, Live):
                    return events, notices
                elif isinstance(taken, (Gap, Reset)):
                    notices.append(taken)
                elif isinstance(taken, Slice):
                    events += taken.events
    finally:
        subscription.close()
