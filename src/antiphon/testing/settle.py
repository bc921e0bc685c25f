"""Waiting for quiet, and moving a manual clock through quiet moments.

Quiet: no actor is runnable, mailboxes are empty, no pipe is under way, and
whatever else the test names is idle. Timers, sockets and other processes are
not waited for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from antiphon.actors import ActorSystem
from antiphon.testing.clock import ManualClock

PATIENCE_S = 5.0
_QUIET_PASSES = 4
_SPIN_PASSES = 200
_LEAST_PASSES = 300
"""A machine that stood still for all of the patience has not shown that anything is busy."""

Busy = Callable[[], str | None]
"""Says what it is busy with, or None."""


class NotQuiet(AssertionError):
    """Something was still busy when patience ended; the message lists what."""


async def settle(system: ActorSystem, *others: Busy, patience: float = PATIENCE_S) -> None:
    """Return once all is quiet.

    Args:
        others: Asked too: whatever else works for the actors, such as a log's writer.
        patience: Seconds of real time.

    Raises:
        NotQuiet: With the list of what is busy.
    """
    deadline = time.monotonic() + patience
    quiet = passes = 0
    while quiet < _QUIET_PASSES:
        passes += 1
        # spin at first; then leave time for threads
        await asyncio.sleep(0 if passes < _SPIN_PASSES else 0.001)
        busy = _busy(system, others)
        quiet = 0 if busy else quiet + 1
        if busy and time.monotonic() > deadline and passes > _LEAST_PASSES:
            raise NotQuiet("still busy: " + "; ".join(busy))


async def advance(system: ActorSystem, seconds: float, *others: Busy) -> None:
    """Move the system's manual clock on, timer by timer, settling after each.

    Raises:
        TypeError: The system has another clock.
        NotQuiet: See ``settle``.
    """
    clock = system.clock
    if not isinstance(clock, ManualClock):
        raise TypeError(f"cannot advance a {type(clock).__name__}, only a ManualClock")
    until = clock.now() + seconds
    await settle(system, *others)
    while clock.fire_next(until):
        await settle(system, *others)
    clock.set(until)
    await settle(system, *others)


def _busy(system: ActorSystem, others: tuple[Busy, ...]) -> list[str]:
    found = []
    for cell in system.cells():
        work = cell.life.busy()
        if work is not None:
            found.append(f"{cell.path} ({work})")
    for other in others:
        work = other()
        if work is not None:
            found.append(work)
    return found
