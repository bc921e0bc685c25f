"""Reads a command's pipes and publishes what comes, no faster than the log and the rate allow.

A thin shell: what a line is says ``lines.py``, what an event holds ``batches.py``, how
fast it may go ``rate.py``. A batch is awaited before the pipe is read again, so a slow log
leaves the pipe full, and the command waits.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import termios
from collections.abc import Awaitable, Callable
from typing import Any

from antiphon.actors import Clock
from antiphon.services.worker.batches import Batches, Folding, Gathering
from antiphon.services.worker.lines import LineSplitter
from antiphon.services.worker.rate import FOLDED_RATE, KEPT_RATE, RatePolicy

READ_BYTES = 32 * 1024

Say = Callable[[dict[str, Any]], Awaitable[None]]


class Stream:
    """One of a command's two streams; numbers its lines over all starts."""

    def __init__(self, name: str, *, folded: bool) -> None:
        self.name = name
        self.splitter = LineSplitter()
        self.batches: Batches = Folding() if folded else Gathering()


class Output:
    """The output of one worker: both streams, over all starts of its command.

    Args:
        say: Publishes the payload of one ``.progress``; it returns when that is in the log.
        folded: Keep only the newest lines from the beginning.
        keep_bytes: Past this much output, of both streams together, it is folded anyway.
    """

    def __init__(self, say: Say, clock: Clock, *, folded: bool, keep_bytes: int) -> None:
        self._say = say
        self._clock = clock
        self._folded = folded
        self._keep_bytes = keep_bytes
        self._rate = RatePolicy(FOLDED_RATE if folded else KEPT_RATE, clock.now())
        self._streams = [Stream(name, folded=folded) for name in ("stdout", "stderr")]
        self.lines = 0
        self.bytes = 0

    async def follow(self, stdout: int, stderr: int, last_call: asyncio.Future[None]) -> None:
        """Publish all that comes from the pipes until both have ended.

        After *last_call* only what lies in them at that moment is still read.
        """
        tasks = [
            asyncio.ensure_future(self._follow(stream, Pipe(fd, self._clock, last_call)))
            for stream, fd in zip(self._streams, (stdout, stderr), strict=True)
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, stream: Stream, pipe: Pipe) -> None:
        while (data := await self._next(stream, pipe)) != b"":
            if data is not None:
                now = self._clock.now()
                self._rate.spend(len(data), now)
                self._add(stream, stream.splitter.feed(data), len(data))
                await self._turn(stream)
            await self._publish(stream, due_only=True)
        self._add(stream, stream.splitter.end(), 0)
        await self._publish(stream, due_only=False)

    async def _next(self, stream: Stream, pipe: Pipe) -> bytes | None:
        """What can be read; empty at the end; None when it is time to publish."""
        now = self._clock.now()
        due = stream.batches.due(now)
        held = 0.0 if pipe.called else self._rate.wait(now)
        if held:
            await pipe.wait(held if due is None else min(held, due), readable=False)
            return None
        if not await pipe.wait(due, readable=True):
            return None
        return pipe.read(READ_BYTES)

    def _add(self, stream: Stream, lines: list[bytes], size: int) -> None:
        self.bytes += size
        self.lines += len(lines)
        stream.batches.add(lines, self._clock.now())

    async def _turn(self, stream: Stream) -> None:
        """Fold from here on if it has become too much; what is held is published first."""
        if self.bytes > self._keep_bytes and not self._folded:
            self._folded = True
            self._rate.change(FOLDED_RATE, self._clock.now())
        if self._folded and isinstance(stream.batches, Gathering):
            await self._publish(stream, due_only=False)
            stream.batches = Folding(stream.batches.next_line)

    async def _publish(self, stream: Stream, *, due_only: bool) -> None:
        while (due := stream.batches.due(self._clock.now())) is not None:
            if due_only and due > 0:
                return
            batch = stream.batches.take(self._clock.now())
            await self._say(batch.payload(stream.name))


class Pipe:
    """The read end of one pipe, non-blocking, waited for with a deadline."""

    def __init__(self, fd: int, clock: Clock, last_call: asyncio.Future[None]) -> None:
        self._fd = fd
        self._clock = clock
        self._last_call = last_call
        self._left: int | None = None

    @property
    def called(self) -> bool:
        return self._last_call.done()

    async def wait(self, timeout: float | None, *, readable: bool) -> bool:
        """Wait for data (if *readable*), the last call, or *timeout* seconds.

        True if it is worth reading: data, or its end, or the last call.
        """
        if self.called:
            return True
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[bool] = loop.create_future()

        def wake(worth: bool) -> None:
            if not woken.done():
                woken.set_result(worth)

        def call(_: object) -> None:
            wake(True)

        timer = None if timeout is None else self._clock.call_later(timeout, wake, False)
        self._last_call.add_done_callback(call)
        if readable:
            loop.add_reader(self._fd, wake, True)
        try:
            return await woken
        finally:
            if readable:
                loop.remove_reader(self._fd)
            self._last_call.remove_done_callback(call)
            if timer is not None:
                timer.cancel()

    def read(self, size: int) -> bytes | None:
        """At most *size* bytes; empty at the end of it all; None if nothing is there."""
        if self.called:
            if self._left is None:
                self._left = waiting(self._fd)
            size = min(size, self._left)
        try:
            data = os.read(self._fd, size) if size else b""
        except (BlockingIOError, InterruptedError):
            return b"" if self.called else None
        if self._left is not None:
            self._left -= len(data)
        return data


def waiting(fd: int) -> int:
    """How many bytes lie in a pipe."""
    (count,) = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, struct.pack("i", 0)))
    return int(count)
