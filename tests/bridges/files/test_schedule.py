"""When the whole folder is looked at. docs/semantics/files.md#convergence."""

from __future__ import annotations

import pytest

from antiphon.bridges.files.schedule import BLIND_S, QUIET_S, SHARE, SLOW_S, SLOW_SHARE, Schedule


@pytest.fixture
def schedule() -> Schedule:
    schedule = Schedule()
    schedule.looked(0.0, 0.001)
    return schedule


def test_nothing_was_looked_at_yet_so_a_look_is_due() -> None:
    assert Schedule().due() < 0


def test_without_news_a_look_is_due_once_a_minute(schedule: Schedule) -> None:
    assert schedule.due() == pytest.approx(SLOW_S + 0.001)


def test_after_news_a_look_is_due_twice_when_it_is_quiet(schedule: Schedule) -> None:
    schedule.heard(5.0)
    assert schedule.due() == 5.0 + QUIET_S[0]
    schedule.looked(5.0 + QUIET_S[0], 5.0 + QUIET_S[0] + 0.001)
    assert schedule.due() == 5.0 + QUIET_S[1]
    schedule.looked(5.0 + QUIET_S[1], 5.0 + QUIET_S[1] + 0.001)
    assert schedule.due() > 60


def test_news_put_off_the_look(schedule: Schedule) -> None:
    schedule.heard(5.0)
    schedule.heard(5.2)
    assert schedule.due() == 5.2 + QUIET_S[0]


def test_looks_take_a_twentieth_of_the_time_at_most(schedule: Schedule) -> None:
    schedule.looked(10.0, 12.0)
    schedule.heard(12.5)
    assert schedule.due() == 12.0 + SHARE * 2.0
    schedule.looked(60.0, 62.0)
    schedule.looked(70.0, 72.0)
    assert schedule.due() == 72.0 + SLOW_SHARE * 2.0


def test_without_a_watch_a_look_is_due_every_second(schedule: Schedule) -> None:
    schedule.blind = True
    assert schedule.due() == pytest.approx(BLIND_S + 0.001)
    schedule.looked(10.0, 11.0)
    assert schedule.due() == 11.0 + SHARE * 1.0
