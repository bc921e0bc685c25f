"""Waits before a new connection."""

from __future__ import annotations

import pytest

from antiphon.client.backoff import backoff_s


def test_the_whole_wait_is_drawn_below_a_bound_that_doubles() -> None:
    bounds = [backoff_s(attempt, 1.0) for attempt in (0, 1, 2, 6, 7, 1000)]
    assert bounds == pytest.approx([0.1, 0.2, 0.4, 6.4, 10.0, 10.0])
    assert backoff_s(5, 0.0) == 0.0
    assert backoff_s(5, 0.5) == pytest.approx(1.6)
