"""The reference model of topics and patterns: naive, by the words of the contract.

It enumerates every topic of a small world and decides each by the text of the rule,
so that the real code can be compared with it.
"""

from __future__ import annotations

from functools import cache
from itertools import product

from hypothesis import strategies as st

WORDS = ("a", "b", "_s")
DEPTH = 4

WORLD = tuple(".".join(tokens) for n in range(1, DEPTH + 1) for tokens in product(WORDS, repeat=n))
"""Every topic of up to four tokens over three words, one of them reserved."""

patterns = st.one_of(
    st.just("*"),
    st.lists(st.sampled_from((*WORDS, "*", "+")), min_size=1, max_size=DEPTH - 1).map(".".join),
)
topics = st.sampled_from(WORLD)


@cache
def matches(pattern: str, topic: str) -> bool:
    return _match(pattern.split("."), topic.split("."), first=True)


def _match(pattern: list[str], topic: list[str], *, first: bool) -> bool:
    if not pattern:
        return not topic
    if not topic:
        return False
    head, *rest = pattern
    if head in ("*", "+"):
        if first and topic[0].startswith("_"):
            return False
        if head == "*" and not rest:
            return True
    elif head != topic[0]:
        return False
    return _match(rest, topic[1:], first=False)


@cache
def extent(pattern: str) -> frozenset[str]:
    """Every topic of the world that the pattern matches."""
    return frozenset(topic for topic in WORLD if matches(pattern, topic))
