"""Topics and patterns: what they look like, what matches, covers and meets what. Pure.

A topic is 1 to 16 tokens of ``[A-Za-z0-9_-]{1,64}`` joined by ``.``, 200 bytes at
most; one whose first token starts with ``_`` is reserved. A pattern is a topic in
which ``*`` or ``+`` may stand for a whole token:

* ``*`` alone: every topic that is not reserved;
* a last ``*`` after others: one or more further tokens;
* ``*`` elsewhere, and ``+`` anywhere: exactly one token.

No wildcard in first place matches a reserved token. Who may use a topic is
decided in ``access.py``; finding the patterns of a topic is ``index.py``.

Promises: docs/semantics/topics.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple

from antiphon.errors import InvalidPattern, InvalidTopic, cut
from antiphon.ids import Topic

TOKENS = 16
TOKEN_BYTES = 64
TOPIC_BYTES = 200
CACHED = 16_384
"""Answers kept by each cache of this module."""

ONE = "+"
"""The token of a ``Shape`` that stands for exactly one."""

_TOKEN = re.compile(rf"[A-Za-z0-9_-]{{1,{TOKEN_BYTES}}}")


class Shape(NamedTuple):
    """A pattern taken apart.

    Attributes:
        tokens: Literal tokens and ``ONE``.
        tail: One or more further tokens follow.
    """

    tokens: tuple[str, ...]
    tail: bool


def check_topic(text: str) -> Topic:
    """Return *text* as a topic.

    Raises:
        InvalidTopic: It is none; the text says by which rule.
    """
    if not isinstance(text, str):
        raise InvalidTopic(f"a topic is a string, got {type(text).__name__}", value=text)
    return _check_topic(text)


def check_pattern(text: str) -> str:
    """Return *text*, a pattern.

    Raises:
        InvalidPattern: It is none; the text says by which rule.
    """
    if not isinstance(text, str):
        raise InvalidPattern(f"a pattern is a string, got {type(text).__name__}", value=text)
    shape(text)
    return text


def is_reserved(topic: str) -> bool:
    """Whether only Antiphon's own code may publish to *topic*; patterns can be asked too."""
    return topic.startswith("_")


def matches(pattern: str, topic: str) -> bool:
    """Whether *topic* is one of those that *pattern* stands for. Both were checked before."""
    return _expression(pattern).fullmatch(topic) is not None


def matcher(patterns: Iterable[str]) -> Callable[[str], object]:
    """What ``matches`` says of a topic and any of *patterns*, as one call: for many topics."""
    parts = (f"(?:{_expression(pattern).pattern})" for pattern in patterns)
    return re.compile("|".join(parts)).fullmatch


def covers(wide: str, narrow: str) -> bool:
    """Whether every topic that *narrow* matches is matched by *wide* too."""
    p, q = shape(wide), shape(narrow)
    if p.tail:
        long_enough = len(q.tokens) + q.tail > len(p.tokens)
    else:
        long_enough = not q.tail and len(q.tokens) == len(p.tokens)
    return (
        long_enough
        and all(a in (ONE, b) for a, b in zip(p.tokens, q.tokens, strict=False))
        and _first_meets(p, q)
    )


def intersect(p: str, q: str) -> list[str]:
    """The patterns that together match exactly what both *p* and *q* match: one, or none.

    Keeps the spelling of the narrower one where one covers the other.
    """
    if covers(p, q):
        return [q]
    if covers(q, p):
        return [p]
    a, b = shape(p), shape(q)
    if len(a.tokens) > len(b.tokens):
        a, b = b, a
    if not _can_meet(a, b):
        return []
    met = tuple(y if x == ONE else x for x, y in zip(a.tokens, b.tokens, strict=False))
    text = render(Shape(met + b.tokens[len(a.tokens) :], b.tail))
    # Each wildcard takes at least its own byte, so a longer pattern matches no topic.
    return [text] if len(text) <= TOPIC_BYTES else []


def to_nats(pattern: str) -> str:
    """*pattern* as a NATS subject. NATS's ``>`` alone matches reserved topics as well."""
    tokens = pattern.split(".")
    last = ">" if tokens[-1] == "*" else tokens[-1]
    return ".".join([*tokens[:-1], last]).replace(ONE, "*")


@lru_cache(CACHED)
def shape(pattern: str) -> Shape:
    """Take *pattern* apart, the same for all spellings of the same pattern.

    Raises:
        InvalidPattern: It is none.
    """
    if len(pattern) > TOPIC_BYTES:
        raise _bad_pattern(pattern, f"over {TOPIC_BYTES} bytes", TOPIC_BYTES)
    tokens = pattern.split(".")
    if len(tokens) > TOKENS:
        raise _bad_pattern(pattern, f"{len(tokens)} tokens, {TOKENS} at most", TOKENS)
    for token in tokens:
        if token not in ("*", ONE) and (wrong := _wrong_with(token, pattern=True)):
            raise _bad_pattern(pattern, wrong)
    tail = tokens[-1] == "*"
    kept = [ONE if token == "*" else token for token in tokens[: len(tokens) - tail]]
    if tail and len(kept) == TOKENS - 1:
        kept, tail = [*kept, ONE], False  # there is room for just one further token
    return Shape(tuple(kept), tail)


def render(parts: Shape) -> str:
    """The pattern that has this shape, with ``+`` for exactly one token."""
    return ".".join([*parts.tokens, "*"] if parts.tail else parts.tokens)


@lru_cache(CACHED)
def _check_topic(text: str) -> Topic:
    if len(text) > TOPIC_BYTES:
        raise _bad_topic(text, f"over {TOPIC_BYTES} bytes", TOPIC_BYTES)
    tokens = text.split(".")
    if len(tokens) > TOKENS:
        raise _bad_topic(text, f"{len(tokens)} tokens, {TOKENS} at most", TOKENS)
    for token in tokens:
        if wrong := _wrong_with(token, pattern=False):
            raise _bad_topic(text, wrong)
    return Topic(text)


def _wrong_with(token: str, *, pattern: bool) -> str | None:
    """Why *token* is no literal token, or None."""
    if _TOKEN.fullmatch(token):
        return None
    if not token:
        return "empty token"
    if len(token) > TOKEN_BYTES:
        return f"a token of {len(token)} characters, {TOKEN_BYTES} at most"
    if pattern and any(sign in token for sign in "*+>#"):
        return f"token '{cut(token)}': a wildcard is '*' or '+' and a whole token"
    return f"token '{cut(token)}': only A-Z, a-z, 0-9, '_' and '-' are allowed"


def _bad_topic(text: str, why: str, limit: int | None = None) -> InvalidTopic:
    return InvalidTopic(f"'{cut(text)}' is no topic: {why}", value=text, limit=limit)


def _bad_pattern(text: str, why: str, limit: int | None = None) -> InvalidPattern:
    return InvalidPattern(f"'{cut(text)}' is no pattern: {why}", value=text, limit=limit)


def _can_meet(short: Shape, long: Shape) -> bool:
    """Whether some topic has both shapes; *long* has at least as many tokens."""
    n = len(short.tokens)
    if not short.tail and (long.tail or len(long.tokens) != n):
        return False
    if short.tail and not long.tail and len(long.tokens) == n:
        return False
    return _first_meets(short, long) and all(
        x == y or ONE in (x, y) for x, y in zip(short.tokens, long.tokens, strict=False)
    )


def _first_meets(p: Shape, q: Shape) -> bool:
    """Whether a wildcard of one in first place stands over a reserved token of the other."""
    a = p.tokens[0] if p.tokens else ONE
    b = q.tokens[0] if q.tokens else ONE
    return not (a == ONE and is_reserved(b)) and not (b == ONE and is_reserved(a))


@lru_cache(CACHED)
def _expression(pattern: str) -> re.Pattern[str]:
    tokens, tail = shape(pattern)
    one, some = "[^.]+", ".+"
    parts = [one if token == ONE else re.escape(token) for token in tokens]
    if tail:
        parts.append(some)
    if parts[0] in (one, some):
        parts[0] = "(?!_)" + parts[0]
    return re.compile(r"\.".join(parts))
