"""A network between clients and a server that can be cut, frozen and closed.

It runs in the caller's loop, in front of one port. Bytes are handed on as they are.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

PIECE = 64 * 1024


class Proxy:
    """Listens on a free port of this machine, and passes on to *target*.

    Attributes:
        url: Where clients connect to.
        connections: Accepted so far.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listening: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._refusing = False
        self.connections = 0
        self.url = ""

    async def start(self) -> None:
        """Accept from now on."""
        self._listening = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._listening.sockets[0].getsockname()[1]}"

    async def aclose(self) -> None:
        """Accept no more, and cut what is open."""
        if self._listening is not None:
            self._listening.close()
        self.thaw()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Break every connection, both ways, without a goodbye."""
        for writer in self._open:
            writer.transport.abort()

    def freeze(self) -> None:
        """Pass nothing on, and break nothing: as a cable that was pulled out."""
        self._thawed.clear()

    def thaw(self) -> None:
        """Pass on what waits, and what comes."""
        self._thawed.set()

    def refuse(self, refusing: bool) -> None:
        """Break new connections as soon as they are made, or take them again."""
        self._refusing = refusing

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self._refusing:
            writer.transport.abort()
            return
        await self._thawed.wait()
        try:
            upstream = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, upstream[1]}
        self._pass(reader, upstream[1])
        self._pass(upstream[0], writer)

    def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._pass_on(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._forgetting(writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(PIECE):
                await self._thawed.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()

    def _forgetting(self, writer: asyncio.StreamWriter) -> Callable[[asyncio.Task[None]], None]:
        def forget(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._open.discard(writer)

        return forget
