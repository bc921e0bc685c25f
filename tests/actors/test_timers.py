"""Timers of an actor."""

from __future__ import annotations

from typing import Any

from tests.actors.kit import Ctx, Do, Gate, Note, Recorder

from antiphon.actors import ActorSystem, Timer
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
