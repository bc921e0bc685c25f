"""An actor that remembers what it was told, for tests to ask."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from antiphon.actors import Actor, ActorContext, ActorRef, ActorSystem, Notice

M = TypeVar("M")


class _ProbeActor(Actor[Any]):
    accepts = (object,)

    def __init__(self, probe: Probe[Any]) -> None:
        self._probe = probe

    async def pre_start(self, ctx: ActorContext[Any]) -> None:
        self._probe.ctx = ctx

    async def handle(self, msg: Any, ctx: ActorContext[Any]) -> None:
        self._probe.messages.append(msg)
        self._probe.changed()

    async def handle_notice(self, notice: Notice, ctx: ActorContext[Any]) -> None:
        self._probe.notices.append(notice)
        self._probe.changed()

    async def handle_event(self, event: Any, ctx: ActorContext[Any]) -> None:
        self._probe.events.append(event)
        self._probe.changed()


class Probe(Generic[M]):
    """Takes anything and keeps it, in order. Make one with ``await Probe.spawn(system)``.

    Attributes:
        ctx: Its context, to monitor, join or pipe by.
    """

    def __init__(self) -> None:
        self.messages: list[M] = []
        self.notices: list[Notice] = []
        self.events: list[Any] = []
        self.ref: ActorRef[M]
        self.ctx: ActorContext[Any]
        self._waiting: list[asyncio.Future[None]] = []

    @classmethod
    async def spawn(cls, system: ActorSystem, name: str | None = None) -> Probe[M]:
        """Start one under ``user``."""
        probe: Probe[M] = cls()
        probe.ref = await system.spawn(lambda: _ProbeActor(probe), name)
        return probe

    async def until(self, condition: Callable[[], object], timeout: float = 5.0) -> None:
        """Wait until *condition* holds, asked at each arrival; *timeout* is real seconds.

        Raises:
            TimeoutError: It doesn't hold in time.
        """
        async with asyncio.timeout(timeout):
            while not condition():
                news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiting.append(news)
                await news

    async def got(self, count: int, timeout: float = 5.0) -> list[M]:
        """Wait for *count* messages altogether; returns them."""
        await self.until(lambda: len(self.messages) >= count, timeout)
        return self.messages

    async def noticed(self, count: int, timeout: float = 5.0) -> list[Notice]:
        """Wait for *count* notices altogether; returns them."""
        await self.until(lambda: len(self.notices) >= count, timeout)
        return self.notices

    def changed(self) -> None:
        """Let those who wait ask again."""
        waiting, self._waiting = self._waiting, []
        for news in waiting:
            if not news.done():
                news.set_result(None)
