"""One reader's place, where it could slip."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import msgspec
import pytest

from antiphon.app import Core
from antiphon.bus import Gap, batch, forget, pages
from antiphon.bus.batch import Cut, Slice
from antiphon.bus.store import Row, TopicState
from antiphon.bus.subscription import Subscription

from .conftest import until


async def test_a_reader_amid_a_batch_misses_nothing_that_was_committed_unannounced(
    running: Core,
) -> None:
    """As after a crash of the store's owner between COMMIT and the announcement."""
    bus, log = running.bus, running.log
    subscription = bus.open_subscription(["a"], on_ready=lambda: None)
    parked = bus.open_subscription(["b"], on_ready=lambda: None)
    for reader in (subscription, parked):
        while reader.take() is not None:
            pass
    first = await bus.publish_event("a", 1)
    assert subscription.peek() is not None  # in hand, not yet read

    stored = await bus.get(first.seq or 0)
    assert stored is not None
    event = {**msgspec.json.decode(stored), "id": "unannounced", "payload": 2}
    for seq, topic in ((2, "a"), (3, "b")):
        data = msgspec.json.encode({**event, "seq": seq, "topic": topic})
        log.store.append([Row(seq, topic, None, data)], 1)
        log.topics.setdefault(topic, TopicState()).last_seq = seq
    log.writer.head = 3

    assert (await bus.publish_event("a", 3)).seq == 4
    seen: list[object] = []

    def read() -> bool:
        taken = subscription.take()
        if isinstance(taken, Slice):
            seen.extend(event.payload for event in taken.events)
        return len(seen) >= 3

    await until(read)
    assert seen == [1, 2, 3]
    assert [event.seq for one in await _read(parked, 1) for event in one.events] == [3]
    subscription.close()
    parked.close()


async def _publish(running: Core, *events: tuple[str, Any]) -> None:
    for future in [running.bus.publish_event(topic, payload) for topic, payload in events]:
        await future


def _open(running: Core, *patterns: str) -> Subscription:
    return running.bus.open_subscription(patterns, start="earliest", on_ready=lambda: None)


async def _read(subscription: Subscription, count: int) -> list[Slice]:
    """The slices that hold the next *count* events."""
    slices: list[Slice] = []

    def enough() -> bool:
        taken = subscription.take()
        if isinstance(taken, Slice):
            slices.append(taken)
        return sum(map(len, slices)) >= count

    await until(enough)
    return slices


async def test_a_slice_has_256_events_or_1_mib_at_most(running: Core) -> None:
    subscription = _open(running, "*")
    await _publish(running, *[("small", n) for n in range(600)])
    await _publish(running, *[("large", "x" * 200_000) for _ in range(12)])
    slices = await _read(subscription, 612)
    assert [event.seq for one in slices for event in one.events] == list(range(1, 613))
    assert max(map(len, slices)) == 256
    assert max(sum(map(len, one.data)) for one in slices) <= 1024 * 1024


async def test_what_a_reader_may_see_is_decided_once_for_each_topic(
    running: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never for each event."""
    asked: list[tuple[str, str]] = []
    matches = batch.matches

    def note(pattern: str, topic: str) -> bool:
        asked.append((pattern, topic))
        return matches(pattern, topic)

    monkeypatch.setattr(batch, "matches", note)
    subscriptions = [_open(running, "a.*", "c") for _ in range(5)]
    await _publish(running, *[(topic, n) for n in range(200) for topic in ("a.x", "b", "c")])
    for subscription in subscriptions:
        assert sum(map(len, await _read(subscription, 400))) == 400
    assert len(asked) == len(set(asked))


async def test_a_page_of_the_log_is_read_once_for_all_who_wait_for_it(
    running: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGES", 4)
    await _publish(running, *[("a", n) for n in range(5000)])
    running.log.ring.restart(running.log.head)  # as if all had fallen out of it
    subscriptions = [_open(running, "*") for _ in range(20)]
    read = [0] * 20

    def all_read() -> bool:
        for n, subscription in enumerate(subscriptions):
            taken = subscription.take()
            if isinstance(taken, Slice):
                assert taken.seqs[0] == read[n] + 1
                read[n] = taken.seqs[-1]
        return min(read) == 5000

    await until(all_read)
    assert running.log.pages.reads == 10
    assert len(running.log.pages._kept) == 4


async def test_pages_of_large_events_are_bounded_in_bytes_and_miss_nothing(
    running: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page is cut short, shared all the same, and continued right after its last event."""
    monkeypatch.setattr(pages, "PAGE_BYTES", 20_000)
    monkeypatch.setattr(pages, "PAGES_BYTES", 100_000)
    await _publish(running, *[("a", "x" * (2000 if n % 50 else 50_000)) for n in range(1, 701)])
    log = running.log
    log.ring.restart(log.head)  # as if all had fallen out of it
    starts = [0, 0, 3, 333, 333, 650]
    subscriptions = [running.bus.open_subscription(["*"], start=n, on_ready=bool) for n in starts]
    read = list(starts)
    largest = 0

    def all_read() -> bool:
        nonlocal largest
        for n, subscription in enumerate(subscriptions):
            taken = subscription.take()
            if isinstance(taken, Slice):
                assert list(taken.seqs) == list(range(read[n] + 1, taken.seqs[-1] + 1))
                read[n] = taken.seqs[-1]
                largest = max(largest, taken.view.batch.size_bytes)
        assert log.pages.size_bytes <= 100_000
        return min(read) == 700

    await until(all_read)
    assert 20_000 <= largest <= 75_000
    assert log.pages.reads < 250


async def test_a_reader_of_few_topics_takes_fewer_events_at_once_if_they_are_large(
    running: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGE_BYTES", 20_000)
    monkeypatch.setattr(pages, "NARROW_DISTANCE", 100)
    await _publish(running, *[("few" if n % 30 == 0 else "a", "x" * 2000) for n in range(1800)])
    running.log.ring.restart(running.log.head)
    slices = await _read(_open(running, "few"), 60)
    assert [seq for one in slices for seq in one.seqs] == list(range(1, 1801, 30))
    assert max(len(one.view) for one in slices) == 8  # of 2,229 bytes


async def _live(running: Core, *patterns: str) -> Subscription:
    subscription = running.bus.open_subscription(patterns, on_ready=lambda: None)
    await until(lambda: subscription.take() is None and subscription.live)
    return subscription


async def test_an_event_that_comes_while_an_ephemeral_one_is_in_hand_is_not_lost(
    running: Core,
) -> None:
    subscription = await _live(running, "*")
    await _publish(running, ("a.typing", 1))
    handed = subscription.peek()
    assert isinstance(handed, Slice)
    assert handed.ephemeral
    await _publish(running, ("a.b", 2))
    again = subscription.peek()
    assert isinstance(again, Slice)
    assert again.ephemeral  # still the one in hand
    subscription.advance(1)
    assert [event.payload for one in await _read(subscription, 1) for event in one.events] == [2]
    assert subscription.take() is None
    subscription.close()


async def test_a_reader_is_not_told_that_nothing_is_left_while_an_ephemeral_event_waits(
    running: Core,
) -> None:
    subscription = await _live(running, "*")
    await _publish(running, ("a.typing", 1), ("a.b", 2))
    assert isinstance(subscription.peek(), Slice)
    assert subscription.advance(1)
    assert [event.payload for one in await _read(subscription, 1) for event in one.events] == [1]
    assert subscription.take() is None
    subscription.close()


async def test_a_gap_ends_where_the_events_begin_though_more_was_trimmed_while_they_were_read(
    running: Core,
) -> None:
    """It is told once, with the page that follows it."""
    log = running.log
    await _publish(running, *[("a", n) for n in range(100)])
    log.ring.restart(log.head)
    await log.trim("a", 10)
    busy = threading.Event()
    try:
        for _ in range(pages.READS):
            log.pages._pool.submit(busy.wait, 20)
        subscription = running.bus.open_subscription(
            ["a"], start=running.bus.cursor(0), on_ready=lambda: None
        )
        assert subscription.take() is None  # its page is asked for, and waits
        await log.trim("a", 50)
    finally:
        busy.set()
    told: list[Any] = []

    def caught_up() -> bool:
        told.append(subscription.take())
        return any(isinstance(one, Slice) for one in told)

    await until(caught_up)
    gap, first = (one for one in told if one is not None)
    assert (gap.first, gap.last, first.seqs[0]) == (1, 50, 51)
    subscription.close()


async def test_a_position_passes_no_gap_that_was_not_told(running: Core) -> None:
    """Else a cursor taken just then would skip it in silence."""
    ready = asyncio.Event()
    await _publish(running, *[("a", n) for n in range(5)], *[("b", n) for n in range(5)])
    running.log.ring.restart(running.log.head)
    await running.log.trim("a", 5)
    subscription = running.bus.open_subscription(
        ["a"], start=running.bus.cursor(0), on_ready=ready.set
    )
    assert subscription.take() is None
    await asyncio.wait_for(ready.wait(), 10)
    assert subscription.position == 0
    gap = subscription.take()
    assert isinstance(gap, Gap)
    assert (gap.first, gap.last) == (1, 5)
    subscription.close()


async def _cuts(subscription: Subscription, count: int, **most: int) -> list[Cut]:
    """The cuts that hold the next *count* events."""
    cuts: list[Cut] = []

    def enough() -> bool:
        taken = subscription.take_cut(**most)
        if isinstance(taken, Cut):
            cuts.append(taken)
        return sum(len(cut.seqs) for cut in cuts) >= count

    await until(enough)
    return cuts


async def test_those_who_read_side_by_side_take_the_same_bytes(running: Core) -> None:
    """Put together once for all of an audience, however many batches are in them."""
    readers = [running.bus.open_subscription(["a"], on_ready=lambda: None) for _ in range(3)]
    other = running.bus.open_subscription(["*"], on_ready=lambda: None)
    for reader in (*readers, other):
        while reader.take_cut() is not None:
            pass
    for n in range(5):
        await running.bus.publish_event("a", n)
        await running.bus.publish_event("b", n)
    first, *others = [(await _cuts(reader, 5))[0] for reader in readers]
    assert all(cut.data is first.data for cut in others)
    assert [event["payload"] for event in msgspec.json.decode(b"[" + first.data + b"]")] == [
        *range(5)
    ]
    assert len((await _cuts(other, 10))[0].seqs) == 10
    head = running.log.head
    assert {reader.position for reader in (*readers, other)} == {head}
    seq = (await running.bus.publish_event("a", "next")).seq
    for reader in readers:
        assert [cut.seqs for cut in await _cuts(reader, 1)] == [[seq]]


async def test_a_cut_is_remembered_only_while_another_could_take_it(running: Core) -> None:
    alone, first, second = [await _live(running, name) for name in ("a", "*", "*")]
    await _publish(running, ("a", 1))
    for reader in (alone, first):
        assert [cut.seqs for cut in await _cuts(reader, 1)] == [[1]]
    assert [len(reader.audience.cuts) for reader in (alone, first)] == [0, 1]
    second.close()
    assert not first.audience.cuts


async def test_a_cut_has_no_more_events_and_bytes_than_asked_for(running: Core) -> None:
    subscription = _open(running, "*")
    await _publish(running, *[("small", n) for n in range(100)])
    await _publish(running, *[("large", "x" * 20_000) for _ in range(12)])
    cuts = await _cuts(subscription, 112, limit=64, max_bytes=65_536)
    assert [seq for cut in cuts for seq in cut.seqs] == list(range(1, 113))
    assert max(len(cut.seqs) for cut in cuts) == 64
    assert max(len(cut.data) for cut in cuts) <= 65_536 + 21_000


async def test_what_was_forgotten_is_in_no_cut_that_others_remember(running: Core) -> None:
    """One has taken the cut, the other takes it only after its second batch was forgotten."""
    readers = [running.bus.open_subscription(["*"], on_ready=lambda: None) for _ in range(2)]
    for reader in readers:
        while reader.take_cut() is not None:
            pass
    await running.bus.publish_event("a", 1)
    await running.bus.publish_event("secret", 2)
    assert [cut.seqs for cut in await _cuts(readers[0], 2)] == [[1, 2]]
    await forget(running.bus, pattern="secret")
    (cut,) = await _cuts(readers[1], 1)
    assert cut.seqs == [1]


async def test_a_cut_that_is_old_leaves_its_reader_where_it_ends(running: Core) -> None:
    """More was published between the one who took it first and the one who follows."""
    readers = [running.bus.open_subscription(["*"], on_ready=lambda: None) for _ in range(2)]
    for reader in readers:
        while reader.take_cut() is not None:
            pass
    await running.bus.publish_event("a", 1)
    assert [cut.seqs for cut in await _cuts(readers[0], 1)] == [[1]]
    await running.bus.publish_event("a", 2)
    for reader, seqs in zip(readers, ([2], [1, 2]), strict=True):
        found = await _cuts(reader, len(seqs))
        assert [seq for cut in found for seq in cut.seqs] == seqs
