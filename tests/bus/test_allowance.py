"""So much at once, and so much a second after that."""

from __future__ import annotations

from antiphon.bus.allowance import Allowance


def test_so_much_may_be_taken_at_once_and_then_no_more() -> None:
    allowance = Allowance(10, 2, 0.0)
    assert allowance.take(10, 0.0)
    assert not allowance.take(1, 0.0)


def test_it_comes_back_with_time_up_to_what_it_was() -> None:
    allowance = Allowance(10, 2, 0.0)
    assert allowance.take(10, 0.0)
    assert allowance.take(4, 2.0)
    assert not allowance.take(1, 2.1)
    assert allowance.take(10, 1000.0)
    assert not allowance.take(1, 1000.0)


def test_it_tells_how_long_to_wait_and_takes_nothing_by_that() -> None:
    allowance = Allowance(10, 2, 0.0)
    assert allowance.wait(10, 0.0) == 0.0
    assert allowance.take(10, 0.0)
    assert allowance.wait(4, 0.0) == 2.0
    assert allowance.wait(4, 1.5) == 0.5
    assert allowance.take(4, 2.0)
    assert allowance.wait(50, 2.0) == 5.0  # never more than there can be at once
