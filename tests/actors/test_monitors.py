"""Monitors end with exactly one Down."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.actors.kit import Ask, Crash, Ctx, Do, Gate, Note, Recorder

from antiphon.actors import (
    ActorSystem,
    Backoff,
    Child,
    Down,
    Failed,
    Key,
    Killed,
    NoProc,
    Stopped,
    Supervisor,
)
from antiphon.testing import Probe, advance, settle

KEY: Key[Any] = Key("thing")


async def test_a_monitor_brings_one_down_with_the_reason(system: ActorSystem) -> None:
    probe: Probe[Any] = await Probe.spawn(system)
    ref = await system.spawn(Recorder)
    monitor = probe.ctx.monitor(ref)
    ref.kill("now")
    await settle(system)
    assert probe.notices == [Down(ref, monitor, Killed("now"), restarting=False)]


async def test_monitors_are_independent(system: ActorSystem) -> None:
    probe: Probe[Any] = await Probe.spawn(system)
    ref = await system.spawn(Recorder)
    first, second = probe.ctx.monitor(ref), probe.ctx.monitor(ref)
    probe.ctx.demonitor(first)
    ref.stop()
    await settle(system)
    assert [n.monitor for n in probe.notices if isinstance(n, Down)] == [second]


async def test_monitoring_the_dead_brings_noproc(system: ActorSystem) -> None:
    probe: Probe[Any] = await Probe.spawn(system)
    ref = await system.spawn(Recorder)
    ref.stop()
    await ref.wait()
    probe.ctx.monitor(ref)
    probe.ctx.monitor(system.ref(KEY))
    await settle(system)
    assert [n.reason for n in probe.notices if isinstance(n, Down)] == [NoProc(), NoProc()]


async def test_after_demonitor_no_down_comes_even_if_queued(system: ActorSystem) -> None:
    log: list[Any] = []
    gate = Gate()
    other = await system.spawn(Recorder)

    async def watch(ctx: Ctx) -> None:
        monitor = ctx.monitor(other)
        await gate.hold()
        ctx.demonitor(monitor)

    ref = await system.spawn(lambda: Recorder(log))
    ref.cast(Do(watch))
    await gate.reached.wait()
    other.stop()
    await other.wait()
    gate.opened.set()
    await settle(system)
    assert log == ["pre_start", "post_start"]


async def test_a_monitor_watches_one_generation(system: ActorSystem) -> None:
    probe: Probe[Any] = await Probe.spawn(system)
    supervisor = await system.supervise(Supervisor([Child(KEY, Recorder)]), "sup")
    ref = system.ref(KEY)
    probe.ctx.monitor(ref)
    ref.cast(Crash(ValueError()))
    await settle(system)
    (down,) = probe.notices
    assert isinstance(down, Down)
    assert isinstance(down.reason, Failed)
    assert down.restarting is True
    ref.cast(Crash(ValueError()))
    await settle(system)
    assert len(probe.notices) == 1
    probe.ctx.monitor(ref)
    supervisor.stop()
    await settle(system)
    last = probe.notices[-1]
    assert isinstance(last, Down)
    assert last.restarting is False
    assert last.reason == Stopped("its parent stops")


async def test_a_monitor_made_between_generations_watches_the_next(system: ActorSystem) -> None:
    probe: Probe[Any] = await Probe.spawn(system)
    backoff = Backoff(base=1.0, jitter=0.0)
    await system.supervise(Supervisor([Child(KEY, Recorder, backoff=backoff)]), "sup")
    ref = system.ref(KEY)
    for _ in range(2):
        ref.cast(Crash(ValueError()))
        await settle(system)
    probe.ctx.monitor(ref)
    await advance(system, 1.0)
    assert probe.notices == []
    ref.kill("later")
    await settle(system)
    assert [n.reason for n in probe.notices if isinstance(n, Down)] == [Killed("later")]


async def test_a_monitor_is_one_way(system: ActorSystem) -> None:
    """The watcher's end, even by a kill, is nothing to the watched."""
    probe: Probe[Any] = await Probe.spawn(system)
    ref = await system.spawn(Recorder)
    probe.ctx.monitor(ref)
    probe.ref.kill()
    await probe.ref.wait()
    await settle(system)
    assert await ref.call(Ask("unharmed")) == "unharmed"


async def test_a_watchers_monitors_end_with_its_generation(system: ActorSystem) -> None:
    log: list[Any] = []
    other = await system.spawn(Recorder)
    await system.supervise(Supervisor([Child(KEY, lambda: Recorder(log))]), "sup")
    ref = system.ref(KEY)

    async def watch(ctx: Ctx) -> None:
        ctx.monitor(other)

    await ref.call(Do(watch))
    ref.cast(Crash(ValueError()))
    await settle(system)
    cell = other._cell
    assert cell is not None
    assert cell.life.watchers == {}
    other.stop()
    await settle(system)
    assert not any(isinstance(entry, Down) for entry in log)


async def test_a_down_comes_after_what_the_dead_had_sent(system: ActorSystem) -> None:
    """Nothing is promised between ports, but nothing is lost either."""
    probe: Probe[Any] = await Probe.spawn(system)

    async def say(ctx: Ctx) -> None:
        probe.ref.cast(Note("last words"))
        raise ValueError

    ref = await system.spawn(Recorder)
    probe.ctx.monitor(ref)
    ref.cast(Do(say))
    await asyncio.gather(probe.got(1), probe.noticed(1))
