"""Callers give up in time, whatever the order of their timeouts."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.actors.deadlines import Deadlines
from antiphon.errors import CallTimeout
from antiphon.testing import ManualClock


def run(clock: ManualClock, until: float) -> None:
    while clock.fire_next(until):
        pass
    clock.set(until)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 3), st.sampled_from([0.1, 0.5, 1.0, 5.0]), st.booleans()),
        max_size=30,
    ),
    st.floats(0, 10),
)
def test_exactly_the_unanswered_and_overdue_fail(
    calls: list[tuple[float, float, bool]], end: float
) -> None:
    async def scene() -> None:
        clock = ManualClock(0.0)
        deadlines = Deadlines(clock)
        loop = asyncio.get_running_loop()
        added = []
        for at, timeout, answered in sorted(calls):
            run(clock, at)
            future = loop.create_future()
            deadlines.add(timeout, future)
            added.append((at + timeout, future, answered))
            if answered:
                future.set_result(None)
        run(clock, max(end, clock.now()))
        for due, future, answered in added:
            if answered:
                assert future.result() is None
            else:
                assert future.done() is (due <= clock.now() + 1e-9)
                if future.done():
                    assert isinstance(future.exception(), CallTimeout)

    asyncio.run(scene())


async def test_answered_calls_are_forgotten_behind_one_that_waits() -> None:
    """One long wait does not keep a hundred thousand answered calls in memory."""
    deadlines = Deadlines(ManualClock())
    loop = asyncio.get_running_loop()
    waits = loop.create_future()
    deadlines.add(5.0, waits)
    for _ in range(20_000):
        future = loop.create_future()
        future.set_result(None)
        deadlines.add(5.0, future)
    assert len(deadlines) == 1
    assert sum(map(len, deadlines._queues.values())) < 10_000
    waits.cancel()


async def test_there_is_one_timer_for_all() -> None:
    clock = ManualClock()
    deadlines = Deadlines(clock)
    loop = asyncio.get_running_loop()
    futures = [loop.create_future() for _ in range(100)]
    for n, future in enumerate(futures):
        deadlines.add(1.0 + n % 3, future)
    assert clock.pending == 1
    run(clock, clock.now() + 3.0)
    for future in futures:
        with pytest.raises(CallTimeout):
            await future
    assert clock.pending == 0
