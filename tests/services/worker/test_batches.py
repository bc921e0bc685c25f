"""Gathering keeps every line in order; Folding keeps the newest and counts the rest."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.services.worker.batches import BATCH_BYTES, Batch, Folding, Gathering
from antiphon.services.worker.lines import LONGEST_LINE

LINES = st.lists(st.binary(max_size=3) | st.just(b"x" * LONGEST_LINE), max_size=30)
STEPS = st.lists(st.tuples(st.floats(0, 0.3), LINES), max_size=20)


def gather_all(steps: list[tuple[float, list[bytes]]]) -> list[Batch]:
    gathering, now, batches = Gathering(), 0.0, []
    for pause, lines in steps:
        now += pause
        gathering.add(lines, now)
        while gathering.due(now) == 0:
            batches.append(gathering.take(now))
    while gathering.due(now) is not None:
        batches.append(gathering.take(now))
    return batches


@given(STEPS)
def test_gathering_keeps_every_line_once_in_order(steps: list[tuple[float, list[bytes]]]) -> None:
    """All lines come out, numbered without a hole."""
    expected = [line for _, lines in steps for line in lines]
    batches = gather_all(steps)

    assert [line for batch in batches for line in batch.lines] == expected
    at = 1
    for batch in batches:
        assert batch.from_line == at
        assert batch.lines
        at += len(batch.lines)


@given(STEPS)
def test_a_batch_is_at_most_32_kib(steps: list[tuple[float, list[bytes]]]) -> None:
    for batch in gather_all(steps):
        assert sum(map(len, batch.lines)) + len(batch.lines) <= BATCH_BYTES


def test_gathering_is_due_after_50_ms_or_at_32_kib() -> None:
    gathering = Gathering()
    assert gathering.due(0.0) is None
    gathering.add([b"a"], 10.0)
    gathering.add([b"b"], 10.04)
    assert gathering.due(10.0) == pytest.approx(0.05)
    assert gathering.due(10.06) == 0.0
    gathering.take(10.06)
    assert gathering.due(10.06) is None

    gathering.add([b"x" * 1023] * 32, 20.0)
    assert gathering.due(20.0) == 0.0


@given(STEPS)
def test_folding_counts_what_it_leaves_out(steps: list[tuple[float, list[bytes]]]) -> None:
    """Kept and skipped lines together are all lines; what is kept are the newest."""
    folding, now, at = Folding(), 0.0, 1
    every = [line for _, lines in steps for line in lines]
    taken: list[float] = []
    for pause, lines in steps:
        now += pause
        folding.add(lines, now)
        if folding.due(now) == 0:
            at = _check(folding.take(now), at, every)
            taken.append(now)
    if folding.due(now) is not None:
        at = _check(folding.take(now), at, every)

    assert at == len(every) + 1
    assert all(b - a >= 1.0 - 1e-9 for a, b in pairwise(taken))


def _check(batch: Batch, at: int, every: list[bytes]) -> int:
    assert 1 <= len(batch.lines) <= 20
    assert batch.from_line == at + batch.skipped_lines
    skipped = every[at - 1 : batch.from_line - 1]
    assert batch.skipped_bytes == sum(map(len, skipped)) + len(skipped)
    end = batch.from_line + len(batch.lines)
    assert batch.lines == every[batch.from_line - 1 : end - 1]
    return end


def test_the_largest_batch_fits_into_an_event() -> None:
    """Even 32 KiB of NUL bytes, six characters each in JSON, stay below 256 KiB."""
    folding = Folding()
    folding.add([b"\0" * LONGEST_LINE] * 50, 0.0)
    gathering = Gathering()
    gathering.add([b"\0" * 8191] * 8, 0.0)
    blank = Gathering()
    blank.add([b""] * BATCH_BYTES, 0.0)

    for batch in (folding.take(0.0), gathering.take(0.0), blank.take(0.0)):
        assert len(msgspec.json.encode(batch.payload("stdout"))) < 200 * 1024


def test_a_payload_names_its_stream_and_counts_only_what_was_skipped() -> None:
    assert Batch([b"a"], 3).payload("stderr") == {
        "stream": "stderr",
        "lines": ["a"],
        "from_line": 3,
    }
    folded = Batch([b"a"], 9, skipped_lines=5, skipped_bytes=50).payload("stdout")
    assert (folded["skipped_lines"], folded["skipped_bytes"]) == (5, 50)
