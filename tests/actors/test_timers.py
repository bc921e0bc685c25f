"""Timers of an actor."""

from __future__ import annotations

from typing import Any

import pytest
from tests.actors.kit import Ctx, Do, Gate, Note, Recorder

from antiphon.actors import ActorSystem, Interval, Timer
from antiphon.testing import advance, settle


async def test_a_message_comes_after_its_delay(system: ActorSystem) -> None:
    log: list[Any] = []
    ref = await system.spawn(lambda: Recorder(log))

    async def arm(ctx: Ctx) -> None:
        ctx.send_after(2.0, Note("second"))
        ctx.send_after(1.0, Note("first"))

    await ref.call(Do(arm))
    await advance(system, 0.99)
    assert log[2:] == []
    await advance(system, 0.01)
    assert log[2:] == ["first"]
    await advance(system, 5.0)
    assert log[2:] == ["first", "second"]


async def test_after_cancel_no_tick_is_handled_even_if_queued(system: ActorSystem) -> None:
    log: list[Any] = []
    gate = Gate()
    timers: list[Timer] = []

    async def arm(ctx: Ctx) -> None:
        timers.append(ctx.send_after(0.0, Note("queued")))
        timers.append(ctx.send_after(1.0, Note("unfired")))
        await gate.hold()
        for timer in timers:
            timer.cancel()

    ref = await system.spawn(lambda: Recorder(log))
    ref.cast(Do(arm))
    await gate.reached.wait()
    clock: Any = system.clock
    assert clock.fire_next(clock.now())
    assert ref._box.queue
    gate.opened.set()
    await settle(system)
    await advance(system, 2.0)
    assert log[2:] == []
    timers[0].cancel()


async def test_timers_end_with_their_actor(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder)

    async def arm(ctx: Ctx) -> None:
        ctx.send_after(1.0, Note("x"))

    await ref.call(Do(arm))
    ref.stop()
    await ref.wait()
    await settle(system)
    clock: Any = system.clock
    assert clock.pending == 1  # the call's deadline
    await advance(system, 10.0)
    assert clock.pending == 0
    assert len(system.dead_letters) == 0


async def ticking(system: ActorSystem, log: list[Any], period: float = 1.0) -> Interval:
    ref = await system.spawn(lambda: Recorder(log), "ticking")

    async def arm(ctx: Ctx) -> Interval:
        return ctx.send_interval(period, Note("tick"))

    interval: Interval = await ref.call(Do(arm))
    return interval


async def test_an_interval_ticks_after_each_period_and_never_drifts(system: ActorSystem) -> None:
    log: list[Any] = []
    clock: Any = system.clock
    await ticking(system, log, 0.1)
    start = clock.now()
    await advance(system, 0.05)
    assert log[2:] == []
    for n in range(1, 101):
        clock.set(start + n * 0.1 + 0.03 * (n % 2))  # the loop is late for every other one
        await advance(system, 0.0)
        assert len(log[2:]) == n
    assert log[2:] == ["tick"] * 100


async def test_at_most_one_tick_waits_and_the_rest_is_counted(system: ActorSystem) -> None:
    log: list[Any] = []
    interval = await ticking(system, log, 1.5)
    gate = Gate()
    ref = interval._life.ref
    ref.cast(gate.do)
    await gate.reached.wait()
    clock: Any = system.clock
    while clock.fire_next(clock.now() + 2.0) and clock.now() < 1004.5:
        pass
    assert len(list(ref._box.queue)) == 1
    gate.opened.set()
    await settle(system)
    assert log[2:] == ["tick"]
    assert interval.missed == 2
    await advance(system, 3.0)
    assert log[2:] == ["tick"] * 3


async def test_a_cancelled_interval_ticks_no_more_even_if_queued(system: ActorSystem) -> None:
    log: list[Any] = []
    interval = await ticking(system, log)
    gate = Gate()
    ref = interval._life.ref
    ref.cast(gate.do)
    await gate.reached.wait()
    clock: Any = system.clock
    assert clock.fire_next(clock.now() + 1.0)
    assert ref._box.queue
    interval.cancel()
    gate.opened.set()
    await settle(system)
    await advance(system, 5.0)
    assert log[2:] == []


async def test_negative_times_are_refused_at_the_caller(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder)

    async def arm(ctx: Ctx) -> str:
        for wrong in (-1.0, float("nan")):
            with pytest.raises(ValueError, match="delay"):
                ctx.send_after(wrong, Note("x"))
            with pytest.raises(ValueError, match="period"):
                ctx.send_interval(wrong, Note("x"))
        with pytest.raises(ValueError, match="period"):
            ctx.send_interval(0.0, Note("x"))
        return "lives"

    assert await ref.call(Do(arm)) == "lives"
