"""A log that takes rows whose seqs were given elsewhere: gaps are legal, order is not lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.bus.conftest import until

from antiphon.app import Core, core
from antiphon.bus import EventStore, Live
from antiphon.bus.batch import Slice
from antiphon.bus.settle import outside
from antiphon.bus.store import Row
from antiphon.testing.store_contract import START_US, event

SEQS = [3, 4, 10, 500, 501, 999, 2_000_000, 2_000_007]


def row(seq: int, topic: str = "a.b") -> Row:
    fields = {"id": f"i{seq}", "principal": "far", "time": "2026-11-23T10:00:00Z"}
    return event(seq, topic, seq, **fields)


def collect(running: Core, pattern: str, start: str | int) -> tuple[list[int], Any]:
    """A subscription that reads on by itself; the seqs it got."""
    got: list[int] = []

    def read() -> None:
        while (taken := subscription.take(limit=2)) is not None:
            if isinstance(taken, Slice):
                assert [e.seq for e in taken.events] == list(taken.seqs)
                got.extend(taken.seqs)
            else:
                assert isinstance(taken, Live)

    subscription = running.bus.open_subscription([pattern], start=start, on_ready=read)
    read()
    return got, subscription


async def test_live_readers_get_sparse_seqs_in_order(running: Core) -> None:
    got, subscription = collect(running, "a.*", "now")
    others, other = collect(running, "b.*", "now")
    assert await running.log.take([row(seq) for seq in SEQS[:4]], START_US) == 500
    assert await running.log.take([row(seq) for seq in SEQS[4:]], START_US) == SEQS[-1]
    await until(lambda: len(got) == len(SEQS))
    assert got == SEQS
    assert running.log.head == subscription.position == other.position == SEQS[-1]
    assert not others
    assert running.log.topics["a.b"].count == len(SEQS)


async def test_late_readers_get_them_from_the_ring_and_from_the_log(
    running: Core, new_store: Callable[[], EventStore]
) -> None:
    """From every position between the seqs too."""
    for at in range(0, len(SEQS), 3):
        await running.log.take([row(seq) for seq in SEQS[at : at + 3]], START_US)
    for _ in range(2):
        for start in (0, 2, 3, 7, 10, 499, 500, 1000, 1_999_999, 2_000_003):
            got, _ = collect(running, "*", start)
            expected = [seq for seq in SEQS if seq > start]
            await until(lambda got=got, expected=expected: len(got) >= len(expected))
            assert got == expected
        running.log.ring.restart(running.log.head)  # as if all had fallen out of it


async def test_after_a_restart_they_are_there_and_the_log_goes_on(
    new_store: Callable[[], EventStore],
) -> None:
    async with core(new_store()) as running:
        await running.log.take([row(seq) for seq in SEQS], START_US)
        cursor = running.bus.cursor(500)
    async with core(new_store()) as running:
        got, _ = collect(running, "*", cursor)
        await until(lambda: len(got) == 4)
        assert got == SEQS[4:]
        assert (await running.bus.publish_event("a.b")).seq == SEQS[-1] + 1


@pytest.mark.parametrize("seqs", [[], [5], [4, 4], [7, 6]])
async def test_rows_that_do_not_follow_the_head_are_refused_whole(
    running: Core, seqs: list[int]
) -> None:
    await running.log.take([row(5)], START_US)
    with pytest.raises(ValueError, match=r"no rows|does not come after"):
        await running.log.take([row(seq) for seq in seqs], START_US)
    assert running.log.head == 5
    assert await running.bus.get(7) is None


async def test_own_publishers_and_outside_rows_share_one_order(running: Core) -> None:
    got, _ = collect(running, "*", "now")
    first = await running.bus.publish_event("a.b", 1)
    assert first.seq == 1
    await running.log.take([row(10), row(20)], START_US)
    second = await running.bus.publish_event("a.b", 2)
    await until(lambda: len(got) == 4)
    assert (got, second.seq) == ([1, 10, 20, 21], 21)


def test_outside_counts_what_each_topic_gets() -> None:
    settled = outside([row(3), row(9, "c"), row(11)], 2)
    assert (settled.after, settled.upto) == (2, 11)
    assert settled.sizes["a.b"] == [2, len(row(3).data) + len(row(11).data), 3, 11]
    assert settled.sizes["c"][2:] == [9, 9]
