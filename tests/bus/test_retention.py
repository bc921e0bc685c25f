"""Policies: which one a topic has, what they may say, and what they want gone."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.bus.retention import (
    DEFAULTS,
    Cut,
    Policies,
    Policy,
    Total,
    plan,
    read_policies,
    show_policy,
)
from antiphon.bus.topics import covers, matches
from antiphon.errors import BadRequest, BusError

from .topic_model import patterns as some_patterns
from .topic_model import topics as some_topics


def naive(patterns: list[str], topic: str) -> str | None:
    """Strike out whatever another one beats, comparing token by token."""

    def rank(token: str, last: bool) -> int:
        return 2 if token == "*" and last else 1 if token in ("*", "+") else 0

    def beats(p: str, q: str) -> bool:
        ps, qs = p.split("."), q.split(".")
        for at, (a, b) in enumerate(zip(ps, qs, strict=False)):
            ours, theirs = rank(a, at + 1 == len(ps)), rank(b, at + 1 == len(qs))
            if ours != theirs:
                return ours < theirs
        return False

    fit = [p for p in patterns if matches(p, topic)]
    best = [p for p in fit if not any(beats(q, p) for q in fit)]
    assert len(best) <= 1
    return best[0] if best else None


@given(st.lists(some_patterns, unique=True, max_size=6), some_topics)
def test_the_most_specific_policy_wins(patterns: list[str], topic: str) -> None:
    """In whatever order they were given; and never one that covers another that matches."""
    try:
        policies = Policies([Policy(pattern=p) for p in patterns], defaults=())
    except BadRequest:
        return  # two spellings of one pattern
    found = policies.of(topic)
    assert (None if found is None else found.pattern) == naive(patterns, topic)
    if found is not None:
        fit = [p for p in patterns if matches(p, topic)]
        assert not any(covers(found.pattern, p) and not covers(p, found.pattern) for p in fit)


def test_the_most_specific_by_example() -> None:
    patterns = ("*", "worker.*", "worker.+", "worker.*.done", "worker.build.*", "worker.build.done")
    for order in permutations(patterns):
        policies = Policies([Policy(pattern=p) for p in order], defaults=())
        won = {
            topic: policies.of(topic)
            for topic in ("a", "worker.x", "worker.x.done", "worker.build.done", "worker.build.log")
        }
        assert [policy.pattern if policy else None for policy in won.values()] == [
            "*",
            "worker.+",
            "worker.*.done",
            "worker.build.done",
            "worker.build.*",
        ]
        assert policies.of("_sys.x") is None


def test_a_policy_takes_the_place_of_the_default_one() -> None:
    policies = Policies([Policy(pattern="chat.*", max_count=5)])
    chat, other = policies.of("chat.lobby"), policies.of("worker.a")
    assert chat == Policy(pattern="chat.*", max_count=5)
    assert other is not None
    assert (other.max_age_s, other.max_bytes) == (7 * 86_400, 2 * 1024**3)
    assert {p.pattern: show_policy(p) for p in DEFAULTS} == {
        "*": "7d or 2GiB, hold 1GiB",
        "chat.*": "90d, hold 1GiB",
        "terminal.*": "1d or 256MiB",
        "_sys.*": "30d",
    }


def test_two_policies_for_the_same_topics_are_refused() -> None:
    with pytest.raises(
        BadRequest, match=r"two policies for the same topics: a\.\*\.b and a\.\+\.b"
    ):
        Policies([Policy(pattern="a.*.b"), Policy(pattern="a.+.b")])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"max_age": "7 days"}, r"max_age of policy a\.\*: 7 days is not a duration"),
        ({"max_bytes": "2 gigs"}, r"max_bytes of policy a\.\*: 2 gigs is not a size"),
        ({"max_count": 0}, r"max_count of policy a\.\* must be a number from 1 to 2\^53, got 0"),
        ({"max_count": "many"}, r"max_count of policy a\.\* must be .*, got many"),
        ({"max_count": True}, r"max_count of policy a\.\* must be .*, got True"),
        ({"max_age": 0}, r"max_age_s of policy a\.\* must be a number from 1"),
        ({"compact_by_key": 1}, r"compact_by_key of policy a\.\* must be true or false, got 1"),
        ({"max_size": 1}, r"policy a\.\* has no max_size: it has max_age, max_count"),
        ("7d", r"policy a\.\* must be a table, got 7d"),
    ],
)
def test_what_breaks_a_rule_is_refused_with_the_value_and_the_rule(values: Any, says: str) -> None:
    with pytest.raises(BusError, match=says):
        read_policies({"a.*": values})


def test_policies_are_read_with_units() -> None:
    values = {
        "max_age": "7d",
        "max_count": 10,
        "max_bytes": "2GiB",
        "compact_by_key": True,
        "hold_for_durable": "1MiB",
    }
    assert read_policies({"a.*": values, "b": {}}) == [
        Policy(
            pattern="a.*",
            max_age_s=604_800,
            max_count=10,
            max_bytes=2 * 1024**3,
            compact_by_key=True,
            hold_bytes=1024**2,
        ),
        Policy(pattern="b"),
    ]


def test_a_plan_by_example() -> None:
    policy = Policy(pattern="*", max_age_s=60, max_count=10, max_bytes=1000)
    assert plan(policy, Total(10, 1000), expired=0, head=50) == []
    assert plan(policy, Total(12, 1300), expired=7, head=50) == [
        Cut("age", 7, None, None, False),
        Cut("count", 50, 2, None, False),
        Cut("bytes", 50, None, 300, False),
    ]
    held = Policy(pattern="*", max_bytes=1000, hold_bytes=500)
    assert plan(held, Total(12, 1500), expired=0, head=50) == [Cut("bytes", 50, None, 500, True)]
    assert plan(held, Total(12, 1501), expired=0, head=50) == [Cut("bytes", 50, None, 1, False)]
    aged = Policy(pattern="*", max_age_s=60, hold_bytes=500)
    assert plan(aged, Total(12, 500), expired=9, head=50) == [Cut("age", 9, None, None, True)]
    assert plan(aged, Total(12, 520), expired=9, head=50) == [Cut("age", 9, None, 20, False)]
