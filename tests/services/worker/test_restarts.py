"""RestartPolicy: never, on failure, always; 1 s to 60 s."""

from __future__ import annotations

import pytest

from antiphon.services.worker.restarts import Restart, RestartPolicy


@pytest.mark.parametrize(
    ("restart", "failed", "again"),
    [
        ("never", True, False),
        ("never", False, False),
        ("on-failure", True, True),
        ("on-failure", False, False),
        ("always", True, True),
        ("always", False, True),
    ],
)
def test_the_policy_decides_by_how_the_run_ended(
    restart: Restart, failed: bool, again: bool
) -> None:
    delay = RestartPolicy(restart).next_delay(failed=failed, ran_s=1.0)
    assert (delay is not None) is again


def test_delays_double_from_1_s_to_60_s_without_end() -> None:
    policy = RestartPolicy("always")
    delays = [policy.next_delay(failed=True, ran_s=0.0) for _ in range(1000)]
    assert delays[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert delays[-1] == 60


def test_a_run_of_a_minute_starts_the_delays_anew() -> None:
    policy = RestartPolicy("on-failure")
    for _ in range(5):
        policy.next_delay(failed=True, ran_s=0.0)
    assert policy.next_delay(failed=True, ran_s=60.0) == 1.0


def test_what_could_not_even_start_is_not_tried_again() -> None:
    """A command that is not found is a typing error, whatever the policy."""
    policy = RestartPolicy("always")
    assert policy.next_delay(failed=True, ran_s=0.0, never_ran=True) is None
