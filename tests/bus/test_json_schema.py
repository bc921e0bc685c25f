"""JSON Schema as the standard has it, what is left out refused by name, every check ends."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.bus.json_schema import Schema, pointer
from antiphon.errors import InvalidSchema

CASES: list[tuple[Any, list[Any], list[Any]]] = [
    (True, [None, 1, []], []),
    (False, [], [None, 1, []]),
    ({"type": "integer"}, [1, 1.0, -3], [1.5, True, "1", None]),
    ({"type": ["string", "null"]}, ["", None], [0, False, []]),
    ({"type": "number"}, [1, 1.5], [True, "1"]),
    ({"type": "boolean"}, [True, False], [0, 1]),
    ({"enum": [1, "a", [True], None]}, [1, 1.0, "a", [True], None], [True, [1], "b", 0]),
    ({"const": {"a": [1, 2]}}, [{"a": [1.0, 2]}], [{"a": [2, 1]}, {}]),
    ({"minimum": 1, "exclusiveMaximum": 3}, [1, 2.9, "text"], [0, 3]),
    ({"maximum": 1, "exclusiveMinimum": 0}, [0.5, 1], [0, 2]),
    ({"multipleOf": 0.01}, [0.07, 4, 1e300], [0.075]),
    ({"minLength": 2, "maxLength": 3}, ["ab", "\U0001f600é1", 5], ["a", "abcd"]),
    ({"pattern": "^a+b"}, ["aab", "abc", 7], ["b", "xab"]),
    ({"items": {"type": "string"}, "minItems": 1, "maxItems": 2}, [["a"]], [[], [1], ["a"] * 3]),
    ({"prefixItems": [{"type": "null"}], "items": False}, [[], [None]], [[1], [None, 1]]),
    ({"uniqueItems": True}, [[1, True, "1"], [{"a": 1}, {"a": 2}]], [[1, 1.0], [{}, {}]]),
    ({"contains": {"const": 1}, "maxContains": 2}, [[1], [1, 0, 1]], [[], [1, 1, 1]]),
    ({"contains": {"const": 1}, "minContains": 0}, [[]], []),
    ({"required": ["a"]}, [{"a": 0}, []], [{}, {"b": 0}]),
    ({"properties": {"a": {"type": "null"}}}, [{}, {"a": None}, {"b": 1}], [{"a": 1}]),
    (
        {
            "properties": {"a": True},
            "patternProperties": {"^x": True},
            "additionalProperties": False,
        },
        [{"a": 1, "xy": 2}],
        [{"b": 1}],
    ),
    ({"propertyNames": {"maxLength": 1}}, [{"a": 1}], [{"ab": 1}]),
    ({"minProperties": 1, "maxProperties": 2}, [{"a": 1}], [{}, {"a": 1, "b": 1, "c": 1}]),
    ({"dependentRequired": {"a": ["b"]}}, [{"b": 1}, {"a": 1, "b": 1}], [{"a": 1}]),
    ({"dependentSchemas": {"a": {"required": ["b"]}}}, [{"b": 1}], [{"a": 1}]),
    ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, [1, 2], [0, 3]),
    ({"anyOf": [{"type": "null"}, {"minimum": 5}]}, [None, 5], [4]),
    ({"oneOf": [{"multipleOf": 2}, {"multipleOf": 3}]}, [2, 3], [6, 1]),
    ({"not": {"type": "string"}}, [1], ["a"]),
    ({"if": {"minimum": 5}, "then": {"const": 5}, "else": {"const": 0}}, [5, 0], [6, 1]),
    (
        {
            "$defs": {"tree": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
            "$ref": "#/$defs/tree",
        },
        [[], [[], [[]]]],
        [[1], [[[0]]]],
    ),
    ({"$ref": "#/$defs/a~1b%25", "$defs": {"a/b%": {"type": "null"}}}, [None], [1]),
    ({"title": "t", "format": "email", "x-mine": 1, "$comment": "c", "default": 3}, ["none"], []),
]


@pytest.mark.parametrize(("source", "fit", "unfit"), CASES, ids=lambda value: str(value)[:30])
def test_a_payload_fits_or_not_as_the_standard_says(
    source: Any, fit: list[Any], unfit: list[Any]
) -> None:
    schema = Schema(source)
    assert [value for value in fit if schema.misfit(value) is not None] == []
    assert [value for value in unfit if schema.misfit(value) is None] == []


def test_a_misfit_is_named_by_its_json_pointer_and_what_is_wanted() -> None:
    name = {"type": "string"}
    schema = Schema({"properties": {"a/b~": {"items": {"properties": {"name": name}}}}})
    assert schema.misfit({"a/b~": [{}, {"name": 5}]}) == ("/a~1b~0/1/name", "type string", 5)
    assert pointer(None) == ""


WRONG: list[tuple[Any, str]] = [
    ({"requird": ["a"]}, "at '/requird' of the schema: not known here"),
    ({"$dynamicRef": "#a"}, "not known here"),
    ({"unevaluatedProperties": False}, "not known here"),
    ({"$ref": "https://example.com/x"}, "stays in the schema"),
    ({"$ref": "#/nowhere"}, "refers to nothing"),
    ({"$schema": "http://json-schema.org/draft-07/schema#"}, "only https"),
    ({"type": "text"}, "a type is one of"),
    ({"properties": {"a": {"minLength": -1}}}, "at '/properties/a/minLength'"),
    ({"properties": {"a": {"$id": "x"}}}, "not known here"),
    ({"pattern": "(a)\\1"}, "linear time"),
    ({"pattern": "(?=a)"}, "linear time"),
    ({"pattern": "((a{50}){50}){50}"}, "written out"),
    ({"pattern": "a" * 501}, "characters at most"),
    ({"enum": 1}, "must be an array"),
    ({"multipleOf": 0}, "over 0"),
    ({"allOf": []}, "must hold schemas"),
    ({"items": [1]}, "an object or a boolean"),
    ([], "an object or a boolean"),
    ({"required": "a"}, "array of names"),
    ({"title": "x" * 70_000}, "65536 bytes at most"),
    ({"minimum": float("nan")}, "a schema is JSON"),
    ({"$defs": {f"a{n}": {"$ref": f"#/$defs/a{n + 1}"} for n in range(1500)} | {"a1500": {}},
      "$ref": "#/$defs/a0"}, "too long"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "why"), WRONG, ids=lambda value: str(value)[:30])
def test_what_is_no_schema_is_refused_with_its_place(source: Any, why: str) -> None:
    with pytest.raises(InvalidSchema) as refused:
        Schema(source)
    assert why in str(refused.value)


def _doubling(levels: int) -> dict[str, Any]:
    """Each level tries the next one twice: 2 to the power of *levels* ways to fail."""
    defs: dict[str, Any] = {
        f"a{n}": {"anyOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(levels)
    }
    return {"$defs": {**defs, f"a{levels}": False}, "$ref": "#/$defs/a0"}


COSTLY: list[tuple[Any, Any]] = [
    ({"pattern": "(a+)+$"}, "a" * 9_000 + "b"),
    ({"pattern": "(a|a|aa)*c"}, "a" * 9_000),
    (_doubling(30), 1),
    ({"$ref": "#"}, 1),
    ({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}, 1),
    ({"items": {"items": {"uniqueItems": True}}}, [[[list(range(300)) for _ in range(300)]] * 9]),
    ({"patternProperties": {f"a{n}": {} for n in range(500)}}, {f"k{n}": n for n in range(9_000)}),
]


@pytest.mark.parametrize(("source", "payload"), COSTLY, ids=lambda value: str(value)[:30])
def test_no_check_takes_long_whatever_the_schema(source: Any, payload: Any) -> None:
    """It is refused, as costing too much or as no match; processor time, so others don't count."""
    schema = Schema(source)
    started = time.process_time()
    assert schema.misfit(payload) is not None
    assert time.process_time() - started < 2.0


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(json_values, json_values)
def test_const_and_not_const_tell_equal_from_other(a: Any, b: Any) -> None:
    fits = Schema({"const": a}).misfit(b) is None
    assert Schema({"const": a}).misfit(a) is None
    assert (Schema({"not": {"const": a}}).misfit(b) is None) is not fits
    assert (Schema({"uniqueItems": True}).misfit([a, b]) is None) is not fits
