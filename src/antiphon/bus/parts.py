"""Taking JSON apart that can't be read as a whole, so that one bad part spoils no other.

It trusts nothing: what it returns may be no JSON, and is read again, part by part. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

TOKENS = 100_000
"""Most strings, brackets and commas looked at, so that nonsense costs little."""

_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["\[\]{},]', re.DOTALL)
_MEMBER = re.compile(r'"([^"\\]*)"[ \t\r\n]*:[ \t\r\n]*')
_PAIR = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_HALF = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


def parts(text: str) -> list[str] | None:
    """The members of the array that *text* is; None if it is none, or that can't be told."""
    try:
        return list(_walk(text, "["))
    except ValueError:
        return None


def members(text: str, *, some: bool = False) -> dict[str, str]:
    """The values of the object that *text* is, by their names; empty if that can't be told.

    Args:
        some: Then those that come before what can't be told.
    """
    found: dict[str, str] = {}
    try:
        for part in _walk(text, "{"):
            member = _MEMBER.match(part)
            if member is None:
                raise ValueError("a member without a name")
            found[member[1]] = part[member.end() :]
    except ValueError:
        return found if some else {}
    return found


def _walk(text: str, opening: str) -> Iterator[str]:
    text = text.strip(" \t\r\n")
    if not text.startswith(opening):
        raise ValueError(f"it begins with no {opening}")
    depth = start = 0
    for count, token in enumerate(_TOKEN.finditer(text)):
        kind = text[token.start()]
        if count >= TOKENS or token[0] == '"':
            raise ValueError("too many parts, or a string without end")
        if kind in "[{":
            depth += 1
            if depth == 1:
                start = token.end()
        elif kind in "]}":
            depth -= 1
        if (kind == "," and depth == 1) or depth == 0:
            part = text[start : token.start()].strip(" \t\r\n")
            if not part:
                raise ValueError("a part is empty")
            yield part
            start = token.end()
        if depth == 0:
            break
    if start != len(text) or text[:1] + text[-1:] not in ("[]", "{}"):
        raise ValueError("no array, no object, or more than one")


def has_lone_surrogate(text: str) -> bool:
    """Whether an escape in *text* is half of a character."""
    if _HALF.search(text) is None:
        return False
    return _HALF.search(_PAIR.sub(" ", text.replace("\\\\", " "))) is not None
