"""RatePolicy: no more than the rate in the long run, one second's worth at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.services.worker.rate import RatePolicy


@given(st.lists(st.integers(1, 400), max_size=50))
def test_waiting_as_told_keeps_to_the_rate(reads: list[int]) -> None:
    """After t seconds at most (t + 1) times the rate, and one read, has passed."""
    policy, now, total = RatePolicy(1000.0, 0.0), 0.0, 0
    for size in reads:
        now += policy.wait(now)
        assert policy.wait(now) == 0.0
        policy.spend(size, now)
        total += size
        assert total <= (now + 1) * 1000 + 400


def test_a_slow_reader_never_waits() -> None:
    policy = RatePolicy(1000.0, 0.0)
    for second in range(10):
        assert policy.wait(float(second)) == 0.0
        policy.spend(900, float(second))


def test_a_new_rate_pays_off_the_debt_at_its_own_speed() -> None:
    policy = RatePolicy(100.0, 0.0)
    policy.spend(200, 0.0)
    policy.change(1000.0, 0.0)
    assert policy.wait(0.0) == pytest.approx(0.101)


def test_a_rate_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        RatePolicy(0, 0.0)
