"""JSON Schemas as ``jsonschema-rs`` checks them, held to what a check may cost. Pure.

The library alone can be made to take ages, or all memory, by a small schema: references
multiply, and under ``anyOf`` and ``oneOf`` it keeps an error for each value. So a schema's
size is counted with its references written out, and a misfit's place is looked for only
where that is cheap. Regular expressions take linear time.

Left out, and refused by name: references that leave the schema or aren't JSON pointers.

Promises: docs/semantics/bus.md#schemas.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec

from antiphon.errors import InvalidPayload, InvalidSchema, PayloadTooLarge, cut
from antiphon.messages.payload import check_payload

SCHEMA_BYTES = 64 * 1024
PLACES = 10_000
"""Most objects in a schema, its references written out."""
DEPTH = 150
"""Most of them inside each other: the library's stack is the thread's."""
EXPLAINED = 100_000
"""Most places of a schema with branches, times bytes of a payload, whose misfit is located."""
PATTERN_BYTES = 1024 * 1024
"""Most memory of one compiled regular expression, and of its cache."""
TEXT = 200
"""Most characters of the library's own words in an error."""

_BRANCHES = frozenset(["anyOf", "oneOf"])
_OTHER_REFERENCES = frozenset(["$dynamicRef", "$recursiveRef"])
_UNEVALUATED = frozenset(["unevaluatedItems", "unevaluatedProperties"])
_MASK = "the value"
_NO_REGEX = "no regular expression of linear time, or one too large"


class Schema:
    """A schema, checked and ready to check payloads.

    Args:
        source: The schema as JSON values; of draft 2020-12, unless its ``$schema`` says else.

    Raises:
        InvalidSchema: It is none, costs too much, or uses what is left out.
    """

    def __init__(self, source: Any) -> None:
        from jsonschema_rs import RegexOptions, ValidationError, ValidationErrorKind, validator_for

        _check_json(source)
        self.source = source
        self._written = _WrittenOut(source)
        try:
            self._validator = validator_for(
                source,
                pattern_options=RegexOptions(PATTERN_BYTES, PATTERN_BYTES),
                validate_formats=False,
                offline=True,
                mask=_MASK,
            )
        except ValidationError as error:
            if isinstance(error.kind, ValidationErrorKind.Referencing):
                raise InvalidSchema(f"no usable schema: {cut(error.message, TEXT)}") from None
            is_regex = getattr(error.kind, "format", "") == "regex"
            why = _NO_REGEX if is_regex else cut(error.message, TEXT)
            raise _wrong(error.instance_path, why, error.instance) from None

    def misfit(self, payload: Any) -> tuple[str, str, Any] | None:
        """None if *payload* fits; else the JSON pointer, what is wrong there, what is there."""
        if self._validator.is_valid(payload):
            return None
        from jsonschema_rs import ValidationError

        if self._written.is_soon_explained(payload):
            try:
                self._validator.validate(payload)
            except ValidationError as error:
                return pointer(error.instance_path), cut(error.message, TEXT), error.instance
        return "", f"{_MASK} doesn't fit as a whole (its place would take long to find)", payload


class _Size(NamedTuple):
    """How many objects there are, and how many at most inside each other."""

    places: int
    depth: int


class _WrittenOut:
    """What a schema comes to with its references written out.

    Attributes:
        places: How many objects it has. A reference to what it stands in counts once.
        circular: Whether there is such a reference.
        words: The keys in it.
    """

    def __init__(self, source: Any) -> None:
        self.circular = False
        self.words: set[str] = set()
        self._source = source
        self._open: set[int] = set()
        self._known: dict[int, _Size] = {}
        self.places, depth = self._size(source, ())
        if depth > DEPTH:
            raise _too_deep()
        if self.places > PLACES:
            raise InvalidSchema(
                f"its references written out, a schema has {PLACES} objects at most,"
                f" got {cut(self.places)}",
                limit=PLACES,
            )
        if self.circular and (found := self.words & _UNEVALUATED):
            raise InvalidSchema(
                f"a schema that refers to itself has no '{min(found)}'", value=min(found)
            )

    def is_soon_explained(self, payload: Any) -> bool:
        """Whether looking for what is wrong with *payload* ends soon, with few errors kept."""
        if self.circular:
            return False
        if not self.words & _BRANCHES:
            return True
        return self.places * len(msgspec.json.encode(payload)) <= EXPLAINED

    def _size(self, schema: Any, path: tuple[str | int, ...]) -> _Size:
        if type(schema) is list:
            return _together([self._size(one, (*path, at)) for at, one in enumerate(schema)])
        if type(schema) is not dict:
            return _Size(0, 0)
        name = id(schema)
        if name in self._open:
            self.circular = True
            return _Size(1, 1)
        if name not in self._known:
            self._open.add(name)
            if len(self._open) > DEPTH:
                raise _too_deep()
            self.words.update(schema)
            sizes = [self._size(one, (*path, key)) for key, one in schema.items()]
            inside = _together([*sizes, self._referred(schema, path)])
            self._known[name] = _Size(1 + inside.places, 1 + inside.depth)
            self._open.remove(name)
        return self._known[name]

    def _referred(self, schema: dict[str, Any], path: tuple[str | int, ...]) -> _Size:
        """The size of what *schema* refers to."""
        for word in _OTHER_REFERENCES & schema.keys():
            if type(schema[word]) is str:
                raise _wrong((*path, word), "only $ref refers", schema[word])
        target = schema.get("$ref")
        if type(target) is not str:
            return _Size(0, 0)
        if target != "#" and not target.startswith("#/"):
            why = "a reference is # or begins with #/, and stays in the schema"
            raise _wrong((*path, "$ref"), why, target)
        keys = [key.replace("~1", "/").replace("~0", "~") for key in unquote(target).split("/")[1:]]
        try:
            found = _at(self._source, keys)
        except (LookupError, ValueError):
            raise _wrong((*path, "$ref"), "refers to nothing", target) from None
        return self._size(found, tuple(keys))


def _together(sizes: list[_Size]) -> _Size:
    places = sum(size.places for size in sizes)
    return _Size(places, max((size.depth for size in sizes), default=0))


def pointer(keys: Iterable[str | int]) -> str:
    """The JSON pointer (RFC 6901) of a place."""
    return "".join(f"/{str(key).replace('~', '~0').replace('/', '~1')}" for key in keys)


def _at(source: Any, keys: Iterable[str]) -> Any:
    """What stands there; raise LookupError or ValueError if nothing does."""
    for key in keys:
        if type(source) is list:
            source = source[int(key)]
        elif type(source) is dict:
            source = source[key]
        else:
            raise LookupError(key)
    return source


def _check_json(source: Any) -> None:
    if type(source) is not dict and type(source) is not bool:
        raise InvalidSchema(f"a schema is an object or a boolean, got {cut(source)}", value=source)
    try:
        check_payload(source, limit=SCHEMA_BYTES)
    except PayloadTooLarge as error:
        raise InvalidSchema(f"a schema has {SCHEMA_BYTES} bytes at most: {error}") from None
    except InvalidPayload as error:
        raise InvalidSchema(f"a schema is JSON: {error}") from None


def _wrong(path: Iterable[str | int], why: str, value: object) -> InvalidSchema:
    place = cut(pointer(path))
    return InvalidSchema(f"at '{place}' of the schema: {why}, got {cut(value)}", value=value)


def _too_deep() -> InvalidSchema:
    return InvalidSchema(
        f"its references written out, a schema is nested {DEPTH} deep at most", limit=DEPTH
    )
