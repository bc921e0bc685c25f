"""Waits before a new connection."""

from __future__ import annotations

import pytest

from antiphon.client.backoff import STEADY_S, Backoff


def test_the_whole_wait_is_drawn_below_a_bound_that_doubles() -> None:
    waits = Backoff()
    bounds = [waits.wait_s(0.0, 1.0) for _ in range(8)]
    assert bounds == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0])
    assert [waits.wait_s(0.0, 1.0) for _ in range(1000)][-1] == 10.0
    assert waits.wait_s(0.0, 0.0) == 0.0
    assert waits.wait_s(0.0, 0.5) == 5.0
    assert Backoff(0.05).wait_s(0.0, 1.0) == 0.05


def test_waits_begin_anew_after_a_connection_that_lasted_and_only_then() -> None:
    waits = Backoff()
    assert waits.wait_s(STEADY_S - 0.1, 1.0) == 0.1
    assert waits.wait_s(STEADY_S - 0.1, 1.0) == 0.2, "it fell at once: a little longer each time"
    assert waits.wait_s(STEADY_S, 1.0) == 0.1
