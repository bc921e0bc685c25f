"""The writing half of a connection: answers first, then events, one stream after the other.

It is the only place that writes to the socket, and only while the socket has room: a slow
client leaves the cursors of its streams behind and holds up nobody else. When it writes is
``flusher.py``'s.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from antiphon.gateway.flusher import Flusher
from antiphon.gateway.stream import Parts

OUTBOX = 256
"""Answers that may wait before the connection stops taking requests."""


class Stream(Protocol):
    """Whatever has frames of events: a subscription of one kind or the other."""

    def frame(self) -> Parts | None:
        """The next frame; None: nothing now."""
        ...


class Transport(Protocol):
    """A socket that frames are written to."""

    @property
    def gone(self) -> bool:
        """The client has left: nothing can be written any more."""
        ...

    @property
    def has_room(self) -> bool:
        """Whether it takes frames now."""
        ...

    def write(self, parts: Parts) -> None:
        """Send one text frame."""
        ...


class Pump:
    """Writes until it is closed.

    Args:
        failed: Told of a fault in it; it has ended then.
    """

    def __init__(
        self, transport: Transport, flusher: Flusher, failed: Callable[[Exception], None]
    ) -> None:
        self._transport = transport
        self._flusher = flusher
        self._failed = failed
        self._outbox: deque[bytes] = deque()
        self._ready: dict[Stream, None] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._ended = False

    def put(self, frame: bytes) -> None:
        """Write *frame* before any further events; nothing, once writing has ended."""
        if self._ended:
            return
        self._outbox.append(frame)
        self._idle.clear()
        self._flusher.soon(self)

    def ready(self, stream: Stream) -> None:
        """*stream* may have something."""
        self._ready[stream] = None
        self._flusher.gather(self)

    def go_on(self) -> None:
        """The socket has room again, or is gone."""
        self._flusher.soon(self)

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

    def close(self) -> None:
        """Write nothing more. Idempotent."""
        self._ended = True
        self._outbox.clear()
        self._ready.clear()
        self._idle.set()
        self._flusher.forget(self)

    def write_one(self) -> bool:
        """Write all answers and one frame of events; whether there may be more at once."""
        if self._transport.gone:
            self.close()
            return False
        try:
            return self._write_answers() and self._write_events()
        except Exception as error:
            self.close()
            self._failed(error)
            return False

    def _write_answers(self) -> bool:
        """Whether all could be written."""
        transport, outbox = self._transport, self._outbox
        while outbox:
            if not transport.has_room:
                return False
            transport.write((outbox.popleft(),))
        self._idle.set()
        return transport.has_room

    def _write_events(self) -> bool:
        ready = self._ready
        while ready:
            stream = next(iter(ready))
            del ready[stream]
            frame = stream.frame()
            if frame is not None:
                ready[stream] = None  # behind the others
                self._transport.write(frame)
                return True
        return False
