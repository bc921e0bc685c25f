"""What is agreed and kept: names, bounds, and what the store's JSON gives back."""

from __future__ import annotations

import msgspec
import pytest

from antiphon.bus.terms import Kept, Stop, Terms, check_name, check_seconds, check_terms
from antiphon.errors import BadRequest


def test_what_is_kept_reads_back_equal() -> None:
    kept = Kept(
        owner="ann",
        patterns=("a.*", "b.c"),
        terms=Terms(members=256, tries=3, on_exhausted="stop"),
        cursor="0123456789ab.42",
        unsettled={7: 0, 41: 2},
        token=9,
        used_us=1_700_000_000_000_000,
        gap=(3, 6),
        told={"a.b": 6},
        stop=Stop(41, "no"),
        parked=1,
        lost=2,
    )
    assert msgspec.json.decode(msgspec.json.encode(kept), type=Kept) == kept


def test_two_gaps_before_anybody_was_told_are_one() -> None:
    kept = Kept(owner="ann", patterns=("a.*",), terms=Terms(), cursor="0123456789ab.0")
    kept.miss(5, 9)
    kept.miss(2, 3)
    assert kept.gap == (2, 9)


def test_a_term_that_is_given_replaces_the_one_that_was_and_no_other() -> None:
    base = Terms(window_events=5, on_exhausted="stop")
    assert check_terms(base, tries=7) == Terms(window_events=5, tries=7, on_exhausted="stop")
    assert check_terms(base) == base


def test_names_and_times_out_of_bounds_are_refused() -> None:
    assert check_name("A-z_9") == "A-z_9"
    assert check_name("x" * 64)
    with pytest.raises(BadRequest, match="64 of A-Z"):
        check_name("x" * 65)
    assert check_seconds("lease", 0) == 0
    for wrong in (-0.1, float("nan"), True, "1"):
        with pytest.raises(BadRequest, match="lease is a number of seconds"):
            check_seconds("lease", wrong)  # type: ignore[arg-type]
