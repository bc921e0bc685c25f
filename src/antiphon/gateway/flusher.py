"""When the sockets' frames are written: answers at once, events gathered for some milliseconds.

A frame costs about the same whatever it holds, so events that come close together travel
together: after a flush, the next waits for 10 ms. The first after a quiet time waits for
nothing. All sockets are flushed side by side, frame by frame, so that those who read
the same take the same cut (``Subscription.take_cut``) and nobody is far ahead of others.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

FLUSH_S = 0.010
TURN_FRAMES = 64
"""Frames written before the loop's others have a turn."""


class Writer(Protocol):
    """Somebody with frames to write."""

    def write_one(self) -> bool:
        """Write what is urgent, and one frame of events; whether there may be more at once."""
        ...


class Turns(Protocol):
    """The event loop, as far as it is needed here."""

    def time(self) -> float: ...

    def call_soon(self, call: Callable[[], None], /) -> object: ...

    def call_at(self, when: float, call: Callable[[], None], /) -> object: ...


class Flusher:
    """Lets writers write, in turns of *loop*; by default the running one."""

    def __init__(self, loop: Turns | None = None) -> None:
        self._loop: Turns = loop or asyncio.get_running_loop()
        self._waiting: dict[Writer, None] = {}
        self._round: deque[Writer] = deque()
        self._placed: set[Writer] = set()
        self._timer: object | None = None
        self._turn: object | None = None
        self._flushed = -FLUSH_S

    def soon(self, writer: Writer) -> None:
        """*writer* has an answer, or room again: it writes in this turn of the loop."""
        self._place(writer)
        self._go_on()

    def gather(self, writer: Writer) -> None:
        """*writer* may have events: it writes with the next flush."""
        self._waiting[writer] = None
        if self._timer is None:
            at = max(self._flushed + FLUSH_S, self._loop.time())
            self._timer = self._loop.call_at(at, self._flush)

    def forget(self, writer: Writer) -> None:
        """*writer* has ended."""
        self._waiting.pop(writer, None)

    def _flush(self) -> None:
        self._timer = None
        self._flushed = self._loop.time()
        for writer in self._waiting:
            self._place(writer)
        self._waiting.clear()
        self._go_on()

    def _place(self, writer: Writer) -> None:
        """One place for each, however often it asks: else it would write more than others."""
        if writer not in self._placed:
            self._placed.add(writer)
            self._round.append(writer)

    def _go_on(self) -> None:
        if self._turn is None and self._round:
            self._turn = self._loop.call_soon(self._write)

    def _write(self) -> None:
        self._turn = None
        waiting = self._round
        for _ in range(min(TURN_FRAMES, len(waiting))):
            writer = waiting.popleft()
            self._placed.discard(writer)
            if writer.write_one():
                self._place(writer)
        self._go_on()
