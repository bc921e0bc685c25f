"""Lines that a checker must refuse, each marked with mypy's code. Never run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from tests.typing.accepts import TERM, Msg, Tail, Terminal, Write, fetch

from antiphon.actors import (
    Actor,
    ActorContext,
    ActorRef,
    Child,
    Key,
    Pool,
    Request,
    Resize,
    Routing,
    Task,
)


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


def text_key(msg: str) -> str:
    return msg


async def pools(term: ActorRef[Msg]) -> None:
    await term.call(Resize(3))  # E: arg-type
    await Pool.control(term).call(Tail(1))  # E: arg-type
    Child(TERM, Pool(Other, 3))  # E: arg-type
    Pool(Terminal, 3, routing=Routing.BY_KEY, key=text_key)  # E: misc
    Pool(Terminal, 3, routing="by_key")  # E: arg-type


async def tasks(ctx: ActorContext[Msg], writer: ActorRef[Write]) -> None:
    await ctx.spawn_task(fetch, "x", to_message=Write)  # E: arg-type
    await ctx.spawn_task(fetch, "x", "1", to_message=Write)  # E: arg-type
    await ctx.spawn_task(fetch, "x", 1, to_message=Foreign)  # E: arg-type
    writes: Task[bytes, Write] = Task(fetch, "x", 1, to=writer, to_message=Tail)  # E: arg-type
    print(writes)
    task = await ctx.spawn_task(fetch, "x", 1, to_message=Write)
    task.cast("x")  # E: arg-type
