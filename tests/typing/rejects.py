"""Lines that a checker must refuse, each marked with mypy's code. Never run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from tests.typing.accepts import TERM, Msg, Tail, Terminal, Write

from antiphon.actors import Actor, ActorContext, ActorRef, Child, Key, Request


@dataclass(frozen=True, slots=True)
class Foreign(Request[int]):
    pass


class Other(Actor[Foreign]):
    async def handle(self, msg: Foreign, ctx: ActorContext[Foreign]) -> None:
        ctx.reply(msg, "1")  # E: misc
        ctx.reply(Write(b""), 1)  # E: arg-type
        ctx.send_after(1.0, Write(b""))  # E: arg-type


class Careless(Actor[Msg]):
    async def handle(self, msg: Msg, ctx: ActorContext[Msg]) -> None:
        match msg:
            case Write():
                pass
            case Tail():
                pass
            case _:
                assert_never(msg)  # E: arg-type


class Wrong(Actor[Msg]):
    async def handle(self, msg: Write, ctx: ActorContext[Msg]) -> None:  # E: override
        pass


async def use(term: ActorRef[Msg], writer: ActorRef[Write]) -> None:
    term.cast(Foreign())  # E: arg-type
    await term.call(Foreign())  # E: arg-type
    await term.call(Write(b""))  # E: arg-type
    text: str = await term.call(Tail(1))  # E: arg-type
    print(text)
    await term.send("x")  # E: arg-type
    wider: ActorRef[Msg] = writer  # E: assignment
    wider.cast(Write(b""))
    Child(TERM, Other)  # E: arg-type
    key: Key[Foreign] = TERM  # E: assignment
    print(key, Terminal)
