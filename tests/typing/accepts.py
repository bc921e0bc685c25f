"""What users write, and what the checker must infer. Only type-checked, never run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TypeAlias, assert_never, assert_type

from antiphon.actors import (
    Actor,
    ActorContext,
    ActorRef,
    ActorSystem,
    Child,
    Key,
    ReplyTo,
    Request,
    Restart,
    Supervisor,
)


@dataclass(frozen=True, slots=True)
class Write:
    data: bytes


@dataclass(frozen=True, slots=True)
class Tail(Request[bytes]):
    n: int


@dataclass(frozen=True, slots=True)
class Count(Request[int | None]):
    pass


Msg: TypeAlias = Write | Tail | Count
TERM: Key[Msg] = Key("term/1")


class Terminal(Actor[Msg]):
    async def pre_start(self, ctx: ActorContext[Msg]) -> None:
        self.buf = b""
        self.later: list[ReplyTo[int | None]] = []
        ctx.send_after(1.0, Write(b""))
        ctx.pipe_to_self(asyncio.sleep(0, b"x"), Write)
        child = await ctx.spawn(Terminal, "child")
        assert_type(child, ActorRef[Msg])

    async def handle(self, msg: Msg, ctx: ActorContext[Msg]) -> None:
        assert_type(ctx.myself, ActorRef[Msg])
        match msg:
            case Write(data):
                self.buf += data
            case Tail(n):
                ctx.reply(msg, self.buf[-n:])
            case Count():
                self.later.append(ctx.defer(msg))
            case _:
                assert_never(msg)


async def main() -> None:
    async with ActorSystem("desk") as system:
        child = Child(TERM, Terminal, restart=Restart.TRANSIENT)
        await system.supervise(Supervisor([child, Child(Key[Msg]("term/2"), lambda: Terminal())]))
        term = system.ref(TERM)
        assert_type(term, ActorRef[Msg])
        term.cast(Write(b"hi"))
        assert_type(await term.call(Tail(2), timeout=1.0), bytes)
        assert_type(await term.call(Count()), int | None)
        await term.send(Write(b"x"), timeout=None)
        assert_type(term.try_cast(Tail(1)), bool)
        writer: ActorRef[Write] = term  # who takes more, takes less
        writer.cast(Write(b""))
        spawned = await system.spawn(Terminal)
        assert_type(spawned, ActorRef[Msg])
        assert_type(await system.get_or_spawn(TERM, Terminal), ActorRef[Msg])
