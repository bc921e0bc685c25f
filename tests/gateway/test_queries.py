"""Query strings of the HTTP side."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from antiphon.errors import BadRequest
from antiphon.gateway.queries import query_of, topics_of


def test_without_patterns_everything_is_asked_for() -> None:
    assert query_of([]) == (["*"], {})
    assert topics_of([("pattern", "a.*"), ("pattern", "b")]) == (["a.*", "b"], "", 10_000)


def test_before_implies_descending_order() -> None:
    assert query_of([("before", "7")]) == (["*"], {"before": "7", "order": "desc"})
    assert query_of([("before", "7"), ("order", "asc")])[1]["order"] == "asc"


def test_times_are_read_with_their_offset_however_the_plus_came() -> None:
    for text in ("2026-01-02T03:04:05Z", "2026-01-02T04:04:05+01:00", "2026-01-02T04:04:05 01:00"):
        since = query_of([("since", text)])[1]["since"]
        assert since == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "pair",
    [
        ("limit", "x"),
        ("limit", "-1"),
        ("limit", "1e3"),
        ("limit", "9999999"),
        ("since", "yesterday"),
        ("since", "2026-01-02T03:04:05"),
        ("after", "now"),
        ("before", "last"),
    ],
)
def test_what_cannot_be_read_is_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(BadRequest):
        query_of([pair])


@pytest.mark.parametrize("limit", ["0", "10001", "-1", "x", ""])
def test_a_list_of_topics_has_a_bound(limit: str) -> None:
    with pytest.raises(BadRequest, match="limit must be"):
        topics_of([("limit", limit)])
