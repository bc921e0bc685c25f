"""Moments are read as people write them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from antiphon.cli.times import moment

NOW = datetime(2026, 11, 24, 12, 30, tzinfo=timezone(timedelta(hours=2)))


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("2026-11-23T10:00:00Z", "2026-11-23T10:00:00Z"),
        ("2026-11-23T10:00:00+01:00", "2026-11-23T09:00:00Z"),
        ("2026-11-23T10:00", "2026-11-23T08:00:00Z"),
        ("2026-11-23 10:00:00.5", "2026-11-23T08:00:00.500000Z"),
        ("2026-11-01", "2026-10-31T22:00:00Z"),
        ("90s", "2026-11-24T10:28:30Z"),
        ("15m", "2026-11-24T10:15:00Z"),
        ("2h", "2026-11-24T08:30:00Z"),
        ("3d", "2026-11-21T10:30:00Z"),
        ("1w", "2026-11-17T10:30:00Z"),
    ],
)
def test_a_time_a_date_or_how_long_ago(text: str, means: str) -> None:
    assert moment(text, NOW) == means


@pytest.mark.parametrize("text", ["", "yesterday", "1y", "-5m", "2026-13-01", "999999999w", "5"])
def test_anything_else_is_refused_with_the_forms_that_are_read(text: str) -> None:
    with pytest.raises(ValueError, match="15m"):
        moment(text, NOW)
