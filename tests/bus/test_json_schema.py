"""What a schema may be and cost; whether a payload fits is the library's own to test."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from antiphon.bus.json_schema import Schema
from antiphon.errors import InvalidSchema

TREE = {
    "$defs": {"tree": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
    "$ref": "#/$defs/tree",
}
CASES: list[tuple[Any, list[Any], list[Any]]] = [
    (True, [None, 1, []], []),
    (False, [], [None, 1, []]),
    ({"type": "integer"}, [1, 1.0, 2**53 - 1], [1.5, True, "1", None]),
    ({"prefixItems": [{"type": "null"}], "items": False}, [[], [None]], [[1], [None, 1]]),
    ({"$ref": "#/$defs/a~1b%25", "$defs": {"a/b%": {"type": "null"}}}, [None], [1]),
    ({"anyOf": [{"type": "null"}, {"minimum": 5}]}, [None, 5], [4]),
    ({"properties": {"a": True}, "unevaluatedProperties": False}, [{"a": 1}], [{"b": 1}]),
    (TREE, [[], [[], [[]]]], [[1], [[[0]]]]),
    ({"title": "t", "format": "email", "x-mine": 1, "default": 3}, ["none"], []),
    (
        {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "null"}]},
        [[None, 1]],
        [[1]],
    ),
]


@pytest.mark.parametrize(("source", "fit", "unfit"), CASES, ids=lambda value: str(value)[:30])
def test_a_payload_fits_or_not_by_its_draft(source: Any, fit: list[Any], unfit: list[Any]) -> None:
    schema = Schema(source)
    assert [value for value in fit if schema.misfit(value) is not None] == []
    assert [value for value in unfit if schema.misfit(value) is None] == []


def test_a_misfit_is_named_by_its_json_pointer_and_what_is_wrong() -> None:
    name = {"type": "string"}
    schema = Schema({"properties": {"a/b~": {"items": {"properties": {"name": name}}}}})
    misfit = schema.misfit({"a/b~": [{}, {"name": 5}]})
    assert misfit == ("/a~1b~0/1/name", 'the value is not of type "string"', 5)


def test_a_misfit_of_one_of_several_is_named_while_that_is_cheap() -> None:
    schema = Schema({"items": {"anyOf": [{"type": "string"}, {"type": "null"}]}})
    misfit = schema.misfit(["a", 1])
    assert misfit is not None
    assert misfit[0] == "/1"
    misfit = schema.misfit(["a"] * 30_000 + [1])
    assert misfit is not None
    assert (misfit[0], "as a whole" in misfit[1]) == ("", True)


def test_a_misfit_of_a_schema_that_refers_to_itself_has_no_place() -> None:
    misfit = Schema(TREE).misfit([[1]])
    assert misfit is not None
    assert (misfit[0], "as a whole" in misfit[1], misfit[2]) == ("", True, [[1]])


WRONG: list[tuple[Any, str]] = [
    ({"$ref": "https://example.com/x"}, "at '/$ref' of the schema: a reference is #"),
    ({"$ref": "file:///etc/hosts"}, "stays in the schema"),
    ({"items": {"$ref": "other.json"}}, "at '/items/$ref' of the schema"),
    ({"$anchor": "a", "$ref": "#a"}, "begins with #/"),
    ({"$dynamicRef": "#a"}, "only $ref refers"),
    ({"$ref": "#/nowhere"}, "refers to nothing, got #/nowhere"),
    ({"$ref": "#/allOf/7", "allOf": [True]}, "refers to nothing"),
    ({"$ref": "#/allOf/x", "allOf": [True]}, "refers to nothing"),
    ({"$ref": "#/title/x", "title": "t"}, "refers to nothing"),
    ({"$schema": "https://example.com/schema"}, "unknown meta-schema"),
    ({"type": "text"}, "at '/type' of the schema"),
    ({"properties": {"a/b": {"minLength": -1}}}, "at '/properties/a~1b/minLength'"),
    ({"enum": 1}, "at '/enum' of the schema"),
    ({"pattern": "(a)\\1"}, "linear time"),
    ({"patternProperties": {"(?=a)": True}}, "linear time"),
    ({"pattern": "((a{50}){50}){50}"}, "too large"),
    ({"pattern": "("}, "no regular expression"),
    ([], "an object or a boolean, got []"),
    ('{"type": "null"}', "an object or a boolean"),
    (None, "an object or a boolean"),
    ({"title": "x" * 70_000}, "65536 bytes at most"),
    ({"minimum": float("nan")}, "a schema is JSON"),
    ({**TREE, "unevaluatedItems": False}, "refers to itself has no 'unevaluatedItems'"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "why"), WRONG, ids=lambda value: str(value)[:30])
def test_what_is_no_schema_is_refused_with_its_place(source: Any, why: str) -> None:
    with pytest.raises(InvalidSchema) as refused:
        Schema(source)
    assert why.casefold() in str(refused.value).casefold()


def _doubling(levels: int, word: str = "anyOf") -> dict[str, Any]:
    """Each level tries the next one twice: 2 to the power of *levels* ways to fail."""
    defs: dict[str, Any] = {
        f"a{n}": {word: [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(levels)
    }
    return {"$defs": {**defs, f"a{levels}": False}, "$ref": "#/$defs/a0"}


def _nested(depth: int, inmost: Any) -> Any:
    for _ in range(depth):
        inmost = [inmost]
    return inmost


@pytest.mark.parametrize("order", [1, -1])
def test_a_schema_whose_references_are_a_long_chain_is_refused(order: int) -> None:
    def chain(links: int) -> dict[str, Any]:
        names = range(links)[::order]
        defs: dict[str, Any] = {f"a{n}": {"$ref": f"#/$defs/a{n + 1}"} for n in names}
        return {"$ref": "#/$defs/a0", "$defs": {f"a{links}": {"type": "null"}, **defs}}

    assert Schema(chain(100)).misfit(1) == ("", 'the value is not of type "null"', 1)
    for links in (150, 1500):
        with pytest.raises(InvalidSchema, match="nested 150 deep at most"):
            Schema(chain(links))


@pytest.mark.parametrize("word", ["anyOf", "allOf", "oneOf"])
def test_a_schema_whose_references_multiply_is_refused(word: str) -> None:
    assert Schema(_doubling(10, word)).misfit(1) is not None
    with pytest.raises(InvalidSchema, match=r"written out, a schema has 10000 objects at most"):
        Schema(_doubling(30, word))


def _at_each_depth(word: str) -> dict[str, Any]:
    """Each depth of a payload is looked at twice, by each look at the depth above."""
    return {word: [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}}], "type": ["array", "null"]}


COSTLY = {
    "backtracking": ({"pattern": "(a+)+$"}, "a" * 200_000 + "b"),
    "alternatives": ({"pattern": "(a|a|aa)*c"}, "a" * 200_000),
    "all, at each depth": (_at_each_depth("allOf"), [_nested(60, None), "bad"]),
    "any, at each depth": (_at_each_depth("anyOf"), _nested(60, "bad")),
    "one, at each depth": (_at_each_depth("oneOf"), _nested(60, "bad")),
    "in a circle": ({"anyOf": [{"$ref": "#"}, {"$ref": "#"}], "not": {"type": "null"}}, None),
    "branches": ({"anyOf": [{"items": {"type": "null"}}] * 99}, [1] * 100_000),
    "unique": ({"items": {"uniqueItems": True}}, [[*range(300), 0]] * 200),
}


CHECK = """
import json, resource, sys, time
resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
from antiphon.bus.json_schema import Schema
source, payload = json.load(sys.stdin)
schema = Schema(source)
started = time.process_time()
misfit = schema.misfit(payload)
print(misfit is not None, time.process_time() - started < 1.0)
"""


@pytest.mark.parametrize("name", COSTLY)
def test_no_check_takes_long(name: str) -> None:
    """Refused within a second of processor time and 1 GiB; apart, since nothing could stop it."""
    done = subprocess.run(
        [sys.executable, "-c", CHECK],
        input=json.dumps(COSTLY[name]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["True", "True"], done.stderr[-500:]


def test_the_validator_is_loaded_with_the_first_schema() -> None:
    code = "import sys, antiphon.bus.json_schema; sys.exit('jsonschema_rs' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
