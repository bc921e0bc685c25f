"""Topics and patterns: the grammar by example, the relations against a naive model."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.bus.topics import (
    check_pattern,
    check_topic,
    covers,
    intersect,
    is_reserved,
    matcher,
    matches,
    to_nats,
)
from antiphon.errors import InvalidPattern, InvalidTopic

from . import topic_model as model

GOOD_TOPICS = [
    "a",
    "worker.build.progress",
    "A-b_9.c",
    "_sys.store",
    "a._b",
    "-",
    ".".join("a" * 16),
    "x" * 64,
    ".".join(["x" * 49] * 4) + "y",
]
BAD_TOPICS = {
    "": "empty token",
    ".": "empty token",
    "a.": "empty token",
    ".a": "empty token",
    "a..b": "empty token",
    "a b": "only A-Z",
    "a\n": "only A-Z",
    "é": "only A-Z",
    "a.*": "only A-Z",
    "+": "only A-Z",
    "a/b": "only A-Z",
    "\ud800": "only A-Z",
    "x" * 65: "64 at most",
    ".".join("a" * 17): "16 at most",
    ".".join(["x" * 50] * 4): "over 200 bytes",
}


@pytest.mark.parametrize("topic", GOOD_TOPICS)
def test_a_topic_is_up_to_16_short_ascii_tokens(topic: str) -> None:
    assert check_topic(topic) == topic
    assert check_pattern(topic) == topic


@pytest.mark.parametrize(("topic", "why"), BAD_TOPICS.items(), ids=map(ascii, BAD_TOPICS))
def test_anything_else_is_refused_with_the_value_and_the_rule(topic: str, why: str) -> None:
    with pytest.raises(InvalidTopic, match=why) as caught:
        check_topic(topic)
    assert caught.value.code == "invalid_topic"
    assert caught.value.value is not None
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("value", [None, 1, b"a", ["a"], {}])
def test_what_is_no_string_is_refused(value: object) -> None:
    with pytest.raises(InvalidTopic):
        check_topic(value)  # type: ignore[arg-type]
    with pytest.raises(InvalidPattern):
        check_pattern(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "pattern", ["*", "+", "a.*", "*.a", "a.*.b", "a.+", "*.*", "_sys.*", "+.*"]
)
def test_star_and_plus_are_wildcards_as_whole_tokens(pattern: str) -> None:
    assert check_pattern(pattern) == pattern


@pytest.mark.parametrize(
    "pattern",
    [
        *("**", "a.**", ">", "a.>", "#", "a.#", "wor*er", "a.b+", "", "a.", "a b", "é.*"),
        "*" * 201,
        ".".join("*" * 17),
    ],
)
def test_other_wildcards_are_refused(pattern: str) -> None:
    with pytest.raises(InvalidPattern) as caught:
        check_pattern(pattern)
    assert caught.value.code == "invalid_pattern"


@pytest.mark.parametrize(
    ("pattern", "topic", "expected"),
    [
        ("*", "worker", True),
        ("*", "worker.a.b", True),
        ("*", "_sys.store", False),
        ("worker.*", "worker.task", True),
        ("worker.*", "worker.task.done", True),
        ("worker.*", "worker", False),
        ("worker.*", "workers.a", False),
        ("worker.*", "worker._x", True),
        ("worker.*.done", "worker.task.done", True),
        ("worker.*.done", "worker.a.b.done", False),
        ("worker.+", "worker.task", True),
        ("worker.+", "worker.task.done", False),
        ("+", "worker", True),
        ("+", "_sys", False),
        ("+.typing", "chat.typing", True),
        ("*.typing", "chat.typing", True),
        ("*.typing", "chat.a.typing", False),
        ("*.typing", "_chat.typing", False),
        ("*.*", "worker", False),
        ("_sys.*", "_sys.store", True),
        ("Worker.*", "worker.a", False),
        ("a-b", "a-b", True),
    ],
)
def test_matching_by_example(pattern: str, topic: str, expected: bool) -> None:
    assert matches(pattern, topic) is expected
    assert model.matches(pattern, topic) is expected


@given(model.patterns, model.topics)
def test_matches_agrees_with_the_model(pattern: str, topic: str) -> None:
    assert matches(pattern, topic) is model.matches(pattern, topic)


@settings(max_examples=400)
@given(model.patterns, model.patterns)
def test_covers_agrees_with_the_model(p: str, q: str) -> None:
    """The world is one token deeper than the patterns, so a tail can be told from one token.

    It has three words, so no set of literals stands for a wildcard.
    """
    assert covers(p, q) is (model.extent(q) <= model.extent(p))


@settings(max_examples=400)
@given(model.patterns, model.patterns)
def test_intersect_agrees_with_the_model(p: str, q: str) -> None:
    met = intersect(p, q)
    assert all(check_pattern(pattern) for pattern in met)
    found = frozenset[str]().union(*(model.extent(pattern) for pattern in met))
    assert found == model.extent(p) & model.extent(q)


@given(model.patterns, model.patterns)
def test_intersect_is_symmetric_and_covered_by_both(p: str, q: str) -> None:
    for pattern in intersect(p, q):
        assert covers(p, pattern)
        assert covers(q, pattern)
    assert bool(intersect(p, q)) is bool(intersect(q, p))


def test_a_tail_after_15_tokens_takes_exactly_one() -> None:
    """A topic has 16 tokens at most, so both spellings are the same pattern."""
    prefix = ".".join("a" * 15)
    assert covers(prefix + ".+", prefix + ".*")
    assert covers(prefix + ".*", prefix + ".+")
    assert matches(prefix + ".*", prefix + ".a")


def test_an_intersection_too_long_for_any_topic_is_empty() -> None:
    long = ".".join(["x" * 60] * 2)
    assert intersect(f"{long}.+.+", f"+.+.{long}") == []


def test_covers_holds_without_a_limit_of_depth() -> None:
    assert covers("*", ".".join("a" * 16))
    assert not covers("a.+", "a.*")
    assert covers("a.*", "a.+")


@pytest.mark.parametrize("text", ["_sys.a", "_x"])
def test_a_first_token_with_an_underscore_is_reserved(text: str) -> None:
    assert is_reserved(text)
    assert not is_reserved("a." + text)


@pytest.mark.parametrize(
    ("pattern", "subject"),
    [
        ("*", ">"),
        ("worker.*", "worker.>"),
        ("worker.*.done", "worker.*.done"),
        ("worker.+", "worker.*"),
        ("+.a.*", "*.a.>"),
        ("a.b", "a.b"),
    ],
)
def test_patterns_translate_to_nats(pattern: str, subject: str) -> None:
    assert to_nats(pattern) == subject


@given(st.text(max_size=30))
def test_no_text_breaks_the_checks(text: str) -> None:
    """Any text is either accepted as it is, or refused with an error of ours."""
    for check, refusal in ((check_topic, InvalidTopic), (check_pattern, InvalidPattern)):
        try:
            assert check(text) == text
        except refusal as error:
            assert str(error).isascii() or "…" in str(error)  # noqa: PT017


def test_for_many_topics_the_answers_are_the_same() -> None:
    patterns = ["a.*", "b.+.c", "+", "_sys.*", "a.b", "d.+", "*"]
    topics = ["a.b", "a", "b.x.c", "b.x.y.c", "_sys.stats", "_sys", "d.e", "d.e.f", "aXb", "a.b.c"]
    for size in (0, 1, 2, len(patterns)):
        some = patterns[:size]
        one_of = matcher(some)
        for topic in topics:
            assert bool(one_of(topic)) == any(matches(pattern, topic) for pattern in some)
