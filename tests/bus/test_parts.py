"""JSON that can't be read as a whole, taken apart."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.bus.parts import TOKENS, has_lone_surrogate, members, parts

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=4)
        | st.dictionaries(st.text(max_size=8), inner, min_size=1)
    ),
    max_leaves=12,
)


@given(st.lists(values, min_size=1, max_size=6), st.booleans())
def test_a_good_list_comes_apart_into_what_it_was_made_of(items: list[Any], spaced: bool) -> None:
    text = json.dumps(items, indent=2 if spaced else None)
    assert [json.loads(part) for part in parts(text) or ()] == items


@given(st.text(alphabet='[]{},:"\\ua0 ', max_size=60))
def test_nonsense_comes_apart_or_not_but_breaks_nothing(text: str) -> None:
    found = parts(text)
    assert found is None or all(found)
    assert isinstance(members(text), dict)


@pytest.mark.parametrize(
    "text", ["", "7", "{1}", "[]", "[1,]", "[,1]", "[1}", '["a]', "[1] [2]", "[[1]"]
)
def test_what_is_no_list_does_not_come_apart(text: str) -> None:
    assert parts(text) is None


def test_members_are_those_of_the_object_itself_alone() -> None:
    text = '{"op":"pub","events":[{"id":1}], "id" : 7}'
    assert members(text) == {"op": '"pub"', "events": '[{"id":1}]', "id": "7"}
    assert members('[{"id":1}]') == {}
    assert members("{id:7}") == members('{"i"d":7}') == members('{"a":1,7}') == {}
    assert members('{"id":7,"events":[') == {}
    assert members('{"id":7,"events":[', some=True) == {"id": "7"}


def test_too_much_of_it_is_not_looked_at() -> None:
    assert parts("[" * TOKENS + "]" * TOKENS) is None


@pytest.mark.parametrize(
    ("text", "lone"),
    [
        (r'"\ud800"', True),
        (r'"\udc00"', True),
        (r'"\ud83d\ude00\ud800"', True),
        (r'"\ud83d\ud83d\ude00"', True),
        (r'"\\\ud800"', True),
        (r'"\ud83d\ude00"', False),
        (r'"\\ud800"', False),
        (r'"\u0041"', False),
    ],
)
def test_half_a_character_is_told_from_a_whole_one(text: str, lone: bool) -> None:
    assert has_lone_surrogate(text) is lone
