"""Draining: what was admitted is handled, nothing more is admitted, then the children drain."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.actors.kit import Ask, Ctx, Do, Gate, ListSource, Note, Recorder, until

from antiphon.actors import ActorSystem, Child, DeadLetterReason, Key, Status, Stopped, Supervisor
from antiphon.errors import ActorStopped
from antiphon.testing import advance, settle


async def test_what_was_admitted_is_handled_and_nothing_more_is(system: ActorSystem) -> None:
    log: list[Any] = []
    ref = await system.spawn(lambda: Recorder(log), "a")
    gate = Gate()
    ref.cast(gate.do)
    for n in range(3):
        ref.cast(Note(f"early {n}"))
    asked = ref.call(Ask("early too"))
    await gate.reached.wait()
    ref.drain("enough")
    assert ref.status is Status.DRAINING
    ref.cast(Note("late"))
    assert not ref.try_cast(Note("late"))
    late = ref.call(Ask("late"))
    gate.opened.set()
    assert await ref.wait() == Stopped("enough")
    assert await asked == "early too"
    with pytest.raises(ActorStopped):
        await late
    assert log[2:] == ["early 0", "early 1", "early 2", "early too", "post_stop: stopped: enough"]
    assert system.dead_letters.counts[DeadLetterReason.STOPPED] == 1


async def test_what_an_actor_sends_itself_while_it_drains_is_refused(system: ActorSystem) -> None:
    log: list[Any] = []
    ref = await system.spawn(lambda: Recorder(log), "a")

    async def send_self(ctx: Ctx) -> None:
        ctx.myself.cast(Note("to myself"))
        ctx.send_after(0.0, Note("a tick"))

    gate = Gate()
    ref.cast(gate.do)
    ref.cast(Do(send_self))
    await gate.reached.wait()
    ref.drain()
    gate.opened.set()
    await ref.wait()
    assert "to myself" not in log
    assert "a tick" not in log


async def test_those_who_wait_for_room_are_turned_away(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder, "a", capacity=1)
    gate = Gate()
    ref.cast(gate.do)
    await gate.reached.wait()
    ref.cast(Note("in"))
    waiting = asyncio.ensure_future(ref.send(Note("waits")))
    await until(lambda: ref._box.waiters)
    ref.drain()
    with pytest.raises(ActorStopped):
        await waiting
    gate.opened.set()
    await ref.wait()


async def test_its_children_drain_after_it(system: ActorSystem) -> None:
    log: list[Any] = []
    parent = await system.spawn(Recorder, "parent")
    gate = Gate()

    async def make(ctx: Ctx) -> Any:
        return await ctx.spawn(lambda: Recorder(log), "child")

    child = await parent.call(Do(make))
    child.cast(gate.do)
    child.cast(Note("waiting at the child"))
    await gate.reached.wait()
    parent.drain()
    await until(lambda: parent.status is Status.STOPPING and child.status is Status.DRAINING)
    child.cast(Note("too late"))
    gate.opened.set()
    await parent.wait()
    assert "waiting at the child" in log
    assert "too late" not in log


async def test_a_stop_cuts_it_short_also_for_its_children(system: ActorSystem) -> None:
    log: list[Any] = []
    ref = await system.spawn(lambda: Recorder(log), "a")
    gate = Gate()

    async def make(ctx: Ctx) -> Any:
        return await ctx.spawn(lambda: Recorder(log), "child")

    child = await ref.call(Do(make))
    child.cast(gate.do)
    child.cast(Note("never"))
    await gate.reached.wait()
    ref.drain()
    await until(lambda: child.status is Status.DRAINING)
    ref.stop("now")
    gate.opened.set()
    await ref.wait()
    assert "never" not in log


async def test_a_stop_preempts_a_drain_and_a_kill_both(system: ActorSystem) -> None:
    log: list[Any] = []
    ref = await system.spawn(lambda: Recorder(log), "a")
    gate = Gate()
    ref.cast(gate.do)
    ref.cast(Note("never"))
    await gate.reached.wait()
    ref.drain()
    ref.stop("now")
    gate.opened.set()
    assert await ref.wait() == Stopped("now")
    assert "never" not in log
    other = await system.spawn(lambda: Recorder(log), "b")
    other.cast(Gate().do)
    other.drain()
    other.kill()
    await other.wait()
    assert "post_stop: killed" not in log


async def test_a_permanent_child_drains_and_starts_again_with_an_open_mailbox(
    system: ActorSystem,
) -> None:
    log: list[Any] = []
    key: Key[Any] = Key("a")
    await system.supervise(Supervisor([Child(key, lambda: Recorder(log))]), "sup")
    ref = system.ref(key)
    ref.cast(Note("one"))
    ref.drain()
    await settle(system)
    assert ref.generation == 2
    assert "one" in log
    assert await ref.call(Ask("two")) == "two"


async def test_a_draining_actor_pulls_no_more_events(system: ActorSystem) -> None:
    log: list[Any] = []
    ref = await system.spawn(lambda: Recorder(log), "a")
    source = ListSource()
    feed = ref.feed(source)
    gate = Gate()
    ref.cast(gate.do)
    await gate.reached.wait()
    ref.drain()
    source.items.append("event")
    feed.wake()
    gate.opened.set()
    await ref.wait()
    assert "event" not in log
    assert source.position == 0
    assert source.was_closed == 1


async def test_a_drain_in_pre_start_acts_after_what_was_admitted(system: ActorSystem) -> None:
    """Messages sent to a starting child are handled, then it ends."""
    gate = Gate()
    log: list[Any] = []

    class Slow(Recorder):
        async def pre_start(self, ctx: Ctx) -> None:
            await gate.hold()

    key: Key[Any] = Key("slow")
    starting = asyncio.ensure_future(system.get_or_spawn(key, lambda: Slow(log)))
    await gate.reached.wait()
    ref = system.ref(key)
    ref.cast(Note("early"))
    ref.drain()
    gate.opened.set()
    await starting
    await ref.wait()
    assert "early" in log


async def test_a_child_that_does_not_drain_in_time_is_killed(system: ActorSystem) -> None:
    parent = await system.spawn(Recorder, "parent")

    async def make(ctx: Ctx) -> Any:
        return await ctx.spawn(Recorder, "child", shutdown=2.0)

    child = await parent.call(Do(make))
    child.cast(Gate().do)
    parent.drain()
    await until(lambda: child.status is Status.DRAINING)
    await advance(system, 3.0)
    assert not child.is_alive
    await parent.wait()
