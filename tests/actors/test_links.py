"""Links: an abnormal end of one ends the other, or is told to it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.actors.kit import Crash, Ctx, Do, Recorder

from antiphon.actors import (
    ActorRef,
    ActorSystem,
    Child,
    Exit,
    Failed,
    Key,
    Killed,
    NoProc,
    Supervisor,
)
from antiphon.errors import SpawnFailed
from antiphon.testing import settle


async def pair(system: ActorSystem, log: list[Any] | None = None) -> tuple[ActorRef[Any], ...]:
    return (
        await system.spawn(lambda: Recorder(log), "a"),
        await system.spawn(Recorder, "b"),
    )


def linking(to: ActorRef[Any], *, trap: bool = False) -> Do:
    async def work(ctx: Ctx) -> None:
        if trap:
            ctx.trap_exits()
        ctx.link(to)
        ctx.link(to)  # again is no-op

    return Do(work)


@pytest.mark.parametrize("ends", ["a", "b"])
async def test_an_abnormal_end_of_either_kills_the_other(system: ActorSystem, ends: str) -> None:
    a, b = await pair(system)
    await a.call(linking(b))
    first, other = (a, b) if ends == "a" else (b, a)
    first.cast(Crash(ValueError("crash")))
    assert isinstance(await first.wait(), Failed)
    reason = await other.wait()
    assert isinstance(reason, Killed)
    assert first.path in str(reason)
    assert "crash" in str(reason)


async def test_a_kill_propagates_too(system: ActorSystem) -> None:
    a, b = await pair(system)
    await a.call(linking(b))
    b.kill()
    assert isinstance(await a.wait(), Killed)


async def test_a_normal_end_propagates_nothing(system: ActorSystem) -> None:
    log: list[Any] = []
    a, b = await pair(system, log)
    await a.call(linking(b, trap=True))
    b.stop()
    await b.wait()
    await settle(system)
    assert a.is_alive
    assert not [item for item in log if isinstance(item, Exit)]


async def test_who_traps_exits_hears_of_it_once_and_lives(system: ActorSystem) -> None:
    log: list[Any] = []
    a, b = await pair(system, log)
    await a.call(linking(b, trap=True))
    b.cast(Crash(error := ValueError("crash")))
    await b.wait()
    await settle(system)
    assert [item for item in log if isinstance(item, Exit)] == [Exit(b, Failed(error))]
    assert a.is_alive


async def test_to_link_to_nobody_is_such_an_end(system: ActorSystem) -> None:
    log: list[Any] = []
    a, b = await pair(system, log)
    b.stop()
    await b.wait()
    await a.call(linking(b, trap=True))
    await settle(system)
    assert Exit(b, NoProc()) in log
    other = await system.spawn(Recorder, "c")
    other.cast(linking(b))
    assert isinstance(await other.wait(), Killed)


async def test_unlink_undoes_it_from_either_side(system: ActorSystem) -> None:
    a, b = await pair(system)
    await a.call(linking(b))

    async def unlink(ctx: Ctx) -> None:
        ctx.unlink(a)

    await b.call(Do(unlink))
    b.kill()
    await b.wait()
    await settle(system)
    assert a.is_alive


async def test_a_link_is_between_generations(system: ActorSystem) -> None:
    """After a restart the new generation is linked to nobody."""
    key: Key[Any] = Key("kept")
    await system.supervise(Supervisor([Child(key, Recorder)]), "sup")
    kept = system.ref(key)
    a, _ = await pair(system)
    await kept.call(linking(a))
    a.kill()
    await a.wait()
    await settle(system)
    assert kept.generation == 2
    assert not kept._cell.life.links  # type: ignore[union-attr]


async def test_a_circle_of_links_ends_once(system: ActorSystem) -> None:
    refs = [await system.spawn(Recorder, f"n{n}") for n in range(10)]
    for ref, following in zip(refs, [*refs[1:], refs[0]], strict=True):
        await ref.call(linking(following))
    refs[3].cast(Crash(ValueError()))
    for ref in refs:
        await ref.wait()


async def test_a_child_is_linked_before_its_pre_start(system: ActorSystem) -> None:
    a, _ = await pair(system)
    linked: list[bool] = []

    class Looking(Recorder):
        async def pre_start(self, ctx: Ctx) -> None:
            parent = a._cell
            assert parent is not None
            linked.append(ctx._life in parent.life.links and parent.life in ctx._life.links)

    async def make(ctx: Ctx) -> Any:
        return await ctx.spawn(Looking, "child", link=True)

    child = await a.call(Do(make))
    assert linked == [True]
    child.cast(Crash(ValueError()))
    assert isinstance(await a.wait(), Killed)


async def test_a_linked_child_that_cannot_start_only_raises(system: ActorSystem) -> None:
    class Broken(Recorder):
        async def pre_start(self, ctx: Ctx) -> None:
            raise ValueError("no")

    async def make(ctx: Ctx) -> bool:
        with pytest.raises(SpawnFailed):
            await ctx.spawn(Broken, "child", link=True)
        return True

    a, _ = await pair(system)
    assert await a.call(Do(make))
    await settle(system)
    assert a.is_alive
