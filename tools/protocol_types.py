"""Write ``web/src/protocol/types.ts`` from the Structs of ``antiphon.messages``.

``--check`` writes nothing and fails when the file is not what would be written.

The types are read from the fields, not from msgspec's JSON schema: that one
refuses a union of untagged Structs, which a publish answers with. A field may
be absent where it has a default, except in what only the server sends and
sends whole (neither ``omit_defaults`` nor ``forbid_unknown_fields``).
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
import types
import typing
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import msgspec

from antiphon import messages
from antiphon.messages import event, frames, http

TARGET = Path(__file__).resolve().parent.parent / "web" / "src" / "protocol" / "types.ts"
HEAD = "// Made by tools/protocol_types.py from antiphon.messages; change those, not this.\n"
ALIASES = {
    "ClientFrame": frames.ClientFrame,
    "ServerFrame": frames.ServerFrame,
    "Level": event.Level,
    "StartWord": frames.StartWord,
    "WorkerState": http.WorkerState,
}
SCALARS: dict[Any, str] = {
    int: "number",
    float: "number",
    str: "string",
    bool: "boolean",
    type(None): "null",
    datetime: "string",
    Any: "unknown",
}

Struct = type[msgspec.Struct]


def structs() -> list[Struct]:
    """Every Struct of the messages, by name."""
    found: dict[str, Struct] = {}
    for module in (event, frames, http):
        found |= {name: value for name, value in vars(module).items() if _is_public(name, value)}
    return [found[name] for name in sorted(found)]


def _is_public(name: str, value: object) -> bool:
    return isinstance(value, type) and issubclass(value, msgspec.Struct) and name[0] != "_"


def spell(kind: Any) -> str:
    """Spell a Python type as a TypeScript type."""
    if kind in SCALARS:
        return SCALARS[kind]
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return " | ".join(json.dumps(value) for value in parts)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(dict.fromkeys(spell(part) for part in parts))
    if origin is list:
        inner = spell(parts[0])
        return f"readonly ({inner})[]" if " | " in inner else f"readonly {inner}[]"
    if origin is dict:
        return f"Readonly<Record<{spell(parts[0])}, {spell(parts[1])}>>"
    return str(kind.__name__)


def spell_struct(struct: Struct) -> str:
    """Spell one Struct as an interface, its docstring as the comment."""
    config = struct.__struct_config__
    sent_whole = not config.omit_defaults and not config.forbid_unknown_fields
    lines = [*_comment(struct), f"export interface {struct.__name__} {{"]
    if config.tag_field:
        lines.append(f"  readonly {config.tag_field}: {json.dumps(config.tag)};")
    for field in msgspec.structs.fields(struct):
        mark = "" if sent_whole or field.required else "?"
        lines.append(f"  readonly {field.encode_name}{mark}: {spell(field.type)};")
    return "\n".join([*lines, "}\n"])


def _comment(kind: type) -> list[str]:
    lines = (inspect.getdoc(kind) or "").replace("*/", "* /").splitlines()
    if len(lines) < 2:
        return [f"/** {line} */" for line in lines]
    return ["/**", *(f" * {line}".rstrip() for line in lines), " */"]


def _names(kind: type[StrEnum]) -> str:
    values = " | ".join(json.dumps(value.value) for value in kind)
    return "\n".join([*_comment(kind), f"export type {kind.__name__} = {values};\n"])


def render() -> str:
    """Give the whole text of the file."""
    aliases = (f"export type {name} = {spell(kind)};\n" for name, kind in ALIASES.items())
    subprotocol = f"export const SUBPROTOCOL = {json.dumps(frames.SUBPROTOCOL)};\n"
    interfaces = (spell_struct(struct) for struct in structs())
    return "\n".join([HEAD, subprotocol, _names(messages.EventType), *aliases, *interfaces])


def main() -> int:
    """Write or compare, and say what happened."""
    parser = argparse.ArgumentParser(description="write the front end's protocol types")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when it differs")
    text = render()
    if not parser.parse_args().check:
        TARGET.write_text(text, encoding="utf-8")
        return 0
    if TARGET.is_file() and TARGET.read_text(encoding="utf-8") == text:
        return 0
    print(f"{TARGET.name} is not what the messages say; run tools/protocol_types.py")
    return 1


if __name__ == "__main__":
    sys.exit(main())
