"""What arrives on a connection, let through a little in each turn of the loop.

A protocol of uvicorn handles all that one read brought before anybody else has a turn:
256 KiB may be 40,000 frames. An inlet stands in for the transport, so that it also
knows when the protocol wants nothing more; then at most one read waits here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

TURN_UNITS = 128
"""Frames, chunks or requests of one connection before the others have a turn."""
PART_BYTES = 1024
"""Let through at once where it may be full of small units; so these are the most too many."""


class Inlet:
    """Stands in for *transport*.

    Args:
        handle: Takes the next bytes; returns how many units they were.
        room: How many bytes may come next; 0: none before ``go_on``.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        handle: Callable[[bytes], int],
        room: Callable[[], int] = lambda: PART_BYTES,
    ) -> None:
        self.transport = transport
        self._handle = handle
        self._room = room
        self._waiting = bytearray()
        self._open = True
        self._shut = False
        self._turn: asyncio.Handle | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def feed(self, data: bytes) -> None:
        """Take what was read."""
        self._waiting += data
        if self._turn is None:
            self._run()

    def pause_reading(self) -> None:
        """Let nothing through: the protocol has enough."""
        self._open = False
        self._regulate()

    def resume_reading(self) -> None:
        """Let it through again, from the next turn on."""
        self._open = True
        self.go_on()

    def go_on(self) -> None:
        """There may be room again."""
        if self._turn is None and not self._shut:
            self._turn = asyncio.get_running_loop().call_soon(self._run)

    def flush(self) -> None:
        """The connection is lost: handle all that came before."""
        self._open = True
        while self._waiting:
            self._handle(self._next(PART_BYTES))
        self.shut()

    def shut(self) -> None:
        """Another protocol has the transport now, or nobody."""
        self._shut = True
        self._waiting.clear()
        if self._turn is not None:
            self._turn.cancel()

    def _run(self) -> None:
        self._turn = None
        left = TURN_UNITS
        try:
            while self._waiting and self._open and not self.transport.is_closing():
                if left <= 0:
                    self.go_on()
                    break
                room = self._room()
                if not room:
                    break
                left -= self._handle(self._next(room))
        except BaseException:
            self.transport.abort()
            raise
        self._regulate()

    def _next(self, size: int) -> bytes:
        part = bytes(self._waiting[:size])
        del self._waiting[:size]
        return part

    def _regulate(self) -> None:
        if self._shut or self.transport.is_closing():
            return
        if self._waiting or not self._open:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()
