"""Nothing may stay behind: the check, and a system that makes it when it closes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from antiphon.actors import ActorSystem, Observer
from antiphon.testing.clock import ManualClock


def assert_no_leaks(system: ActorSystem) -> None:
    """Fail if a closed *system* still has a task, a name, a group, a call or a timer."""
    left = system.leftovers()
    if isinstance(system.clock, ManualClock) and system.clock.pending:
        left.append(f"{system.clock.pending} timers")
    assert not left, f"left behind by {system.name}: {', '.join(left)}"


@asynccontextmanager
async def manual_system(
    name: str = "test",
    *,
    observer: Observer | None = None,
    seed: int = 0,
    dice: Random | None = None,
) -> AsyncIterator[ActorSystem]:
    """A system with a manual clock; at its close time runs by itself, then leaks are sought."""
    clock = ManualClock()
    system = ActorSystem(name, clock=clock, observer=observer, seed=seed, dice=dice)
    async with system:
        try:
            yield system
        finally:
            closing = asyncio.ensure_future(system.close())
            await _run_clock(clock, closing)
            await closing
    assert_no_leaks(system)


async def _run_clock(clock: ManualClock, closing: asyncio.Future[None]) -> None:
    """Let pass what shutdowns wait for: nobody else moves the clock now."""
    while not closing.done():
        for _ in range(50):
            await asyncio.sleep(0)
        if not closing.done():
            clock.fire_next(float("inf"))
