"""Dead letters: a bounded ring, counters, a slow log."""

from __future__ import annotations

import logging

import pytest

from antiphon.actors import DeadLetter, DeadLetterReason
from antiphon.actors.deadletters import DeadLetters


class Time:
    now = 0.0


def box(keep: int = 1000) -> tuple[DeadLetters, Time, list[int]]:
    time = Time()
    told: list[int] = []
    return DeadLetters(lambda: time.now, lambda _, n: told.append(n), keep=keep), time, told


def letter(n: int, reason: DeadLetterReason = DeadLetterReason.OVERFLOW) -> DeadLetter:
    return DeadLetter(n, reason, "target", "sender")


def test_the_newest_are_kept_and_all_are_counted() -> None:
    letters, _, told = box(keep=3)
    for n in range(10):
        letters.add(letter(n))
    letters.add(letter(10, DeadLetterReason.NOPROC))
    assert [entry.message for entry in letters] == [8, 9, 10]
    assert letters.counts[DeadLetterReason.OVERFLOW] == 10
    assert len(letters) == 11
    assert told == [*range(1, 11), 1]


def test_the_log_has_one_line_a_minute_with_both_names(caplog: pytest.LogCaptureFixture) -> None:
    letters, time, _ = box()
    with caplog.at_level(logging.WARNING):
        for n in range(100):
            letters.add(letter(n))
        assert len(caplog.records) == 1
        assert "int for target from sender" in caplog.text
        time.now = 60.0
        letters.add(letter(100))
    assert len(caplog.records) == 2
    assert "99 more" in caplog.text
