"""Durations and sizes as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.bus.units import parse_duration, parse_size, show_duration, show_size
from antiphon.errors import BadRequest


def test_durations_and_sizes_by_example() -> None:
    assert [parse_duration(text) for text in ("90s", "24h", "7d", "1.5 h", "2W", 30)] == [
        90,
        86_400,
        604_800,
        5400,
        1_209_600,
        30,
    ]
    assert [parse_size(text) for text in ("10B", "2GiB", "256 MiB", "1kb", "1.5KiB", 7)] == [
        10,
        2 * 1024**3,
        256 * 1024**2,
        1000,
        1536,
        7,
    ]


@pytest.mark.parametrize(
    "value", ["7", "d", "-1d", "7 days", "1e9s", "", None, True, -1, [7], 1e300]
)
def test_what_is_neither_number_nor_unit_is_refused_with_the_rule(value: object) -> None:
    with pytest.raises(BadRequest, match="is not a duration: a number and one of s, m, h, d, w"):
        parse_duration(value)
    with pytest.raises(BadRequest, match="is not a size: a number and one of B, KB"):
        parse_size(value)


@given(st.integers(1, 2**50))
def test_what_is_shown_reads_back_the_same(amount: int) -> None:
    assert parse_size(show_size(amount)) == amount
    assert parse_duration(show_duration(amount % 10**6 + 1)) == amount % 10**6 + 1
