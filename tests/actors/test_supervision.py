"""A supervisor's decisions, without a loop."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.actors import Backoff, Failed, Killed, NoProc, Restart, Stopped
from antiphon.actors.supervision import Intensity, Pulse


@pytest.mark.parametrize(
    ("restart", "stopped", "killed", "failed"),
    [
        (Restart.PERMANENT, True, True, True),
        (Restart.TRANSIENT, False, True, True),
        (Restart.TEMPORARY, False, False, False),
    ],
)
def test_restart_types(restart: Restart, stopped: bool, killed: bool, failed: bool) -> None:
    assert restart.wanted(Stopped()) is stopped
    assert restart.wanted(Killed()) is killed
    assert restart.wanted(Failed(ValueError())) is failed


def test_one_restart_more_than_allowed_within_the_period_is_too_many() -> None:
    window = Intensity(3, 5.0)
    assert [window.admit(t) for t in (0.0, 1.0, 2.0)] == [True, True, True]
    assert window.admit(4.9) is False


def test_the_window_slides() -> None:
    window = Intensity(3, 5.0)
    assert all(window.admit(t * 1.7) for t in range(100))


@given(st.lists(st.floats(0, 100), max_size=40), st.integers(0, 5), st.floats(0.1, 20))
def test_intensity_agrees_with_counting(times: list[float], most: int, period: float) -> None:
    window = Intensity(most, period)
    times.sort()
    for i, now in enumerate(times):
        recent = [t for t in times[: i + 1] if t > now - period]
        assert window.admit(now) is (len(recent) <= most)


@pytest.mark.parametrize(("most", "period"), [(-1, 5.0), (3, 0.0)])
def test_a_window_that_makes_no_sense_is_refused(most: int, period: float) -> None:
    with pytest.raises(ValueError, match="intensity needs"):
        Intensity(most, period)


def test_backoff_begins_at_once_then_doubles_up_to_its_cap() -> None:
    backoff = Backoff(base=1.0, cap=10.0, jitter=0.0)
    random = Random(1)
    assert [backoff.delay(n, random) for n in range(7)] == [0, 1, 2, 4, 8, 10, 10]
    assert backoff.delay(10_000, random) == 10


@given(st.integers(1, 200), st.integers())
def test_jitter_takes_away_at_most_its_share(restarts: int, seed: int) -> None:
    full = Backoff(jitter=0.0).delay(restarts, Random(0))
    delay = Backoff(jitter=0.2).delay(restarts, Random(seed))
    assert 0.8 * full <= delay <= full
    assert delay == Backoff(jitter=0.2).delay(restarts, Random(seed))


def test_healthy_running_makes_the_next_restart_a_first_one() -> None:
    pulse = Pulse(Backoff(base=1.0, jitter=0.0, reset_after=60.0), Random(0))
    assert [pulse.next_delay(1.0) for _ in range(3)] == [0, 1, 2]
    assert pulse.next_delay(60.0) == 0
    assert pulse.next_delay(59.0) == 1


@pytest.mark.parametrize("wrong", [{"base": -1.0}, {"base": 2.0, "cap": 1.0}, {"jitter": 1.5}])
def test_a_backoff_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="backoff needs"):
        Backoff(**wrong)


def test_reasons_read_as_sentences() -> None:
    assert [str(r) for r in (Stopped(), Stopped("x"), Killed("y"), NoProc())] == [
        "stopped",
        "stopped: x",
        "killed: y",
        "nobody there",
    ]
