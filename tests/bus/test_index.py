"""The index from topics to the holders of patterns, against the naive model."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.bus.index import PatternIndex

from . import topic_model as model

steps = st.lists(
    st.tuples(
        st.booleans(),
        st.lists(model.patterns, min_size=1, max_size=3),
        st.integers(min_value=0, max_value=3),
    ),
    max_size=25,
)


@settings(max_examples=200, deadline=None)
@given(steps)
def test_lookup_agrees_with_trying_every_pattern(
    steps: list[tuple[bool, list[str], int]],
) -> None:
    """After any adding and discarding, every topic of the world finds the right values."""
    index: PatternIndex[int] = PatternIndex()
    pairs: set[tuple[str, int]] = set()
    for add, patterns, value in steps:
        if add:
            index.add(patterns, value)
            pairs |= {(p, value) for p in patterns}
        else:
            index.discard(patterns, value)
            pairs -= {(p, value) for p in patterns}
    assert len(index) == len(pairs)
    for topic in model.WORLD:
        assert index.lookup(topic) == {v for p, v in pairs if model.matches(p, topic)}


@given(st.lists(st.tuples(model.patterns, st.integers(0, 3)), max_size=20))
def test_an_emptied_index_keeps_nothing(pairs: list[tuple[str, int]]) -> None:
    index: PatternIndex[int] = PatternIndex()
    for pattern, value in pairs:
        index.add([pattern], value)
    for pattern, value in pairs:
        index.discard([pattern], value)
    assert len(index) == 0
    assert index._root.is_empty()


def test_two_spellings_of_a_pattern_are_held_apart() -> None:
    """Letting go of one spelling leaves the other in force."""
    index: PatternIndex[str] = PatternIndex()
    index.add(["a.*.b", "a.+.b"], "x")
    index.discard(["a.*.b"], "x")
    assert index.lookup("a.1.b") == {"x"}
