"""JSON Schemas of Structs, each field with the words that the docstring has for it.

Not by msgspec's own, which refuses a union of untagged Structs; a publish answers with one.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Iterable, Iterator
from datetime import datetime
from enum import Enum
from typing import Any, Literal, TypeAlias

import msgspec

REF = "#/components/schemas/"

Schema: TypeAlias = dict[str, Any]
Struct: TypeAlias = type[msgspec.Struct]

_SCALARS: dict[Any, Schema] = {
    Any: {},
    msgspec.Raw: {},
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    types.NoneType: {"type": "null"},
    datetime: {"type": "string", "format": "date-time"},
}
_FIELD = re.compile(r"(\w+(?:, \w+)*): (.*)")
_SECTION = re.compile(r"\n(?:Attributes|Args|Raises):\n")


def schema_of(kind: Any) -> Schema:
    """The schema of a type; a Struct is referred to by its name.

    Raises:
        TypeError: It is of no kind that crosses a wire.
    """
    try:
        return dict(_SCALARS[kind])
    except (KeyError, TypeError):
        pass
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return {"enum": list(parts)}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [schema_of(part) for part in parts]}
    if origin is list:
        return {"type": "array", "items": schema_of(parts[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema_of(parts[1])}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return {"$ref": REF + kind.__name__}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"enum": [member.value for member in kind]}
    raise TypeError(f"no schema for {kind!r}")


def components_of(kinds: Iterable[Any]) -> dict[str, Schema]:
    """The schema of every Struct that *kinds* lead to, by name."""
    return {
        struct.__name__: _struct(struct)
        for struct in sorted(structs_in(kinds), key=lambda struct: struct.__name__)
    }


def structs_in(kinds: Iterable[Any]) -> list[Struct]:
    """Every Struct in *kinds*, and in their fields."""
    found: dict[Struct, None] = {}
    waiting = list(kinds)
    while waiting:
        kind = waiting.pop()
        waiting += typing.get_args(kind)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind not in found:
            found[kind] = None
            waiting += [field.type for field in msgspec.structs.fields(kind)]
    return list(found)


def words_of(cls: type) -> tuple[str, dict[str, str]]:
    """What a docstring says of the class, and of each attribute."""
    text = inspect.cleandoc(cls.__doc__ or "")
    _, _, rest = text.partition("\nAttributes:\n")
    section = re.split(r"\n(?=\S)", rest)[0]
    return _markdown(_SECTION.split(text + "\n")[0]), dict(_fields(section))


def _struct(struct: Struct) -> Schema:
    config = struct.__struct_config__
    sent_whole = not config.omit_defaults and not config.forbid_unknown_fields
    summary, words = words_of(struct)
    schema: Schema = {"type": "object", "description": summary, "properties": {}, "required": []}
    if config.tag_field is not None:
        schema["properties"][config.tag_field] = {"enum": [config.tag]}
        schema["required"].append(config.tag_field)
    for field in msgspec.structs.fields(struct):
        shown = schema_of(field.type)
        if field.name in words:
            shown["description"] = words[field.name]
        if field.required or sent_whole:
            schema["required"].append(field.encode_name)
        elif (default := _default(field)) is not None:
            shown["default"] = default
        schema["properties"][field.encode_name] = shown
    if config.forbid_unknown_fields:
        schema["additionalProperties"] = False
    return schema


def _default(field: msgspec.structs.FieldInfo) -> Any:
    made = field.default_factory
    return field.default if made is msgspec.NODEFAULT else made()


def _fields(section: str) -> Iterator[tuple[str, str]]:
    """``name: words`` and ``one, other: words``, each of one or more lines."""
    for entry in re.split(r"\n(?= {4}\S)", section):
        found = _FIELD.fullmatch(" ".join(line.strip() for line in entry.strip().splitlines()))
        if found is not None:
            for name in found[1].split(", "):
                yield name, _markdown(found[2])


def _markdown(text: str) -> str:
    paragraphs = (" ".join(part.split()) for part in text.strip().split("\n\n"))
    return "\n\n".join(paragraphs).replace("``", "`")
