"""Actors and messages that most tests of the runtime use."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from antiphon.actors import Actor, ActorContext, Notice, Reason, Request

Ctx = ActorContext[Any]


@dataclass(frozen=True, eq=False)
class Do(Request[Any]):
    """Run *work* in the actor; its result is the answer, if there is a caller."""

    work: Callable[[Ctx], Awaitable[Any]]


@dataclass(frozen=True)
class Note:
    """Write *text* into the log."""

    text: str


@dataclass(frozen=True)
class Ask(Request[str]):
    """Answered with its own text."""

    text: str


@dataclass(frozen=True)
class Crash:
    """Raise *error*."""

    error: BaseException


class Recorder(Actor[Do | Note | Ask | Crash]):
    """Writes what happens to it into a log that the test holds."""

    def __init__(self, log: list[Any] | None = None) -> None:
        self.log = [] if log is None else log

    async def pre_start(self, ctx: Ctx) -> None:
        self.log.append("pre_start")

    async def post_start(self, ctx: Ctx) -> None:
        self.log.append("post_start")

    async def handle(self, msg: Do | Note | Ask | Crash, ctx: Ctx) -> None:
        match msg:
            case Do(work):
                ctx.reply(msg, await work(ctx))
            case Note(text):
                self.log.append(text)
            case Ask(text):
                self.log.append(text)
                ctx.reply(msg, text)
            case Crash(error):
                raise error

    async def handle_notice(self, notice: Notice, ctx: Ctx) -> None:
        self.log.append(notice)

    async def handle_event(self, event: Any, ctx: Ctx) -> None:
        if isinstance(event, BaseException):
            raise event
        self.log.append(event)

    async def post_stop(self, reason: Reason, ctx: Ctx) -> None:
        self.log.append(f"post_stop: {reason}")


class Gate:
    """Holds a handler until the test opens it."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def hold(self, ctx: Ctx | None = None) -> None:
        self.reached.set()
        await self.opened.wait()

    @property
    def do(self) -> Do:
        return Do(self.hold)


class Stubborn:
    """Holds a handler that survives cancelling, until the test lets it go."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.go = asyncio.Event()
        self.survived = 0

    async def hold(self, ctx: Ctx | None = None) -> None:
        self.reached.set()
        while not self.go.is_set():
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.survived += 1

    @property
    def do(self) -> Do:
        return Do(self.hold)


class ListSource:
    """An event source over a list; items may be notices."""

    def __init__(self, items: Sequence[Any] = ()) -> None:
        self.items = list(items)
        self.position = 0
        self.taken: list[int] = []
        self.was_closed = 0

    def take(self, limit: int) -> Sequence[Any] | Notice | None:
        rest = self.items[self.position : self.position + limit]
        if not rest:
            return None
        if isinstance(rest[0], Notice):
            self.position += 1
            return rest[0]
        end = next((i for i, item in enumerate(rest) if isinstance(item, Notice)), len(rest))
        return rest[:end]

    def advance(self, count: int) -> bool:
        self.position += count
        self.taken.append(count)
        return True

    def failed(self, count: int, error: BaseException) -> None:
        self.advance(count)

    def closed(self) -> None:
        self.was_closed += 1


async def until(condition: Callable[[], object], deadline: float = 5.0) -> None:
    """Wait for *condition* in the loop's own ticks."""
    async with asyncio.timeout(deadline):
        while not condition():
            await asyncio.sleep(0)
