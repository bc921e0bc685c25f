"""What users write, and what the checker must infer. Only type-checked, never run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Never, TypeAlias, assert_never, assert_type

import antiphon
from antiphon.actors import (
    Actor,
    ActorContext,
    ActorRef,
    ActorSystem,
    Child,
    Key,
    Pool,
    PoolInfo,
    PoolMessage,
    PoolStatus,
    ReplyTo,
    Request,
    Resize,
    Restart,
    Routing,
    Supervisor,
    Task,
)
from antiphon.messages import Event, Published


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


def word(msg: Msg) -> str:
    return str(msg)


async def pools(system: ActorSystem) -> None:
    pool = Pool(Terminal, 4, routing=Routing.BY_KEY, key=lambda msg: word(msg))
    assert_type(pool, Pool[Msg])
    await system.supervise(Supervisor([Child(TERM, pool, capacity=100)]))
    term = system.ref(TERM)  # the key of one Terminal names four as well
    assert_type(await term.call(Tail(2)), bytes)
    control = Pool.control(term)
    assert_type(control, ActorRef[PoolMessage])
    assert_type(await control.call(Resize(8)), int)
    assert_type(await control.call(PoolStatus()), PoolInfo)
    assert_type(await system.spawn(Pool(Terminal, 2)), ActorRef[Msg])


async def fetch(url: str, tries: int) -> bytes:
    return url.encode() * tries


FETCH: Key[Never] = Key("fetch")


async def tasks(system: ActorSystem, ctx: ActorContext[Msg]) -> None:
    task = await ctx.spawn_task(fetch, "http://x", 3, to_message=Write)
    assert_type(task, ActorRef[Never])
    await ctx.spawn_task(
        fetch, "x", 1, to_message=lambda data: Write(data), on_error=lambda error: Count()
    )
    again = Task(fetch, "x", 1, to=ctx.myself, to_message=Write)
    await system.supervise(Supervisor([Child(FETCH, again, restart=Restart.TRANSIENT)]))
    system.ref(FETCH).kill()


async def clients() -> None:
    async with antiphon.connect("http://localhost:7117", most_events=10) as bus:
        assert_type(await bus.publish("a.b", {"n": 1}, key="k", level="none"), Published)
        assert_type(bus.publish_nowait("a.b"), asyncio.Future[Published])
        async with bus.subscribe("a.*", durable="d", tries=3, on_exhausted="stop") as events:
            async for event in events:
                assert_type(event, Event)
        assert_type([event async for event in bus.history("a.*")], list[Event])
    with antiphon.connect_sync() as plain:
        assert_type(plain.publish("a.b"), Published)
        assert_type(next(plain.subscribe("a.*", timeout=1.0)), Event)
