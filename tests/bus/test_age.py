"""When the wall clock may decide what is old."""

from __future__ import annotations

from antiphon.bus.age import AgeClock
from antiphon.bus.fullness import Alarms

DAY = 86_400.0


class Clocks:
    """Two clocks that a test moves."""

    def __init__(self) -> None:
        self.wall = 1_790_000_000.0
        self.since_boot = 100.0

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.since_boot += seconds

    def clock(self) -> AgeClock:
        return AgeClock(wall=lambda: self.wall, steady=lambda: self.since_boot)


def test_a_jump_by_more_than_a_day_is_doubted_until_the_clocks_agree_again() -> None:
    clocks = Clocks()
    clock = clocks.clock()
    for jump, says in ((DAY + 2, "forward by 1.0 days"), (-3 * DAY, "back by 3.0 days")):
        clocks.wall += jump
        assert says in (clock.doubt(0) or "")
        clocks.pass_by(100 * DAY)
        assert says in (clock.doubt(0) or ""), "time alone makes nothing right"
        clocks.wall -= jump
        assert clock.doubt(0) is None


def test_a_small_step_and_a_long_sleep_are_no_jumps() -> None:
    clocks = Clocks()
    clock = clocks.clock()
    clocks.wall -= 3600
    assert clock.doubt(clocks.wall + 3600) is None
    clocks.pass_by(30 * DAY)
    assert clock.doubt(0) is None


def test_a_log_from_the_future_is_doubted() -> None:
    clocks = Clocks()
    clock = clocks.clock()
    assert clock.doubt(clocks.wall + DAY - 1) is None
    assert "2.0 days in the future" in (clock.doubt(clocks.wall + 2 * DAY) or "")


def test_a_warning_comes_once_for_each_crossing() -> None:
    alarms = Alarms()
    shares = [0.5, 0.79, 0.8, 0.9, 1.2, 0.78, 0.81, 0.74, 0.8]
    assert [alarms.crossed("a", share) for share in shares] == [
        False, False, True, False, False, False, False, False, True
    ]  # fmt: skip
    assert alarms.crossed("b", 0.9)
