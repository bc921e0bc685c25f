"""JSON Schema 2020-12, as far as a bus can promise to end: a check whose cost is bounded. Pure.

No library in reach bounds both: a schema whose branches multiply (``anyOf`` in ``anyOf``)
and a regular expression that backtracks. Here each check spends from a budget, and
``pattern`` is matched by Rust's engine, in linear time. References stay inside the schema.

Left out, and refused by name: ``unevaluated…``, ``$dynamic…``, ``$anchor``, references to
other documents, drafts before 2020-12. ``format`` is a note, as the standard has it. A
keyword that isn't known is refused too, since it is most often a slip; ``x-…`` is free.

Promises: docs/semantics/bus.md#schemas.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from math import prod
from typing import Any, NamedTuple
from urllib.parse import unquote

from antiphon.bus.event_rules import check_payload
from antiphon.errors import InvalidPayload, InvalidSchema, PayloadTooLarge, cut

SCHEMA_BYTES = 64 * 1024
STEPS = 200_000
"""Most that one payload may cost: about one step for each value and keyword looked at."""
DEPTH = 150
"""Most schemas inside each other while checking, references included."""
PATTERN_CHARS = 500
PATTERN_COST = 2_000
"""Most characters of a pattern, its counted repetitions written out."""
MATCHED_CHARS = 10_000
"""Longest string that a pattern is held against."""
DRAFT = "https://json-schema.org/draft/2020-12/schema"

_NOTES = frozenset(
    [
        *("$schema", "$comment", "$defs", "definitions", "title", "description", "default"),
        *("examples", "deprecated", "readOnly", "writeOnly", "format"),
        *("contentEncoding", "contentMediaType", "contentSchema"),
    ]
)
_METHODS = {"$ref": "reference", "reference": ""}
_COUNTED = re.compile(r"(\)?)[*+?]?\{(\d+)(?:,(\d*))?\}")


class Misfit(Exception):
    """Where a payload doesn't fit, and what was wanted there.

    Attributes:
        at: From the payload to the value, key by key.
    """

    def __init__(self, at: At | None, wanted: str, value: Any) -> None:
        super().__init__(wanted)
        self.at = at
        self.wanted = wanted
        self.value = value


class TooCostly(Exception):
    """The budget is spent, and nothing was found out."""


class At(NamedTuple):
    """A place in the payload."""

    above: At | None
    key: str | int


class Run:
    """What one check has left to spend."""

    __slots__ = ("depth", "left")

    def __init__(self) -> None:
        self.left = STEPS
        self.depth = 0

    def spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise TooCostly


Check = Callable[[Any, At | None, Run], None]


class Schema:
    """A schema, checked and ready to check payloads.

    Args:
        source: The schema as JSON values.

    Raises:
        InvalidSchema: It is none, or uses what is left out; the text says where.
    """

    def __init__(self, source: Any) -> None:
        try:
            check_payload(source, limit=SCHEMA_BYTES)
        except PayloadTooLarge as error:
            raise InvalidSchema(f"a schema has {SCHEMA_BYTES} bytes at most: {error}") from None
        except InvalidPayload as error:
            raise InvalidSchema(f"a schema is JSON: {error}") from None
        if isinstance(source, dict) and source.get("$schema", DRAFT).rstrip("#") != DRAFT:
            raise InvalidSchema(f"only {DRAFT} is known", value=source["$schema"])
        self.source = source
        try:
            self._check = _Compiler(source).compiled("")
        except RecursionError:
            raise InvalidSchema("a chain of references in the schema is too long") from None

    def misfit(self, payload: Any) -> tuple[str, str, Any] | None:
        """None if *payload* fits; else the JSON pointer, what is wanted there, what is there."""
        try:
            self._check(payload, None, Run())
        except Misfit as misfit:
            return pointer(misfit.at), misfit.wanted, misfit.value
        except (TooCostly, RecursionError):
            return "", f"a check in {STEPS} steps and {DEPTH} levels; this one costs more", None
        return None


def pointer(at: At | None) -> str:
    """The JSON pointer (RFC 6901) of a place."""
    keys: list[str] = []
    while at is not None:
        keys.append(f"/{at.key}" if isinstance(at.key, int) else f"/{_escaped(at.key)}")
        at = at.above
    return "".join(reversed(keys))


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


# --- values -----------------------------------------------------------------------------


def _is_number(value: Any) -> bool:
    return type(value) is int or type(value) is float


_TYPES: dict[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: type(value) is bool,
    "integer": lambda value: type(value) is int or (type(value) is float and value.is_integer()),
    "number": _is_number,
    "string": lambda value: type(value) is str,
    "array": lambda value: type(value) is list,
    "object": lambda value: type(value) is dict,
}


def _same(value: Any, run: Run) -> Any:
    """Something hashable that is equal for equal JSON: 1 and 1.0 are, 1 and true are not."""
    run.spend(1)
    if type(value) is bool:
        return ("b", value)
    if type(value) is list:
        return ("l", tuple([_same(one, run) for one in value]))
    if type(value) is dict:
        return ("o", frozenset([(key, _same(one, run)) for key, one in value.items()]))
    return value


def _matcher(text: str) -> Callable[[str], bool]:
    """Whether *text*, a regular expression, is found in a string, in linear time.

    Raises:
        ValueError: It is none, or too large.
    """
    from pydantic_core import SchemaError, SchemaValidator, core_schema

    if len(text) > PATTERN_CHARS:
        raise ValueError(f"a pattern has {PATTERN_CHARS} characters at most")
    counted = _COUNTED.findall(text)
    counts = [(group, int(high or low)) for group, low, high in counted]
    cost = len(text) + sum(count for group, count in counts if not group)
    if cost * prod(max(count, 1) for group, count in counts if group) > PATTERN_COST:
        raise ValueError(f"a pattern has {PATTERN_COST} characters at most, written out")
    try:
        validator = SchemaValidator(core_schema.str_schema(pattern=text, strict=True))
    except SchemaError as error:
        why = str(error).strip().splitlines()[-1].strip()
        raise ValueError(f"no regular expression of linear time: {cut(why)}") from None
    return validator.isinstance_python


# --- compiling --------------------------------------------------------------------------


class _Compiler:
    """Turns a schema and all that it refers to into checks, each place once."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._checks: dict[str, Check] = {}

    def compiled(self, place: str) -> Check:
        """The check of the schema at JSON pointer *place*."""
        if place in self._checks:
            return self._checks[place]
        self._checks[place] = lambda value, at, run: made(value, at, run)  # for circles
        made = self._made(place)
        self._checks[place] = made
        return made

    def _made(self, place: str) -> Check:
        schema = self._at(place)
        if schema is True:
            return lambda value, at, run: run.spend(1)
        if schema is False:
            return _nothing
        if type(schema) is not dict:
            raise _wrong(place, "a schema is an object or a boolean", schema)
        checks = [
            check
            for keyword, value in schema.items()
            if (check := self._keyword(schema, keyword, value, f"{place}/{_escaped(keyword)}"))
        ]

        def check_all(value: Any, at: At | None, run: Run) -> None:
            run.spend(1 + len(checks))
            run.depth += 1
            if run.depth > DEPTH:
                raise TooCostly
            for check in checks:
                check(value, at, run)
            run.depth -= 1

        return check_all

    def _keyword(self, schema: Any, keyword: str, value: Any, place: str) -> Check | None:
        if keyword in ("$defs", "definitions"):
            for _ in self._several(value, place, kind=dict):
                pass
        if keyword in _NOTES or keyword.startswith("x-") or place == "/$id":
            return None
        make = getattr(self, f"_on_{_METHODS.get(keyword, keyword)}", None)
        if make is None:
            raise _wrong(place, "not known here", keyword)
        made: Check | None = make(schema, value, place)
        return made

    def _at(self, place: str) -> Any:
        found = self._source
        for step in place.split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(key)] if type(found) is list else found[key]
            except (KeyError, IndexError, ValueError, TypeError):
                raise _wrong(place, "refers to nothing", place) from None
        return found

    def _several(self, value: Any, place: str, *, kind: type[Any]) -> Iterator[tuple[Any, Check]]:
        if type(value) is not kind or (kind is list and not value):
            raise _wrong(place, "must hold schemas", value)
        keys = value if kind is dict else range(len(value))
        for key in keys:
            step = _escaped(key) if isinstance(key, str) else str(key)
            yield key, self.compiled(f"{place}/{step}")

    # --- of any value ---

    def _on_reference(self, schema: Any, value: Any, place: str) -> Check:
        if type(value) is not str or not (value == "#" or value.startswith("#/")):
            raise _wrong(place, "a reference begins with # and stays in the schema", value)
        return self.compiled(unquote(value[1:]))

    def _on_type(self, schema: Any, value: Any, place: str) -> Check:
        names = value if type(value) is list else [value]
        if not names or any(type(name) is not str or name not in _TYPES for name in names):
            raise _wrong(place, f"a type is one of {', '.join(_TYPES)}", value)
        tests = [_TYPES[name] for name in names]
        return _must(f"type {' or '.join(names)}", lambda found: any(t(found) for t in tests))

    def _on_enum(self, schema: Any, value: Any, place: str) -> Check:
        if type(value) is not list:
            raise _wrong(place, "must be an array", value)
        allowed = {_same(one, Run()) for one in value}
        return _equal(f"one of {cut(value)}", allowed)

    def _on_const(self, schema: Any, value: Any, place: str) -> Check:
        return _equal(f"{cut(value)}", {_same(value, Run())})

    # --- of several schemas ---

    def _on_allOf(self, schema: Any, value: Any, place: str) -> Check:  # noqa: N802
        checks = [check for _, check in self._several(value, place, kind=list)]

        def every(found: Any, at: At | None, run: Run) -> None:
            for check in checks:
                check(found, at, run)

        return every

    def _on_anyOf(self, schema: Any, value: Any, place: str) -> Check:  # noqa: N802
        return self._some(value, place, "at least one schema of anyOf", lambda count: count > 0)

    def _on_oneOf(self, schema: Any, value: Any, place: str) -> Check:  # noqa: N802
        return self._some(value, place, "exactly one schema of oneOf", lambda count: count == 1)

    def _some(self, value: Any, place: str, wanted: str, enough: Callable[[int], bool]) -> Check:
        checks = [check for _, check in self._several(value, place, kind=list)]

        def some(found: Any, at: At | None, run: Run) -> None:
            if not enough(sum(_fits(check, found, at, run) for check in checks)):
                raise Misfit(at, wanted, found)

        return some

    def _on_not(self, schema: Any, value: Any, place: str) -> Check:
        check = self.compiled(place)

        def none(found: Any, at: At | None, run: Run) -> None:
            if _fits(check, found, at, run):
                raise Misfit(at, "anything but what 'not' describes", found)

        return none

    def _on_if(self, schema: Any, value: Any, place: str) -> Check:
        base = place.rpartition("/")[0]
        test = self.compiled(place)
        then = self.compiled(f"{base}/then") if "then" in schema else None
        other = self.compiled(f"{base}/else") if "else" in schema else None

        def either(found: Any, at: At | None, run: Run) -> None:
            check = then if _fits(test, found, at, run) else other
            if check is not None:
                check(found, at, run)

        return either

    def _on_then(self, schema: Any, value: Any, place: str) -> None:
        self.compiled(place)

    _on_else = _on_then

    # --- of numbers ---

    def _on_minimum(self, schema: Any, value: Any, place: str) -> Check:
        return _bound(value, place, "at least", lambda found: bool(found >= value))

    def _on_maximum(self, schema: Any, value: Any, place: str) -> Check:
        return _bound(value, place, "at most", lambda found: bool(found <= value))

    def _on_exclusiveMinimum(self, schema: Any, value: Any, place: str) -> Check:  # noqa: N802
        return _bound(value, place, "more than", lambda found: bool(found > value))

    def _on_exclusiveMaximum(self, schema: Any, value: Any, place: str) -> Check:  # noqa: N802
        return _bound(value, place, "less than", lambda found: bool(found < value))

    def _on_multipleOf(self, schema: Any, value: Any, place: str) -> Check:  # noqa: N802
        if not _is_number(value) or value <= 0:
            raise _wrong(place, "must be a number over 0", value)
        step = Fraction(str(value))
        return _bound(value, place, "a multiple of", lambda found: Fraction(str(found)) % step == 0)

    # --- of strings ---

    def _on_minLength(self, schema: Any, value: Any, place: str) -> Check:  # noqa: N802
        return _size(value, place, str, "at least {} characters", lambda size: size >= value)

    def _on_maxLength(self, schema: Any, value: Any, place: str) -> Check:  # noqa: N802
        return _size(value, place, str, "at most {} characters", lambda size: size <= value)

    def _on_pattern(self, schema: Any, value: Any, place: str) -> Check:
        found_in = _compiled_pattern(value, place)

        def match(found: Any, at: At | None, run: Run) -> None:
            if type(found) is not str:
                return
            run.spend(1 + len(found) // 16)
            if len(found) > MATCHED_CHARS:
                raise Misfit(at, f"at most {MATCHED_CHARS} characters, as it has a pattern", found)
            if not found_in(found):
                raise Misfit(at, f"a match of the pattern {cut(value)}", found)

        return match

    # --- of arrays ---

    def _on_minItems(self, schema: Any, value: Any, place: str) -> Check:  # noqa: N802
        return _size(value, place, list, "at least {} items", lambda size: size >= value)

    def _on_maxItems(self, schema: Any, value: Any, place: str) -> Check:  # noqa: N802
        return _size(value, place, list, "at most {} items", lambda size: size <= value)

    def _on_uniqueItems(self, schema: Any, value: Any, place: str) -> Check | None:  # noqa: N802
        if type(value) is not bool:
            raise _wrong(place, "must be a boolean", value)

        def unique(found: Any, at: At | None, run: Run) -> None:
            if type(found) is list and len({_same(one, run) for one in found}) < len(found):
                raise Misfit(at, "items that differ from each other", found)

        return unique if value else None

    def _on_prefixItems(self, schema: Any, value: Any, place: str) -> Check:  # noqa: N802
        checks = [check for _, check in self._several(value, place, kind=list)]

        def first_ones(found: Any, at: At | None, run: Run) -> None:
            if type(found) is list:
                for n, (one, check) in enumerate(zip(found, checks, strict=False)):
                    check(one, At(at, n), run)

        return first_ones

    def _on_items(self, schema: Any, value: Any, place: str) -> Check:
        check = self.compiled(place)
        prefix = schema.get("prefixItems", [])
        start = len(prefix) if type(prefix) is list else 0

        def rest(found: Any, at: At | None, run: Run) -> None:
            if type(found) is list:
                for n in range(start, len(found)):
                    check(found[n], At(at, n), run)

        return rest

    def _on_contains(self, schema: Any, value: Any, place: str) -> Check:
        check = self.compiled(place)
        least = schema.get("minContains", 1)
        most = schema.get("maxContains")

        def some(found: Any, at: At | None, run: Run) -> None:
            if type(found) is not list:
                return
            count = sum(_fits(check, one, At(at, n), run) for n, one in enumerate(found))
            if count < least or (most is not None and count > most):
                bounds = f"at least {least}" + ("" if most is None else f" and at most {most}")
                raise Misfit(at, f"{bounds} items of 'contains'", found)

        return some

    def _on_minContains(self, schema: Any, value: Any, place: str) -> None:  # noqa: N802
        _check_size(value, place)

    _on_maxContains = _on_minContains  # noqa: N815

    # --- of objects ---

    def _on_minProperties(self, schema: Any, value: Any, place: str) -> Check:  # noqa: N802
        return _size(value, place, dict, "at least {} properties", lambda size: size >= value)

    def _on_maxProperties(self, schema: Any, value: Any, place: str) -> Check:  # noqa: N802
        return _size(value, place, dict, "at most {} properties", lambda size: size <= value)

    def _on_required(self, schema: Any, value: Any, place: str) -> Check:
        names = _names(value, place)

        def has_all(found: Any, at: At | None, run: Run) -> None:
            if type(found) is dict:
                for name in names:
                    if name not in found:
                        raise Misfit(at, f"the property '{cut(name)}'", found)

        return has_all

    def _on_properties(self, schema: Any, value: Any, place: str) -> Check:
        checks = dict(self._several(value, place, kind=dict))

        def each(found: Any, at: At | None, run: Run) -> None:
            if type(found) is dict:
                for name, check in checks.items():
                    if name in found:
                        check(found[name], At(at, name), run)

        return each

    def _on_patternProperties(self, schema: Any, value: Any, place: str) -> Check:  # noqa: N802
        checks = [
            (_compiled_pattern(name, place), check)
            for name, check in self._several(value, place, kind=dict)
        ]

        def each(found: Any, at: At | None, run: Run) -> None:
            if type(found) is dict:
                run.spend(len(found) * len(checks))
                for name, one in found.items():
                    for named, check in checks:
                        if named(name):
                            check(one, At(at, name), run)

        return each

    def _on_additionalProperties(self, schema: Any, value: Any, place: str) -> Check:  # noqa: N802
        check = self.compiled(place)
        known = frozenset(schema.get("properties", ()))
        base = f"{place.rpartition('/')[0]}/patternProperties"
        named = [_compiled_pattern(name, base) for name in schema.get("patternProperties", ())]

        def others(found: Any, at: At | None, run: Run) -> None:
            if type(found) is dict:
                run.spend(len(found) * (1 + len(named)))
                for name, one in found.items():
                    if name not in known and not any(match(name) for match in named):
                        check(one, At(at, name), run)

        return others

    def _on_propertyNames(self, schema: Any, value: Any, place: str) -> Check:  # noqa: N802
        check = self.compiled(place)

        def names(found: Any, at: At | None, run: Run) -> None:
            if type(found) is dict:
                for name in found:
                    check(name, At(at, name), run)

        return names

    def _on_dependentRequired(self, schema: Any, value: Any, place: str) -> Check:  # noqa: N802
        if type(value) is not dict:
            raise _wrong(place, "must be an object", value)
        needs = {name: _names(names, place) for name, names in value.items()}

        def with_others(found: Any, at: At | None, run: Run) -> None:
            if type(found) is dict:
                for name, others in needs.items():
                    missing = [other for other in others if other not in found]
                    if name in found and missing:
                        wanted = f"the property '{cut(missing[0])}' beside '{cut(name)}'"
                        raise Misfit(at, wanted, found)

        return with_others

    def _on_dependentSchemas(self, schema: Any, value: Any, place: str) -> Check:  # noqa: N802
        checks = dict(self._several(value, place, kind=dict))

        def where_there(found: Any, at: At | None, run: Run) -> None:
            if type(found) is dict:
                for name, check in checks.items():
                    if name in found:
                        check(found, at, run)

        return where_there


# --- small checks -----------------------------------------------------------------------


def _nothing(value: Any, at: At | None, run: Run) -> None:
    raise Misfit(at, "nothing at all", value)


def _fits(check: Check, value: Any, at: At | None, run: Run) -> bool:
    depth = run.depth
    try:
        check(value, at, run)
    except Misfit:
        run.depth = depth
        return False
    return True


def _must(wanted: str, test: Callable[[Any], bool]) -> Check:
    def check(value: Any, at: At | None, run: Run) -> None:
        if not test(value):
            raise Misfit(at, wanted, value)

    return check


def _equal(wanted: str, allowed: set[Any]) -> Check:
    def check(value: Any, at: At | None, run: Run) -> None:
        if _same(value, run) not in allowed:
            raise Misfit(at, wanted, value)

    return check


def _bound(value: Any, place: str, wanted: str, test: Callable[[Any], bool]) -> Check:
    if not _is_number(value):
        raise _wrong(place, "must be a number", value)
    return _must(f"{wanted} {value}", lambda found: not _is_number(found) or test(found))


def _size(
    value: Any, place: str, kind: type[Any], wanted: str, test: Callable[[int], bool]
) -> Check:
    _check_size(value, place)
    return _must(wanted.format(value), lambda found: type(found) is not kind or test(len(found)))


def _check_size(value: Any, place: str) -> None:
    if not _TYPES["integer"](value) or value < 0:
        raise _wrong(place, "must be a number of things, 0 or more", value)


def _names(value: Any, place: str) -> list[str]:
    if type(value) is not list or any(type(name) is not str for name in value):
        raise _wrong(place, "must be an array of names", value)
    return value


def _compiled_pattern(text: Any, place: str) -> Callable[[str], bool]:
    if type(text) is not str:
        raise _wrong(place, "must be a string", text)
    try:
        return _matcher(text)
    except ValueError as error:
        raise _wrong(place, str(error), text) from None


def _wrong(place: str, why: str, value: object) -> InvalidSchema:
    return InvalidSchema(f"at '{cut(place)}' of the schema: {why}, got {cut(value)}", value=value)
