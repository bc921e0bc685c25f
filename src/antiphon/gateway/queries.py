"""Query strings of ``GET /v1/events``: what may stand there, and what it means. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from antiphon.errors import BadRequest, cut

SINGLE = frozenset(
    {"after", "before", "order", "since", "until", "type", "source", "correlation_id", "limit"}
)
TIMES = frozenset({"since", "until"})


def patterns_of(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """The patterns of a query that takes nothing else; ``*`` if there are none.

    Raises:
        BadRequest: There is another parameter.
    """
    patterns, rest = _split(pairs)
    if rest:
        raise BadRequest(f"unknown parameter {cut(rest[0][0])}, known is pattern", value=rest[0][0])
    return patterns


def query_of(pairs: Iterable[tuple[str, str]]) -> tuple[list[str], dict[str, Any]]:
    """The patterns and the arguments of ``Bus.query``.

    Raises:
        BadRequest: A parameter is unknown, given twice, or can't be read.
    """
    patterns, rest = _split(pairs)
    given: dict[str, Any] = {}
    for name, text in rest:
        if name not in SINGLE:
            known = ", ".join(sorted(SINGLE))
            raise BadRequest(
                f"unknown parameter {cut(name)}, known are pattern, {known}", value=name
            )
        if name in given:
            raise BadRequest(f"{name} is given twice", value=text)
        given[name] = _value(name, text)
    if given.get("before") is not None:
        given.setdefault("order", "desc")
    return patterns, given


def _split(pairs: Iterable[tuple[str, str]]) -> tuple[list[str], list[tuple[str, str]]]:
    patterns: list[str] = []
    rest: list[tuple[str, str]] = []
    for name, text in pairs:
        if name == "pattern":
            patterns.append(text)
        else:
            rest.append((name, text))
    return patterns or ["*"], rest


def _value(name: str, text: str) -> object:
    if name in TIMES:
        return _time(name, text)
    if name == "limit":
        if not (text.isascii() and text.isdigit() and len(text) <= 6):
            raise BadRequest(f"limit must be a number, got {cut(text)}", value=text)
        return int(text)
    if name in ("after", "before") and text in ("now", "earliest", "last"):
        raise BadRequest(f"{name} takes a cursor or a seq, got {text}", value=text)
    return text


def _time(name: str, text: str) -> datetime:
    try:
        time = msgspec.convert(text.replace(" ", "+"), datetime)
    except msgspec.ValidationError:
        raise BadRequest(
            f"{name} must be a time as by RFC 3339, such as 2026-11-23T10:00:00Z, got {cut(text)}",
            value=text,
        ) from None
    if time.tzinfo is None:
        raise BadRequest(f"{name} needs an offset from UTC, such as Z", value=text)
    return time
