"""Waiting for quiet, moving time, finding leaks, probing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.actors.kit import Ctx, Do, Gate, Note, Recorder

from antiphon.actors import ActorSystem
from antiphon.testing import NotQuiet, Probe, advance, assert_no_leaks, manual_system, settle


async def test_settle_waits_for_mailboxes_chains_and_pipes() -> None:
    async with manual_system() as system:
        probe: Probe[Any] = await Probe.spawn(system)
        done = asyncio.get_running_loop().create_future()

        async def chain(ctx: Ctx) -> None:
            async def work() -> str:
                await asyncio.to_thread(lambda: None)
                await done
                return "piped"

            ctx.pipe_to_self(work(), Note)
            done.get_loop().call_later(0.05, done.set_result, None)

        async def forward(ctx: Ctx) -> None:
            probe.ref.cast("forwarded")

        ref = await system.spawn(Recorder)
        ref.cast(Do(chain))
        ref.cast(Do(forward))
        await settle(system)
        assert done.done()
        assert probe.messages == ["forwarded"]


async def test_settle_names_what_is_busy() -> None:
    async with manual_system() as system:
        gate = Gate()
        ref = await system.spawn(Recorder, "held")
        ref.cast(gate.do)
        await gate.reached.wait()
        ref.cast(Note("waits"))
        with pytest.raises(NotQuiet, match=r"user/held \(running, Do in hand, 1 waiting\)"):
            await settle(system, patience=0.05)
        gate.opened.set()
        await settle(system)


async def test_settle_asks_others_too() -> None:
    async with manual_system() as system:
        with pytest.raises(NotQuiet, match="the writer has a batch"):
            await settle(system, lambda: "the writer has a batch", patience=0.01)


async def test_settle_does_not_wait_for_a_handler_that_waits_for_time() -> None:
    async with manual_system() as system:
        other = await system.spawn(Recorder)
        held = Gate()
        other.cast(held.do)
        ref = await system.spawn(Recorder)
        answer = ref.call(Do(lambda ctx: _call(other)), timeout=None)
        await held.reached.wait()
        await settle_all_but(system)
        held.opened.set()
        assert await answer == "late"


async def _call(other: Any) -> str:
    await other.call(Do(_late), timeout=60.0)
    return "late"


async def _late(ctx: Ctx) -> None:
    pass


async def settle_all_but(system: ActorSystem) -> None:
    """Here one mailbox is not empty, so it can't be quiet."""
    with pytest.raises(NotQuiet):
        await settle(system, patience=0.01)


async def test_advance_needs_a_manual_clock() -> None:
    async with ActorSystem() as system:
        with pytest.raises(TypeError, match="only a ManualClock"):
            await advance(system, 1.0)


async def test_advance_settles_between_timers() -> None:
    """A timer that another timer's handler sets, within the span, fires in it."""
    async with manual_system() as system:
        log: list[float] = []
        ref = await system.spawn(Recorder)

        async def again(ctx: Ctx) -> None:
            log.append(ctx.system.clock.now() - start)
            ctx.send_after(1.0, Do(again))

        start = system.clock.now()
        ref.cast(Do(again))
        await advance(system, 3.5)
        assert log == [0.0, 1.0, 2.0, 3.0]


async def test_a_leak_is_named() -> None:
    system = ActorSystem("leaky")
    async with system:
        await system.spawn(Recorder, "x")
        with pytest.raises(AssertionError, match=r"left behind by leaky: .*name user/x"):
            assert_no_leaks(system)
    assert_no_leaks(system)


async def test_a_probe_gives_up_in_time() -> None:
    async with manual_system() as system:
        probe: Probe[str] = await Probe.spawn(system)
        probe.ref.cast("one")
        assert await probe.got(1) == ["one"]
        with pytest.raises(TimeoutError):
            await probe.got(2, timeout=0.01)
