"""The manual clock: stands still, fires in order, never goes back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from antiphon.testing import ManualClock


@given(st.lists(st.floats(0, 100), max_size=30), st.floats(0, 100))
def test_timers_fire_in_order_and_none_too_early(delays: list[float], until: float) -> None:
    clock = ManualClock(0.0)
    fired: list[float] = []
    for delay in delays:
        clock.call_later(delay, fired.append, delay)
    while clock.fire_next(until):
        assert clock.now() == fired[-1]
    assert fired == sorted(d for d in delays if d <= until + 1e-9)
    assert clock.pending == len(delays) - len(fired)


def test_equal_moments_fire_in_the_order_of_their_making() -> None:
    clock = ManualClock()
    fired: list[int] = []
    for n in range(5):
        clock.call_later(1.0, fired.append, n)
    while clock.fire_next(clock.now() + 1.0):
        pass
    assert fired == [0, 1, 2, 3, 4]


def test_a_cancelled_timer_never_fires() -> None:
    clock = ManualClock()
    fired: list[int] = []
    clock.call_later(1.0, fired.append, 1).cancel()
    assert clock.next_due is None
    assert clock.pending == 0
    assert not clock.fire_next(float("inf"))


def test_it_never_goes_back() -> None:
    clock = ManualClock(10.0)
    clock.set(5.0)
    assert clock.now() == 10.0
