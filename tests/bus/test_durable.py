"""One durable subscription on each store: restarts, retries, leases, groups, gaps."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from tests.bus.conftest import until
from tests.bus.durable_kit import advance, by_hand, letters, payloads, publish, take

from antiphon.app import Core, core
from antiphon.bus import BUS, STORE, Access, EventStore, Gap, Holder, Principal, forget
from antiphon.bus.store import Row, StoreUnavailable
from antiphon.errors import (
    BadRequest,
    DurableStopped,
    LeaseHeld,
    LeaseLost,
    SubscriptionGap,
    SubscriptionReset,
)
from antiphon.stores import MemoryEventStore


async def test_after_a_restart_exactly_the_unacknowledged_come_again(
    new_store: Callable[[], EventStore],
) -> None:
    async with core(new_store()) as running:
        holder = await running.bus.durable("work", "a.*", start="earliest")
        await publish(running, "a.b", *range(5))
        await publish(running, "other.x", "not wanted")
        await publish(running, "a.c", *range(5, 10))
        events = await take(holder, 10)
        assert [event.payload for event in events] == list(range(10))
        assert holder.ack(events[3].seq or 0) == 4
        assert holder.nack(events[8].seq or 0, delay=0)
    async with core(new_store()) as running:
        await publish(running, "a.b", 10)
        holder = await running.bus.durable("work")
        assert sorted(await payloads(holder, 7)) == [4, 5, 6, 7, 8, 9, 10]
        [info] = running.bus.durables()
        assert (info.position, info.in_hand, info.waiting) == (4, 7, 0)
        await holder.release()


async def test_ephemeral_events_are_not_for_durables_and_not_missed_by_them(
    running: Core,
) -> None:
    holder = await running.bus.durable("work", "a.*", window=1)
    await publish(running, "a.b", 1, 2)
    assert await payloads(holder, 1) == [1]
    await publish(running, "a.b", 3)
    await publish(running, "a.typing", *range(300))
    assert running.log.missed == 0
    await holder.release()


async def test_what_was_not_saved_before_a_kill_comes_again_and_nothing_is_left_out(
    new_store: Callable[[], EventStore],
) -> None:
    """The last save was before the acknowledgements, as if the process had been killed."""
    async with core(new_store()) as running:
        by_hand(running)
        holder = await running.bus.durable("work", "a.*", start="earliest")
        await publish(running, "a.b", *range(5))
        events = await take(holder, 5)
        holder.ack(events[-1].seq or 0)
        running.log.durables._closed = True  # nothing is saved any more
    async with core(new_store()) as running:
        holder = await running.bus.durable("work")
        assert await payloads(holder, 5) == list(range(5))
        await holder.release()


async def test_acknowledgements_are_saved_within_moments(
    new_store: Callable[[], EventStore],
) -> None:
    async with core(new_store()) as running:
        clock = by_hand(running)
        holder = await running.bus.durable("work", "a.*", start="earliest")
        await publish(running, "a.b", *range(5))
        events = await take(holder, 5)
        holder.ack(events[3].seq or 0)
        saves = running.log.durables.counters["saves"]
        advance(clock, 0.1)
        await until(lambda: running.log.durables.counters["saves"] == saves + 1)
        running.log.durables._closed = True
    async with core(new_store()) as running:
        holder = await running.bus.durable("work")
        assert await payloads(holder, 1) == [4]
        await holder.release()


async def test_the_death_of_either_owner_loses_nothing_and_ends_no_lease(running: Core) -> None:
    holder = await running.bus.durable("work", "a.*")
    seen: list[Any] = []

    async def work() -> None:
        async for event in holder:
            seen.append(event.payload)
            holder.ack(event.seq or 0)

    task = asyncio.ensure_future(work())
    for n in range(300):
        await publish(running, "a.b", n)
        if n in (100, 200):
            running.system.ref(BUS).kill()
            running.system.ref(STORE).kill()
    await until(lambda: len(seen) == 300)
    assert seen == list(range(300))
    await holder.release()
    await task


async def test_a_holder_waits_for_what_comes_and_for_room_in_its_window(running: Core) -> None:
    holder = await running.bus.durable("work", "a.*", window=2)
    waiting = asyncio.ensure_future(take(holder, 3))
    await publish(running, "a.b", 1, 2, 3)
    await until(lambda: running.bus.durables()[0].in_hand == 2)
    assert not waiting.done()
    holder.ack(1)
    assert [event.payload for event in await waiting] == [1, 2, 3]
    await holder.release()


async def test_the_reason_of_a_failure_keeps_no_token(
    running: Core, caplog: pytest.LogCaptureFixture
) -> None:
    token = f"anti_{'x' * 43}"
    holder = await running.bus.durable("work", "a.*", tries=1)
    await publish(running, "a.b", 1)
    await take(holder, 1)
    holder.nack(1, reason=f"refused with {token}")
    await until(lambda: running.bus.durables()[0].parked == 1)
    [letter] = await letters(running, "work")
    assert letter["reason"] == "refused with anti_…"
    assert "refused with anti_" in caplog.text
    assert token not in caplog.text
    await holder.release()


async def test_a_failed_event_comes_again_after_a_while_and_is_parked_after_five_tries(
    running: Core,
) -> None:
    clock = by_hand(running)
    holder = await running.bus.durable("work", "a.*")
    await publish(running, "a.b", "bad", "good")
    await publish(running, "a.c", "other")
    for tries in range(1, 6):
        [event] = await take(holder, 1)
        assert event.payload == "bad"
        holder.nack(event.seq or 0, reason=f"try {tries}")
        if tries == 1:
            assert await payloads(holder, 1) == ["other"]  # another lane goes on
        advance(clock, 2.0 ** (tries - 1) - 0.01)
        assert running.bus.durables()[0].in_hand == 1
        advance(clock, 0.02)
    assert await payloads(holder, 1) == ["good"]
    await until(lambda: running.bus.durables()[0].parked == 1)
    [letter] = await letters(running, "work")
    assert letter["event"]["payload"] == "bad"
    assert (letter["durable"], letter["tries"], letter["reason"]) == ("work", 5, "try 5")
    assert holder.ack(2) == 2
    assert running.bus.durables()[0].position >= 3
    await holder.release()


async def test_an_event_is_parked_once_even_if_that_was_not_saved(
    new_store: Callable[[], EventStore],
) -> None:
    """The second parking, after a kill, is a duplicate of the first."""
    async with core(new_store()) as running:
        by_hand(running)
        holder = await running.bus.durable("work", "a.*", tries=1)
        await publish(running, "a.b", "bad")
        [event] = await take(holder, 1)
        holder.nack(event.seq or 0, reason="first")
        await until(lambda: running.bus.durables()[0].parked == 1)
        running.log.durables._closed = True
    async with core(new_store()) as running:
        holder = await running.bus.durable("work")
        [event] = await take(holder, 1)
        holder.nack(event.seq or 0, reason="second")
        await until(lambda: running.bus.durables()[0].position >= 1)
        assert [letter["reason"] for letter in await letters(running, "work")] == ["first"]
        await holder.release()


async def test_a_dead_letter_that_fails_is_not_parked_again(running: Core) -> None:
    holder = await running.bus.durable("sys", "_sys.*", tries=1)
    failing = await running.bus.durable("work", "a.*", tries=1)
    await publish(running, "a.b", "bad")
    [event] = await take(failing, 1)
    failing.nack(event.seq or 0)
    [letter] = await take(holder, 1)
    assert letter.topic == "_sys.dlq.work"
    holder.nack(letter.seq or 0)
    await until(lambda: running.log.durables._held["sys"].position == letter.seq)
    assert running.bus.head == letter.seq
    await holder.release()
    await failing.release()


async def test_a_subscription_that_stops_says_so_until_it_is_resumed(
    new_store: Callable[[], EventStore],
) -> None:
    async with core(new_store()) as running:
        holder = await running.bus.durable("work", "a.*", tries=1, on_exhausted="stop")
        await publish(running, "a.b", "bad", "next")
        [event] = await take(holder, 1)
        holder.nack(event.seq or 0, reason="no")
        with pytest.raises(DurableStopped, match="stands still at seq 1"):
            await anext(holder)
    async with core(new_store()) as running:
        with pytest.raises(DurableStopped):
            await running.bus.durable("work")
        [info] = running.bus.durables()
        assert (info.state, info.reason, info.position) == ("stopped", "no", 0)
        assert await running.bus.resume_durable("work")
        assert not await running.bus.resume_durable("work")
        holder = await running.bus.durable("work")
        [event] = await take(holder, 1)
        assert event.payload == "bad"
        holder.nack(event.seq or 0)
        with pytest.raises(DurableStopped):
            holder.ack(1)
        await running.bus.resume_durable("work", skip=True)
        holder = await running.bus.durable("work")
        assert await payloads(holder, 1) == ["next"]
        assert await letters(running, "work") == []
        await holder.release()


async def test_one_holder_at_a_time_and_tokens_grow(new_store: Callable[[], EventStore]) -> None:
    async with core(new_store()) as running:
        first = await running.bus.durable("work", "a.*")
        with pytest.raises(LeaseHeld, match="work is held by"):
            await running.bus.durable("work", "a.*")
        await first.release()
        second = await running.bus.durable("work", "a.*")
        assert second.token > first.token
        with pytest.raises(LeaseLost):
            first.ack(1)
        running.log.durables._closed = True  # as if killed: only what was saved is there
    async with core(new_store()) as running:
        third = await running.bus.durable("work", "a.*")
        assert third.token > second.token
        await third.release()


async def test_a_silent_holder_loses_its_lease_to_the_next(running: Core) -> None:
    clock = by_hand(running)
    slow = await running.bus.durable("work", "a.*", lease=5.0)
    await publish(running, "a.b", 1, 2)
    events = await take(slow, 2)
    advance(clock, 4.0)
    slow.renew()
    advance(clock, 4.0)
    with pytest.raises(LeaseHeld):
        await running.bus.durable("work")
    advance(clock, 1.0)
    holder = await running.bus.durable("work")
    with pytest.raises(LeaseLost, match="ran out"):
        slow.ack(events[1].seq or 0)
    with pytest.raises(LeaseLost):
        await anext(slow)
    advance(clock, 1.0)  # the first one counts as failed
    assert await payloads(holder, 2) == [1, 2]
    await holder.release()


async def test_a_holder_that_waits_for_events_keeps_its_lease(running: Core) -> None:
    clock = by_hand(running)
    holder = await running.bus.durable("work", "a.*", lease=5.0)
    waiting = asyncio.ensure_future(take(holder, 1))
    for _ in range(10):
        await until(lambda: holder.lease.is_idle)
        advance(clock, 4.0)
    await publish(running, "a.b", 1)
    assert [event.payload for event in await waiting] == [1]
    await holder.release()


async def test_a_holder_that_was_forgotten_while_it_waited_loses_its_lease(running: Core) -> None:
    clock = by_hand(running)
    holder = await running.bus.durable("work", "a.*", lease=5.0)
    waiting = asyncio.ensure_future(take(holder, 1))
    await until(lambda: holder.lease.is_idle)
    waiting.cancel()
    advance(clock, 11.0)
    await (await running.bus.durable("work")).release()


async def test_an_error_out_of_the_block_counts_for_the_oldest_in_hand(running: Core) -> None:
    clock = by_hand(running)
    await publish(running, "a.b", "bad", "good")

    async def fail() -> None:
        async with await running.bus.durable("work", "a.*", start="earliest", tries=2) as holder:
            [event] = await take(holder, 1)
            raise ValueError(event.payload)

    with pytest.raises(ValueError, match="bad"):
        await fail()
    async with await running.bus.durable("work") as holder:
        advance(clock, 1.0)
        [event] = await take(holder, 1)
        holder.nack(event.seq or 0, reason="again")
        assert await payloads(holder, 1) == ["good"]
        await until(lambda: running.bus.durables()[0].parked == 1)


async def test_a_late_ack_is_refused_an_early_one_is_none(running: Core) -> None:
    async with await running.bus.durable("work", "a.*") as holder:
        await publish(running, "a.b", 1, 2, 3)
        await take(holder, 2)
        with pytest.raises(BadRequest, match="seq 3 was never handed"):
            holder.ack(3)
        with pytest.raises(BadRequest, match="seq 3 was never handed"):
            holder.nack(3)
        for wrong in ("1", 1.0, True, None):
            with pytest.raises(BadRequest, match="a seq is an integer"):
                holder.ack(wrong)  # type: ignore[arg-type]
        with pytest.raises(BadRequest, match="delay"):
            holder.nack(1, delay=-1.0)
        assert holder.ack(1) == 1
        assert holder.ack(1) == 0
        assert holder.nack(1) is False
        assert running.bus.durables()[0].position == 1


async def test_a_start_may_be_any_that_a_subscription_takes(running: Core) -> None:
    await publish(running, "a.b", 1, 2)
    await publish(running, "a.c", 3)
    await publish(running, "x.y", 4)
    starts: dict[Any, list[int]] = {
        "now": [5], "earliest": [1, 2, 3, 5], "last": [2, 3, 5], 1: [2, 3, 5],
        running.bus.cursor(2): [3, 5],
    }  # fmt: skip
    holders = [
        await running.bus.durable(f"n{n}", "a.*", start=start) for n, start in enumerate(starts)
    ]
    await publish(running, "a.b", 5)
    for holder, wanted in zip(holders, starts.values(), strict=True):
        assert await payloads(holder, len(wanted)) == wanted
        await holder.release()
    with pytest.raises(BadRequest, match="start"):
        await running.bus.durable("bad", "a.*", start="yesterday")
    with pytest.raises(SubscriptionReset):
        await running.bus.durable("bad", "a.*", start="ffffffffffff.2")
    assert len(running.bus.durables()) == len(starts)


# --- gaps -----------------------------------------------------------------------------------


async def test_a_gap_is_told_exactly_once_and_reading_goes_on(
    new_store: Callable[[], EventStore],
) -> None:
    async with core(new_store()) as running:
        await publish(running, "a.b", *range(10))
        await publish(running, "other.x", "x")
        holder = await running.bus.durable("work", "a.*", start="earliest")
        await take(holder, 4)
        holder.ack(2)  # 1 and 2 are settled, 3 and 4 in hand, 5 to 10 unread or waiting
        await holder.release()
    async with core(new_store()) as running:
        await running.log.trim("other.x", 11)
        await running.log.trim("a.b", 7)
        holder = await running.bus.durable("work")
        told = []
        got = []
        while len(got) < 3:
            try:
                got += await payloads(holder, 1)
            except SubscriptionGap as gap:
                told.append((gap.first, gap.last))
        assert (told, got) == ([(3, 7)], [7, 8, 9])
        assert running.bus.durables()[0].lost > 0
        holder.ack(8)
        await holder.release()
    async with core(new_store()) as running:
        holder = await running.bus.durable("work")
        assert await payloads(holder, 2) == [8, 9]  # and no word of the gap
        holder.ack(10)
        await holder.release()


async def test_a_gap_that_was_told_is_not_told_again_though_nothing_was_read_since(
    new_store: Callable[[], EventStore],
) -> None:
    async with core(new_store()) as running:
        await (await running.bus.durable("work", "a.*")).release()
        await publish(running, "a.b", *range(10))
        await running.log.trim("a.b", 7)
    for gaps in ([(1, 7)], []):
        async with core(new_store()) as running:
            holder = await running.bus.durable("work")
            told = []
            while True:
                taken = holder.lease.take()
                if isinstance(taken, Gap):
                    told.append((taken.first, taken.last))
                    break
                if taken is not None:
                    break
                await asyncio.sleep(0)
            await holder.release()
            assert told == gaps
            if told:
                assert running.bus.durables()[0].lag == 3  # nothing was settled


async def test_a_later_trim_of_another_topic_is_a_gap_of_its_own(running: Core) -> None:
    """Though it ends before the gap that was told."""
    await (await running.bus.durable("work", "a.*")).release()
    await publish(running, "a.x", *range(5))
    await publish(running, "a.y", *range(5))
    told = []
    for topic, upto in (("a.y", 9), ("a.x", 3)):
        await running.log.trim(topic, upto)
        running.log.ring.restart(running.log.head)  # as after a restart: it is read from disk
        holder = await running.bus.durable("work")
        with pytest.raises(SubscriptionGap) as gap:
            await take(holder, 1)
        told.append((gap.value.first, gap.value.last))
        await holder.release()
    assert told == [(1, 9), (1, 3)]


async def test_events_that_were_settled_before_they_were_trimmed_are_no_gap(
    new_store: Callable[[], EventStore],
) -> None:
    """Though the position, the lowest unsettled seq, lies before them."""
    async with core(new_store()) as running:
        await publish(running, "a.x", "slow")
        await publish(running, "a.y", *range(5))
        holder = await running.bus.durable("work", "a.*", start="earliest")
        await take(holder, 6)
        holder.nack(1, delay=0)
        holder.ack(6)
        assert running.bus.durables()[0].position == 0
    async with core(new_store()) as running:
        await running.log.trim("a.y", 6)
        holder = await running.bus.durable("work")
        assert await payloads(holder, 1) == ["slow"]
        await holder.release()


async def test_what_was_trimmed_before_it_began_is_not_missed(
    new_store: Callable[[], EventStore],
) -> None:
    async with core(new_store()) as running:
        await publish(running, "a.b", *range(5))
        await running.log.trim("a.b", 3)
    async with core(new_store()) as running:
        holder = await running.bus.durable("work", "a.*", start="earliest")
        assert await payloads(holder, 2) == [3, 4]
        await holder.release()


async def test_a_position_of_another_history_is_reset_and_told(
    new_store: Callable[[], EventStore],
) -> None:
    store = new_store()
    async with core(store) as running:
        await publish(running, "a.b", 1)
        holder = await running.bus.durable("work", "a.*")
        await holder.release()
        running.log.durables._held["work"].kept.cursor = "ffffffffffff.9"
        holder = await running.bus.durable("work")
        with pytest.raises(SubscriptionReset):
            await anext(holder)
        assert await payloads(holder, 1) == [1]
        await holder.release()


async def test_what_is_forgotten_is_not_handed_out_any_more(running: Core) -> None:
    holder = await running.bus.durable("work", "a.*")
    await publish(running, "a.b", "in hand", "secret", "next")
    await take(holder, 1)
    running.log.durables.forget([1, 2])
    assert await payloads(holder, 1) == ["next"]
    assert holder.ack(3) == 2
    [info] = running.bus.durables()
    assert (info.position, info.lost) == (3, 1)
    await holder.release()


async def test_what_is_forgotten_while_nobody_holds_it_is_no_gap(running: Core) -> None:
    holder = await running.bus.durable("work", "a", "b")
    await publish(running, "a", "secret")
    await publish(running, "b", 2)
    await take(holder, 1)
    await holder.release()
    await running.log.trim("b", 2)
    await forget(running.bus, pattern="a")
    [info] = running.bus.durables()
    assert (info.waiting, info.lost) == (0, 1)
    holder = await running.bus.durable("work")
    await publish(running, "a", "next")
    assert (await payloads(holder, 2)) == [2, "next"]
    await holder.release()


async def test_what_is_forgotten_while_it_is_read_again_is_not_handed_out(
    running: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = await running.bus.durable("work", "a")
    await publish(running, "a", "secret", "secret")
    await take(holder, 2)
    await holder.release()
    run, read, go_on = running.log.pages.run, asyncio.Event(), asyncio.Event()

    async def slow(ask: Any) -> Any:
        rows = await run(ask)
        read.set()
        await go_on.wait()
        return rows

    with monkeypatch.context() as patched:
        patched.setattr(running.log.pages, "run", slow)
        holder = await running.bus.durable("work")
        await read.wait()
    await forget(running.bus, pattern="a")
    go_on.set()
    await publish(running, "a", "next")
    assert await payloads(holder, 1) == ["next"]
    await holder.release()


async def test_what_is_forgotten_in_hand_comes_no_more_when_it_is_given_back_or_fails(
    running: Core,
) -> None:
    holder = await running.bus.durable("work", "a", tries=1)
    await publish(running, "a", "secret", "secret too", "next")
    await take(holder, 2)
    await forget(running.bus, pattern="a")
    await publish(running, "a", "later")
    assert holder.nack(1)
    assert await payloads(holder, 1) == ["later"]
    assert await letters(running, "work") == []
    await holder.release()


async def test_dead_letters_of_what_is_forgotten_go_too(running: Core) -> None:
    holder = await running.bus.durable("work", "a", "b", tries=1)
    await publish(running, "a", "secret")
    await publish(running, "b", "kept")
    await take(holder, 2)
    assert holder.nack(1)
    assert holder.nack(2)
    await until(lambda: running.bus.durables()[0].parked == 2)
    assert (await forget(running.bus, pattern="a", dry_run=True)).events == 2
    assert (await forget(running.bus, pattern="a")).events == 2
    assert [letter["event"]["payload"] for letter in await letters(running, "work")] == ["kept"]
    await holder.release()


async def test_a_lease_that_ran_out_stops_it_before_another_gets_one(running: Core) -> None:
    clock = by_hand(running)
    holder = await running.bus.durable("work", "a", tries=1, on_exhausted="stop")
    await publish(running, "a", 1, 2)
    await take(holder, 1)
    clock.set(clock.now() + 100)  # no timer has fired yet
    with pytest.raises(DurableStopped):
        await running.bus.durable("work")


# --- groups ---------------------------------------------------------------------------------


async def test_a_group_shares_the_lanes_and_keeps_the_order_of_each(running: Core) -> None:
    members = [await running.bus.join("crew", "a.*", member=f"m{n}") for n in range(3)]
    seen: dict[str, list[tuple[str, int]]] = defaultdict(list)

    async def work(member: Holder, name: str) -> None:
        async for event in member:
            seen[event.topic].append((name, event.payload))
            member.ack(event.seq or 0)

    tasks = [asyncio.ensure_future(work(m, f"m{n}")) for n, m in enumerate(members)]
    for n in range(600):
        await publish(running, f"a.t{n % 20}", n // 20)
    await until(lambda: sum(map(len, seen.values())) == 600)
    assert running.bus.durables()[0].members == 256
    for got in seen.values():
        assert [n for _, n in got] == list(range(30))
        assert len({name for name, _ in got}) == 1
    assert {got[0][0] for got in seen.values()} == {"m0", "m1", "m2"}
    for member in members:
        await member.release()
    await asyncio.gather(*tasks)


async def test_events_of_one_key_keep_their_order_over_topics(running: Core) -> None:
    members = [await running.bus.join("crew", "a.*", member=f"m{n}") for n in range(4)]
    for n in range(40):
        await publish(running, f"a.t{n}", n, key="one")
    taken: dict[int, list[int]] = defaultdict(list)

    def take_all() -> bool:
        for token, member in enumerate(members):
            claims = member.lease.take(7)
            if isinstance(claims, list):
                taken[token] += [claim.event.payload for claim in claims]
        return sum(map(len, taken.values())) == 40

    await until(take_all)
    assert list(taken.values()) == [list(range(40))]
    for member in members:
        await member.release()


async def test_a_death_brings_only_that_members_events_to_the_others(running: Core) -> None:
    clock = by_hand(running)
    one = await running.bus.join("crew", "a.*", member="one", lease=5.0)
    two = await running.bus.join("crew", "a.*", member="two", lease=500.0)
    for n in range(20):
        await publish(running, f"a.t{n}", n)
    async with asyncio.timeout(10):
        mine = [await anext(one)]
        others = [await anext(two)]
    while isinstance(taken := one.lease.take(100), list):
        mine += [claim.event for claim in taken]
    while isinstance(taken := two.lease.take(100), list):
        others += [claim.event for claim in taken]
    assert len(mine) + len(others) == 20
    assert mine
    one.lease.is_idle = False  # it hangs, it doesn't wait
    advance(clock, 6.0)
    with pytest.raises(LeaseLost):
        one.ack(mine[0].seq or 0)
    advance(clock, 1.0)
    again = await payloads(two, len(mine))
    assert sorted(again) == sorted(event.payload for event in mine)
    assert running.bus.durables()[0].in_hand == 20
    await two.release()


async def test_members_that_come_and_die_under_load_lose_nothing_and_keep_each_lanes_order(
    running: Core,
) -> None:
    """At least once each; and never an event before an earlier one of its lane was acked."""
    rng = random.Random(7)
    count, lanes = 1500, 12
    acked: dict[str, list[int]] = defaultdict(list)
    done: set[int] = set()
    born = 0

    async def work(lives: int) -> None:
        nonlocal born
        born += 1
        member = await running.bus.join("crew", "a.*", member=f"m{born}", start="earliest")
        async for event in member:
            assert event.payload == len(acked[event.topic]), event
            if len(done) == count or rng.random() < 0.002 * lives:
                await member.release()  # it dies with this event in hand
                break
            if rng.random() < 0.05:
                member.nack(event.seq or 0, delay=0)
                continue
            if rng.random() < 0.3:
                await asyncio.sleep(0)
            assert member.ack(event.seq or 0) == 1
            acked[event.topic].append(event.payload)
            done.add(event.seq or 0)

    async def staff() -> None:
        while len(done) < count:
            await work(1)

    crew = [asyncio.ensure_future(staff()) for _ in range(4)]
    for n in range(count):
        await publish(running, f"a.t{n % lanes}", n // lanes)
    await until(lambda: len(done) == count, 20)
    for task in crew:
        task.cancel()
    await asyncio.gather(*crew, return_exceptions=True)
    assert all(got == list(range(count // lanes)) for got in acked.values())
    assert born > 4


# --- when the disk refuses ------------------------------------------------------------------


class Refusing(MemoryEventStore):
    """A store whose disk takes nothing when told so."""

    full = False

    def append(self, rows: Sequence[Row], recorded_us: int) -> None:
        self._check_disk()
        super().append(rows, recorded_us)

    def save_subs(self, changed: Any) -> None:
        self._check_disk()
        super().save_subs(changed)

    def _check_disk(self) -> None:
        if self.full:
            raise StoreUnavailable("database or disk is full")


async def test_while_the_disk_refuses_parking_waits_and_nothing_is_settled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("antiphon.bus.writer.PROBE_S", (0.01,))
    store = Refusing()
    async with core(store) as running:
        clock = by_hand(running)
        holder = await running.bus.durable("work", "a.*", tries=1)
        await publish(running, "a.b", "bad", "good")
        [event] = await take(holder, 1)
        store.full = True
        holder.nack(event.seq or 0)
        assert await payloads(holder, 1) == ["good"]
        durable = running.log.durables._held["work"]
        for _ in range(3):
            await until(lambda: bool(durable._park_timers))
            assert running.bus.durables()[0].position == 0
            advance(clock, 1.0)
        store.full = False
        await until(lambda: running.bus.status.state == "ok")
        await until(lambda: bool(durable._park_timers) or running.bus.durables()[0].parked == 1)
        advance(clock, 1.0)
        await until(lambda: running.bus.durables()[0].parked == 1)
        assert len(await letters(running, "work")) == 1
        await holder.release()


async def test_a_lease_is_revoked_when_its_right_is(running: Core) -> None:
    ann = Principal("ann", Access(pub=("a.*",), sub=("a.*", "b.*")))
    holder = await running.bus.durable("anns", "a.*", principal=ann)
    mine = await running.bus.durable("mine", "a.*")
    waiting = asyncio.ensure_future(take(holder, 1))
    await asyncio.sleep(0)
    durables = running.log.durables
    assert durables.revoke("ann", Access(sub=("a.*",))) == 0
    assert durables.revoke("ann", Access(sub=("*",), deny=("a.secret",))) == 1
    with pytest.raises(LeaseLost, match="ann lost the right"):
        await waiting
    assert durables.revoke("ann") == 0
    mine.renew()
    await mine.release()
