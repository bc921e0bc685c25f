"""The writing half of a connection: answers first, then events, one stream after the other.

It is the only place that writes to the socket, and it waits for the socket: a slow
client leaves the cursors of its streams behind and holds up nobody else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from antiphon.gateway.stream import Stream

OUTBOX = 256
"""Answers that may wait before the connection stops taking requests."""


class Pump:
    """Writes until it is cancelled.

    Args:
        write: Sends one text frame and returns when there is room for another.
    """

    def __init__(self, write: Callable[[str], Awaitable[None]]) -> None:
        self._write = write
        self._outbox: deque[bytes] = deque()
        self._ready: dict[Stream, None] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._ended = False

    def put(self, frame: bytes) -> None:
        """Write *frame* before any further events; nothing, once writing has ended."""
        if self._ended:
            return
        self._outbox.append(frame)
        self._idle.clear()
        self._wake.set()

    def ready(self, stream: Stream) -> None:
        """*stream* may have something."""
        self._ready[stream] = None
        self._wake.set()

    def forget(self, stream: Stream) -> None:
        """Write nothing more of *stream*."""
        self._ready.pop(stream, None)

    @property
    def crowded(self) -> bool:
        """More answers wait than should."""
        return len(self._outbox) > OUTBOX

    async def drained(self) -> None:
        """Wait until no answer is left to write, or writing has ended."""
        await self._idle.wait()

    async def run(self) -> None:
        """Write whatever comes."""
        try:
            while True:
                if self._outbox:
                    await self._write_answer()
                elif self._ready:
                    await self._write_events(next(iter(self._ready)))
                else:
                    self._wake.clear()
                    await self._wake.wait()
        finally:
            self._ended = True
            self._outbox.clear()
            self._idle.set()

    async def _write_answer(self) -> None:
        await self._write(self._outbox[0].decode())
        self._outbox.popleft()
        if not self._outbox:
            self._idle.set()

    async def _write_events(self, stream: Stream) -> None:
        del self._ready[stream]
        frame = stream.frame()
        if frame is None:
            return
        self._ready[stream] = None  # behind the others
        await self._write(frame.decode())
        await asyncio.sleep(0)  # a fast socket never waits, the loop's others must run
