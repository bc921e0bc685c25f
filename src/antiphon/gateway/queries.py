"""What the query strings of events, streams and topics mean. Pure.

Which parameters there are, and how often, is in the table: ``operations.py`` has checked it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from antiphon.bus.position import START_WORDS
from antiphon.errors import BadRequest, cut
from antiphon.gateway.limits import TOPICS

TIMES = frozenset({"since", "until"})


def topics_of(pairs: Iterable[tuple[str, str]]) -> tuple[list[str], str, int]:
    """The patterns of a list of topics, the name that it goes on after, and how many it has.

    Raises:
        BadRequest: *limit* can't be read.
    """
    patterns, given = _split(pairs)
    limit = _number(given.get("limit", str(TOPICS)))
    if not 1 <= limit <= TOPICS:
        raise BadRequest(
            f"limit must be from 1 to {TOPICS}, got {limit}", value=limit, limit=TOPICS
        )
    return patterns, given.get("after", ""), limit


def query_of(pairs: Iterable[tuple[str, str]]) -> tuple[list[str], dict[str, Any]]:
    """The patterns and the arguments of ``Bus.query``.

    Raises:
        BadRequest: A parameter can't be read.
    """
    patterns, rest = _split(pairs)
    given = {name: _value(name, text) for name, text in rest.items()}
    if given.get("before") is not None:
        given.setdefault("order", "desc")
    return patterns, given


def stream_of(
    pairs: Iterable[tuple[str, str]], last_event_id: str | None
) -> tuple[list[str], str | int]:
    """The patterns of an event stream, and where it starts.

    Args:
        last_event_id: A browser's, which comes back: it has seen more than its address says.

    Raises:
        BadRequest: They are no start.
    """
    patterns, given = _split(pairs)
    if len(given) > 1:
        raise BadRequest("a stream starts by after or by from, not by both")
    after, word = given.get("after"), given.get("from", "now")
    if after in START_WORDS:
        raise BadRequest(f"{after} goes into from, after takes a cursor or a seq", value=after)
    if word not in START_WORDS:
        raise BadRequest(
            f"from must be one of {', '.join(START_WORDS)}, got {cut(word)}", value=word
        )
    return patterns, last_event_id or (word if after is None else after)


def _split(pairs: Iterable[tuple[str, str]]) -> tuple[list[str], dict[str, str]]:
    given = list(pairs)
    patterns = [text for name, text in given if name == "pattern"]
    return patterns or ["*"], {name: text for name, text in given if name != "pattern"}


def _value(name: str, text: str) -> object:
    if name in TIMES:
        return _time(name, text)
    if name == "limit":
        return _number(text)
    if name in ("after", "before") and text in ("now", "earliest", "last"):
        raise BadRequest(f"{name} takes a cursor or a seq, got {text}", value=text)
    return text


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        raise BadRequest(f"limit must be a number, got {cut(text)}", value=text)
    return int(text)


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
