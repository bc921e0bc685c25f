"""The queue of a client's publishes: none is forgotten before it is answered. Pure.

Every event has an id of its own, so the server takes it once however often it is sent. What
was in flight when a connection was lost is sent again, in its old place, before the rest.

Events are sent in the order in which they were put in, and stored in it, but for one that the
server had no room for just then: it is sent again before all that still waits, and those that
were in flight behind it may have overtaken it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat

from antiphon.errors import BusError, Overloaded, StorageUnavailable
from antiphon.messages import Level, Published

MOST_EVENTS = 10_000
MOST_BYTES = 16 * 1024 * 1024
FRAME_EVENTS = 1000
FRAME_BYTES = 512 * 1024
"""Half of what a frame may have; an event alone has 256 KiB at most."""
MOST_EVENT_BYTES = 1024 * 1024 - 256
"""A frame that holds more is over what a server takes, and would end every connection."""
IN_FLIGHT = 8
"""Frames that may wait for their answers."""

Answer = Published | BusError


@dataclass(eq=False, slots=True)
class Entry:
    """One event on its way.

    Attributes:
        data: The event as JSON.
        answered: Called once, with what came of it.
        sent: It has left, and not every time was answered: its outcome is unknown.
        refused: Why the server had no room for it the last time; None while it is in flight.
    """

    id: str
    data: bytes
    level: Level
    answered: Callable[[Answer], None] = field(repr=False)
    sent: bool = False
    lost: bool = False
    refused: BusError | None = None


class Outbox:
    """See the module's text.

    Args:
        most_events, most_bytes: Of all that is not answered.
    """

    def __init__(self, *, most_events: int = MOST_EVENTS, most_bytes: int = MOST_BYTES) -> None:
        self.most_events = most_events
        self.most_bytes = most_bytes
        self.size_bytes = 0
        self._waiting: deque[Entry] = deque()
        self._flying: dict[int, list[Entry]] = {}
        self._not_before = 0.0

    def __len__(self) -> int:
        return len(self._waiting) + sum(map(len, self._flying.values()))

    def has_room(self, size: int) -> bool:
        """Whether an event of *size* bytes fits; one always fits into an empty queue."""
        count = len(self)
        return not count or (count < self.most_events and self.size_bytes + size <= self.most_bytes)

    def put(self, entry: Entry) -> None:
        """Take *entry*, whose room was asked for."""
        self._waiting.append(entry)
        self.size_bytes += len(entry.data)

    def take_back(self, entry: Entry) -> bool:
        """Forget *entry*, if it has not left yet; whether that was so."""
        if entry.sent or entry not in self._waiting:
            return False
        self._waiting.remove(entry)
        self.size_bytes -= len(entry.data)
        return True

    # --- sending ----------------------------------------------------------------------------

    def next_frame(self, request: int, now: float) -> bytes | None:
        """The next ``pub`` frame, if one may be sent now; *request* names it."""
        if not self._waiting or len(self._flying) >= IN_FLIGHT or now < self._not_before:
            return None
        entries = self._cut()
        self._flying[request] = entries
        for entry in entries:
            entry.sent = True
            entry.refused = None
        events = b",".join([entry.data for entry in entries])
        level = entries[0].level.encode()
        return b'{"op":"pub","id":%d,"level":"%s","events":[%s]}' % (request, level, events)

    def _cut(self) -> list[Entry]:
        """As many as fit into one frame, all of one level."""
        level, size = self._waiting[0].level, 0
        entries: list[Entry] = []
        while self._waiting and len(entries) < FRAME_EVENTS:
            entry = self._waiting[0]
            size += len(entry.data)
            if entries and (entry.level != level or size > FRAME_BYTES):
                break
            entries.append(self._waiting.popleft())
        return entries

    @property
    def deadline(self) -> float | None:
        """When to ask for the next frame again; None: after the next answer."""
        return self._not_before if self._waiting and len(self._flying) < IN_FLIGHT else None

    # --- answers ----------------------------------------------------------------------------

    def answered(self, request: int, results: Sequence[Answer], now: float) -> None:
        """The frame *request* has a result for each of its events."""
        again: list[Entry] = []
        short = BusError("the server gave too few results: this event may be stored")
        entries = self._flying.pop(request, ())
        for entry, result in zip(entries, chain(results, repeat(short)), strict=False):
            if isinstance(result, Overloaded | StorageUnavailable):
                again.append(entry)
                entry.refused = result
                entry.sent = entry.lost or isinstance(result, StorageUnavailable)
                self._wait(result, now)
            else:
                self._settle(entry, result)
        self._waiting.extendleft(reversed(again))

    def refused(self, request: int, error: BusError, now: float) -> bool:
        """The whole frame was refused; whether there was one of that name."""
        entries = self._flying.get(request)
        if entries is None:
            return False
        self.answered(request, [error] * len(entries), now)
        return True

    def lost(self) -> None:
        """The connection is gone: what was in flight is sent again, in its old order."""
        flying = [entry for entries in self._flying.values() for entry in entries]
        for entry in flying:
            entry.lost = True
        self._flying.clear()
        self._waiting.extendleft(reversed(flying))
        self._not_before = 0.0

    def give_up(self, error: Callable[[Entry], BusError | Exception]) -> list[Entry]:
        """Answer all that is left with an error of each; what they were."""
        self.lost()
        left = list(self._waiting)
        self._waiting.clear()
        self.size_bytes = 0
        for entry in left:
            entry.answered(error(entry))  # type: ignore[arg-type]
        return left

    def _wait(self, error: Overloaded | StorageUnavailable, now: float) -> None:
        self._not_before = max(self._not_before, now + (error.retry_after_ms or 0) / 1000)

    def _settle(self, entry: Entry, result: Answer) -> None:
        self.size_bytes -= len(entry.data)
        entry.answered(result)
