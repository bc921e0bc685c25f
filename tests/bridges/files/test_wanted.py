"""Paths heard of are kept within bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from antiphon.bridges.files.wanted import Wanted


@given(st.lists(st.lists(st.sampled_from("abcdefg"))), st.integers(1, 8))
def test_all_paths_are_handed_out_or_everything_is_wanted(
    batches: list[list[str]], limit: int
) -> None:
    wanted = Wanted(limit)
    for batch in batches:
        wanted.add(batch)
    heard = {path for batch in batches for path in batch}

    assert bool(wanted) == bool(heard)
    assert wanted.take() == (sorted(heard) if len(heard) <= limit else None)
    assert not wanted
    assert wanted.take() == []
