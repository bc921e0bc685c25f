"""Which connection goes when there are too many."""

from __future__ import annotations

from antiphon.gateway.crowd import Crowd


class Line:
    def __init__(self) -> None:
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


def test_the_one_that_has_asked_for_nothing_for_longest_goes_and_is_counted() -> None:
    crowd = Crowd(3)
    busy, first, _, new = lines = [Line() for _ in range(4)]
    for line in lines[:3]:
        crowd.came(line)
    crowd.is_busy(busy)
    crowd.is_busy(first)
    crowd.is_idle(first)  # it was answered, so the third waits longer
    crowd.came(new)
    assert [line.aborted for line in lines] == [False, False, True, False]
    assert (len(crowd), crowd.cut) == (3, 1)


def test_if_all_are_busy_the_new_one_goes() -> None:
    crowd = Crowd(2)
    for line in (Line(), Line()):
        crowd.came(line)
        crowd.is_busy(line)
    new = Line()
    crowd.came(new)
    assert new.aborted
    assert len(crowd) == 2


def test_whoever_left_counts_no_more() -> None:
    crowd = Crowd(1)
    first, second = Line(), Line()
    crowd.came(first)
    crowd.left(first)
    crowd.left(first)
    crowd.is_idle(first)
    crowd.came(second)
    assert not second.aborted
    assert len(crowd) == 1
