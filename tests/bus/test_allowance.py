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
