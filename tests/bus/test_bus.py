"""Publishing, subscribing and asking, end to end on each store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from antiphon.actors import (
    Actor,
    ActorContext,
    Child,
    DeadLetterReason,
    Key,
    Notice,
    Supervisor,
    tracing,
)
from antiphon.app import Core, core
from antiphon.bus import (
    Access,
    EventStore,
    Lag,
    Live,
    Principal,
    publish_event,
    subscribe,
    unsubscribe,
)
from antiphon.bus.access import SYSTEM
from antiphon.bus.event_bus import SCOPE
from antiphon.bus.event_rules import EVENT_BYTES
from antiphon.errors import (
    BadRequest,
    Forbidden,
    IdConflict,
    InvalidPattern,
    InvalidPayload,
    InvalidTopic,
    Overloaded,
    PayloadTooLarge,
    StartError,
    SubscriptionGap,
    SubscriptionReset,
    WrongExpectedSeq,
)
from antiphon.messages import Event
from antiphon.messages.payload import MAX_INT

from .conftest import until


class Reader(Actor[str]):
    """Keeps what it sees; raises on the payload "crash"; "wait" holds it until told."""

    def __init__(self, running: Core, seen: list[Any], *patterns: str, start: str = "now") -> None:
        self.running = running
        self.seen = seen
        self.patterns = patterns
        self.start = start

    async def pre_start(self, ctx: ActorContext[str]) -> None:
        await subscribe(self.running.bus, ctx.myself, *self.patterns, start=self.start)

    async def handle(self, msg: str, ctx: ActorContext[str]) -> None:
        self.seen.append(msg)

    async def handle_notice(self, notice: Notice, ctx: ActorContext[str]) -> None:
        if not isinstance(notice, Live):
            self.seen.append(notice)

    async def handle_event(self, event: Event, ctx: ActorContext[str]) -> None:
        if event.payload == "crash":
            raise RuntimeError("as the event says")
        self.seen.append(event.payload)


async def publish(running: Core, topic: str, *payloads: Any) -> list[int]:
    futures = [publish_event(running.bus, topic, payload) for payload in payloads]
    return [(await future).seq or 0 for future in futures]


async def test_a_publish_is_answered_with_the_next_seq_and_read_back_as_it_was(
    running: Core,
) -> None:
    first = await publish_event(running.bus, "a.b", {"n": 1}, key="k", headers={"h": "v"})
    second = await publish_event(running.bus, "a.b", [1, 2.5, None, "é", True])
    assert (first.seq, second.seq) == (1, 2)
    assert first.level == "synced"
    page = await running.bus.query()
    [one, two] = [msgspec.json.decode(data, type=Event) for data in page.data]
    assert (one.payload, one.key, one.headers) == ({"n": 1}, "k", {"h": "v"})
    assert two.payload == [1, 2.5, None, "é", True]
    assert one.principal == "system"
    assert one.recorded is not None
    assert one.seq == 1


async def test_an_event_is_fixed_when_it_is_published(running: Core) -> None:
    """What the publisher changes afterwards changes nothing."""
    payload = {"n": 1}
    events = running.bus.events("a.b")
    future = publish_event(running.bus, "a.b", payload)
    payload["n"] = 2
    await future
    assert (await anext(events)).payload == {"n": 1}
    events.close()


async def test_level_none_answers_before_the_event_has_a_seq(running: Core) -> None:
    answer = await publish_event(running.bus, "a.b", 1, level="none")
    assert answer.seq is None
    assert answer.level == "none"
    await until(lambda: running.bus.head == 1)


@pytest.mark.parametrize(
    "topic", ["", "a..b", ".a", "a.", "*.x", "a b", "a\0", "é", "a." * 16 + "a", [], None]
)
async def test_a_malformed_topic_is_refused_at_once(running: Core, topic: Any) -> None:
    with pytest.raises(InvalidTopic):
        publish_event(running.bus, topic, 1)
    assert running.bus.head == 0


@pytest.mark.parametrize(
    "payload", [float("nan"), float("inf"), 2**53, b"bytes", {1: 2}, "\ud800", {"a": object()}]
)
async def test_what_is_not_json_is_refused_at_once(running: Core, payload: Any) -> None:
    with pytest.raises(InvalidPayload):
        publish_event(running.bus, "a.b", payload)
    assert running.bus.head == 0


async def test_an_event_over_the_limit_is_refused(running: Core) -> None:
    with pytest.raises(PayloadTooLarge):
        publish_event(running.bus, "a.b", "x" * 300_000)


async def test_reserved_topics_are_closed_to_tokens(running: Core) -> None:
    ann = Principal("ann", Access(pub=("*",), sub=("*",)))
    with pytest.raises(Forbidden):
        publish_event(running.bus, "_sys.actors", 1, principal=ann)


async def test_publishers_in_turn_are_each_themselves(running: Core) -> None:
    """What was decided for one says nothing about the next."""
    ann = Principal('Ann "A\\" é', Access(pub=("a.*",), sub=("*",)))
    bob = Principal("bob", Access(pub=("b.*",), sub=("*",)))
    for _ in range(2):
        await publish_event(running.bus, "a.x", 1, principal=ann)
        with pytest.raises(Forbidden):
            publish_event(running.bus, "a.x", 2, principal=bob)
        await publish_event(running.bus, "a.x", 3)
    found = [msgspec.json.decode(d, type=Event) for d in (await running.bus.query()).data]
    assert [event.principal for event in found] == [ann.name, "system"] * 2
    assert [event.source for event in found] == [ann.source, "/clients/system"] * 2


async def test_a_repeated_id_gets_the_first_seq_and_other_content_a_conflict(
    running: Core,
) -> None:
    first = await publish_event(running.bus, "a.b", 1, id="x")
    await publish_event(running.bus, "a.b", 1)
    again = await publish_event(running.bus, "a.b", 1, id="x")
    assert (again.seq, again.duplicate) == (first.seq, True)
    with pytest.raises(IdConflict):
        await publish_event(running.bus, "a.b", 2, id="x")
    other = await publish_event(running.bus, "a.c", 2, id="x")
    assert not other.duplicate
    assert running.bus.head == 3


async def test_an_event_takes_256_kib_at_most_as_it_is_stored(running: Core) -> None:
    first = await publish_event(running.bus, "a.b", "")
    stored = await running.bus.get(first.seq or 0)
    assert stored is not None
    digits = len(str(MAX_INT)) - len(str(first.seq))  # room is kept for the longest seq
    most = EVENT_BYTES - len(stored) - digits
    with pytest.raises(PayloadTooLarge, match="of 262145 bytes is over the limit of 262144"):
        publish_event(running.bus, "a.b", "x" * (most + 1))
    largest = await publish_event(running.bus, "a.b", "x" * most)
    stored = await running.bus.get(largest.seq or 0)
    assert stored is not None
    assert len(stored) == EVENT_BYTES - digits


@pytest.mark.parametrize("level", ["foo", "", None, ["none"]])
async def test_another_level_is_refused(running: Core, level: Any) -> None:
    with pytest.raises(BadRequest, match="synced or committed or none"):
        publish_event(running.bus, "a.b", 1, level=level)


async def test_a_repeat_in_another_trace_is_a_duplicate(running: Core) -> None:
    bus = running.bus
    headers = {"n": "1"}
    with tracing(correlation_id="job-1"):
        first = await publish_event(bus, "a.b", 1, id="x", headers=headers)
        stepped = await publish_event(bus, "a.b", 1, id="x", headers=headers)
    with tracing(correlation_id="job-2"):
        other = await publish_event(bus, "a.b", 1, id="x", headers={**headers, "tracestate": "a=1"})
    alone = await publish_event(bus, "a.b", 1, id="x", headers=headers)
    assert [again.seq for again in (stepped, other, alone) if again.duplicate] == [first.seq] * 3


async def test_a_correlation_id_that_was_given_is_content(running: Core) -> None:
    with tracing(correlation_id="job-1"):
        await publish_event(running.bus, "a.b", 1, id="x")
    assert (await publish_event(running.bus, "a.b", 1, id="x", correlation_id="job-1")).duplicate
    with pytest.raises(IdConflict):
        await publish_event(running.bus, "a.b", 1, id="x", correlation_id="job-2")
    with pytest.raises(IdConflict), tracing():
        await publish_event(running.bus, "a.b", 1, id="x", headers={"n": "1"})


async def test_an_event_is_stored_only_at_the_end_that_its_publisher_expects(
    running: Core,
) -> None:
    bus = running.bus
    first = await publish_event(bus, "a.b", 1, expect_last_seq=0)
    assert first.seq == 1
    await publish_event(bus, "other.x", 0)
    with pytest.raises(WrongExpectedSeq) as wrong:
        await publish_event(bus, "a.b", 2, expect_last_seq=0)
    assert wrong.value.last_seq == 1
    assert (await publish_event(bus, "a.b", 2, expect_last_seq=1)).seq == 3
    await running.log.trim("a.b", 3)
    with pytest.raises(WrongExpectedSeq, match="last event is 3"):
        await publish_event(bus, "a.b", 3, expect_last_seq=0)
    assert (await publish_event(bus, "a.b", 3, expect_last_seq=3)).seq == 4


async def test_a_repeated_publish_is_a_duplicate_whatever_it_expected(running: Core) -> None:
    first = await publish_event(running.bus, "a.b", 1, id="x", expect_last_seq=0)
    again = await publish_event(running.bus, "a.b", 1, id="x", expect_last_seq=0)
    assert (again.seq, again.duplicate) == (first.seq, True)
    with pytest.raises(IdConflict):
        await publish_event(running.bus, "a.b", 2, id="x", expect_last_seq=1)


async def test_of_many_that_expect_the_same_end_exactly_one_is_stored(running: Core) -> None:
    """Forty tasks count together: each adds one to what it read, and none is lost."""
    bus = running.bus
    counted = 0

    async def add() -> None:
        nonlocal counted
        last, value = 0, 0
        while True:
            try:
                answer = await publish_event(bus, "sum.x", value + 1, expect_last_seq=last)
            except WrongExpectedSeq as error:
                last = error.last_seq
                data = await bus.get(last)
                assert data is not None
                value = msgspec.json.decode(data, type=Event).payload
            else:
                assert answer.seq is not None
                counted += 1
                return

    await asyncio.gather(*(add() for _ in range(40)))
    page = await bus.query(["sum.x"])
    payloads = [msgspec.json.decode(data, type=Event).payload for data in page.data]
    assert payloads == list(range(1, 41))
    assert counted == 40


@pytest.mark.parametrize(
    ("topic", "seq"), [("a.b", -1), ("a.b", True), ("a.b", "1"), ("x.typing", 0)]
)
async def test_an_expectation_that_is_none_is_refused_at_once(
    running: Core, topic: str, seq: Any
) -> None:
    with pytest.raises(BadRequest):
        publish_event(running.bus, topic, 1, expect_last_seq=seq)


async def test_an_actor_handles_each_matching_event_once_in_order(running: Core) -> None:
    seen: list[Any] = []
    await running.system.spawn(lambda: Reader(running, seen, "a.*"))
    for n in range(300):
        publish_event(running.bus, "a.b" if n % 3 else "b.c", n)
    await until(lambda: len(seen) == 200)
    assert seen == [n for n in range(300) if n % 3]


async def test_overlapping_patterns_deliver_once(running: Core) -> None:
    seen: list[Any] = []
    await running.system.spawn(lambda: Reader(running, seen, "a.*", "a.b", "*"))
    await publish(running, "a.b", 1, 2)
    await until(lambda: len(seen) == 2)
    await publish(running, "a.c", 3)
    await until(lambda: len(seen) == 3)
    assert seen == [1, 2, 3]


async def test_a_late_reader_gets_history_then_live_without_a_seam(running: Core) -> None:
    await publish(running, "a.b", *range(1200))
    seen: list[Any] = []
    await running.system.spawn(lambda: Reader(running, seen, "a.b", start="earliest"))
    await publish(running, "a.b", *range(1200, 1300))
    await until(lambda: len(seen) >= 1300)
    assert seen == list(range(1300))


async def test_after_a_crash_the_next_generation_goes_on_after_the_crashing_event(
    running: Core,
) -> None:
    """The event whose handler raised becomes a dead letter; none is lost, none comes twice."""
    seen: list[Any] = []
    key: Key[str] = Key("readers/one")
    await running.system.supervise(
        Supervisor([Child(key, lambda: Reader(running, seen, "a.b"))]), name="readers"
    )
    await publish(running, "a.b", 1, "crash", 2, 3)
    await until(lambda: len(seen) == 3)
    assert seen == [1, 2, 3]
    letters = [
        letter for letter in running.system.dead_letters if letter.reason is DeadLetterReason.FAILED
    ]
    assert [letter.message.payload for letter in letters] == ["crash"]
    assert letters[0].message.seq == 2


async def test_a_subscriber_is_in_the_groups_of_its_patterns_until_it_ends(
    running: Core,
) -> None:
    seen: list[Any] = []
    ref = await running.system.spawn(lambda: Reader(running, seen, "a.*", "b.c"))
    groups = running.system.groups
    assert list(groups.members(SCOPE, "a.*")) == [ref]
    assert list(groups.members(SCOPE, "b.c")) == [ref]
    ref.stop()
    await ref.wait()
    assert list(groups.members(SCOPE, "a.*")) == []
    assert running.log.subscriptions == 0


async def test_unsubscribe_ends_delivery_and_membership(running: Core) -> None:
    seen: list[Any] = []
    ref = await running.system.spawn(lambda: Reader(running, seen, "a.*"))
    assert await unsubscribe(running.bus, ref, "a.*")
    assert not await unsubscribe(running.bus, ref, "a.*")
    await publish(running, "a.b", 1)
    ref.cast("later")
    await until(lambda: bool(seen))
    assert seen == ["later"]
    assert list(running.system.groups.members(SCOPE, "a.*")) == []


async def test_a_sid_in_use_for_other_patterns_is_refused(running: Core) -> None:
    seen: list[Any] = []
    ref = await running.system.spawn(lambda: Reader(running, seen, "a.*"))
    await running.bus.subscribe(ref, "b.*", sid="mine")
    assert await running.bus.subscribe(ref, "b.*", sid="mine") == "mine"
    with pytest.raises(BadRequest):
        await running.bus.subscribe(ref, "c.*", sid="mine")


async def test_access_hides_topics_from_subscriptions_queries_and_lists(running: Core) -> None:
    ann = Principal("ann", Access(pub=("a.*",), sub=("a.*",), deny=("a.secret",)))
    await publish(running, "a.b", 1)
    await publish(running, "a.secret", 2)
    await publish(running, "b.c", 3)
    page = await running.bus.query(principal=ann)
    assert len(page.data) == 1
    assert [info.name for info in await running.bus.topics(principal=ann)] == ["a.b"]
    assert await running.bus.get(2, principal=ann) is None
    events = running.bus.events("a.*", start="earliest", principal=ann)
    assert (await anext(events)).payload == 1
    await publish(running, "a.secret", 4)
    await publish(running, "a.b", 5)
    assert (await anext(events)).payload == 5
    events.close()
    with pytest.raises(Forbidden):
        running.bus.events("b.*", principal=ann)


@pytest.mark.parametrize("pattern", ["", "**", ">", "a.#", "wor*er", "a..b", "é"])
async def test_a_malformed_pattern_is_refused(running: Core, pattern: str) -> None:
    with pytest.raises(InvalidPattern):
        running.bus.events(pattern)


async def test_a_text_in_place_of_a_list_of_patterns_is_told(running: Core) -> None:
    with pytest.raises(InvalidPattern, match=r"patterns are a list, got a\.\* alone"):
        await running.bus.query("a.*")


async def test_ephemeral_events_reach_whoever_is_at_the_head_and_are_not_kept(
    running: Core,
) -> None:
    events = running.bus.events("room.typing")
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    answer = await publish_event(running.bus, "room.typing", "ann")
    assert answer.seq is None
    event = await waiting
    assert (event.payload, event.seq) == ("ann", None)
    assert running.bus.head == 0
    events.close()


async def test_who_conflates_gets_the_newest_of_each_topic_and_others_are_told_of_a_lag(
    running: Core,
) -> None:
    bus = running.bus
    newest = bus.open_subscription(["+.typing"], on_ready=lambda: None, ephemeral="conflate")
    every = bus.open_subscription(["+.typing"], on_ready=lambda: None)
    for subscription in (newest, every):
        assert isinstance(subscription.take(), Live)
        assert subscription.take() is None
    for n in range(300):
        publish_event(bus, f"room{n % 3}.typing", n)

    def taken(subscription: Any) -> list[Any]:
        got = []
        while (one := subscription.take()) is not None:
            got.append(one.dropped if isinstance(one, Lag) else one.events[0].payload)
        return got

    assert taken(newest) == [297, 298, 299]
    assert taken(every) == [44, *range(44, 300)]
    assert (newest.conflated, newest.missed) == (297, 0)
    assert (every.conflated, every.missed) == (0, 44)
    newest.close()
    every.close()


async def test_ephemeral_events_that_came_while_a_reader_was_behind_are_counted(
    running: Core,
) -> None:
    bus = running.bus
    behind, awake, denied = [
        bus.open_subscription(["a.*"], on_ready=lambda: None, principal=principal)
        for principal in (SYSTEM, SYSTEM, Principal("ann", Access(sub=("a.*",))))
    ]

    def read(subscription: Any) -> list[Any]:
        taken = iter(subscription.take, None)
        return [one.events[0].payload for one in taken if not isinstance(one, Live)]

    for subscription in (behind, awake, denied):
        assert read(subscription) == []
    await publish_event(bus, "a.b", 0)
    assert read(awake) == [0]
    for n in range(3):
        publish_event(bus, "a.typing", n)
    running.log.regrant("ann", Access(sub=("a.*",), deny=("a.typing",)))
    publish_event(bus, "a.typing", 3)
    assert (behind.missed, awake.missed, denied.missed) == (4, 0, 3)
    assert read(behind) == [0]
    publish_event(bus, "a.typing", 4)
    assert read(behind) == [4]
    for subscription in (behind, awake, denied):
        subscription.close()
    assert (behind.missed, denied.missed, running.log.missed) == (4, 3, 7)


async def test_the_newest_is_not_lost_while_an_older_one_is_being_handled(running: Core) -> None:
    subscription = running.bus.open_subscription(
        ["a.typing"], on_ready=lambda: None, ephemeral="conflate"
    )
    assert isinstance(subscription.take(), Live)
    publish_event(running.bus, "a.typing", 1)
    first = subscription.peek()
    publish_event(running.bus, "a.typing", 2)
    subscription.advance(1)
    second = subscription.take()
    assert [taken.events[0].payload for taken in (first, second)] == [1, 2]  # type: ignore[union-attr]
    subscription.close()


async def test_an_actor_conflates_what_it_is_too_slow_for(running: Core) -> None:
    seen: list[Any] = []
    gate = asyncio.Event()

    class Slow(Actor[str]):
        async def pre_start(self, ctx: ActorContext[str]) -> None:
            await subscribe(running.bus, ctx.myself, "a.typing", ephemeral="conflate")

        async def handle_event(self, event: Event, ctx: ActorContext[str]) -> None:
            seen.append(event.payload)
            await gate.wait()

    ref = await running.system.spawn(Slow)
    publish_event(running.bus, "a.typing", 0)
    await until(lambda: seen == [0])
    for n in range(1, 10):
        publish_event(running.bus, "a.typing", n)
    gate.set()
    await until(lambda: len(seen) == 2)
    assert seen == [0, 9]
    with pytest.raises(BadRequest):
        await running.bus.subscribe(ref, "b.typing", ephemeral="keep")  # type: ignore[arg-type]
    assert running.log.subscriptions == 1


async def test_ephemeral_topics_are_a_matter_of_policy(new_store: Callable[[], EventStore]) -> None:
    async with core(new_store(), ephemeral=("deltas.*",)) as running:
        for topic, kept in (("deltas.a.b", False), ("x.typing", False), ("deltas", True)):
            assert ((await publish_event(running.bus, topic, 1)).seq is not None) is kept
    with pytest.raises(StartError, match=r"a\.\*\*"):
        async with core(new_store(), ephemeral=("a.**",)):
            pass


async def test_who_waits_for_room_is_slowed_down_and_who_does_not_is_told(
    running: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antiphon.bus.log.LOCAL_WAITING", 8)
    answers = []
    for n in range(100):
        await running.bus.room()
        assert running.log.waiting < 8
        answers.append(publish_event(running.bus, "a.b", n))
    assert [(await answer).seq for answer in answers] == list(range(1, 101))

    async def one(n: int) -> None:
        await running.bus.room()
        answers.append(publish_event(running.bus, "a.b", n))
        assert running.log.waiting <= 8

    tasks = [asyncio.ensure_future(one(n)) for n in range(50)]
    await asyncio.sleep(0)
    tasks[20].cancel()
    tasks[49].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.gather(*answers)
    assert running.bus.head == 148

    with pytest.raises(Overloaded):
        await asyncio.gather(*[publish_event(running.bus, "a.b", n) for n in range(9)])


async def test_room_counts_bytes_too(running: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.bus.log.WAITING_BYTES", 50_000)
    answers = []
    for _ in range(20):
        await running.bus.room()
        answers.append(publish_event(running.bus, "a.b", "x" * 20_000))
        assert running.log.waiting_bytes < 80_000
    assert len(await asyncio.gather(*answers)) == 20


async def test_nobody_waits_for_room_in_a_closed_log(
    new_store: Callable[[], EventStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antiphon.bus.log.LOCAL_WAITING", 0)
    async with core(new_store()) as running:
        waiting = asyncio.ensure_future(running.bus.room())
        await asyncio.sleep(0)
    await asyncio.wait_for(waiting, 10)


async def test_start_last_gives_the_newest_of_each_topic_then_live(running: Core) -> None:
    await publish(running, "a.b", 1, 2)
    await publish(running, "a.c", 3, 4)
    events = running.bus.events("a.*", start="last")
    got = [(await anext(events)).payload, (await anext(events)).payload]
    await publish(running, "a.b", 5)
    got.append((await anext(events)).payload)
    assert got == [2, 4, 5]
    events.close()


async def test_a_query_takes_in_both_bounds_of_time(running: Core) -> None:
    await publish(running, "a.b", 1, 2, 3)
    page = await running.bus.query(["a.b"])
    first, *_, last = [msgspec.json.decode(data, type=Event).recorded for data in page.data]
    found = await running.bus.query(["a.b"], since=first, until=last)
    assert found.data == page.data


async def test_a_query_pages_both_ways_to_the_end(running: Core) -> None:
    await publish(running, "a.b", *range(25))
    up: list[bytes] = []
    after: str | None = None
    while True:
        page = await running.bus.query(after=after, limit=10)
        up += page.data
        after = page.next
        if after is None:
            break
    down: list[bytes] = []
    before: str | None = None
    while True:
        page = await running.bus.query(order="desc", before=before, limit=10)
        down += page.data
        before = page.next
        if before is None:
            break
    assert len(up) == 25
    assert down == up[::-1]


async def test_a_cursor_outlives_a_restart_and_one_of_another_log_is_reset(
    new_store: Callable[[], EventStore],
) -> None:
    async with core(new_store()) as running:
        await publish(running, "a.b", 1, 2, 3)
        cursor = running.bus.cursor(2)
    async with core(new_store()) as running:
        assert running.bus.epoch != cursor.split(".")[0]
        events = running.bus.events("a.b", start=cursor)
        assert (await anext(events)).payload == 3
        [seq] = await publish(running, "a.b", 4)
        assert seq == 4
        assert (await anext(events)).payload == 4
        events.close()
        other = running.bus.events("a.b", start="ffffffffffff.2")
        with pytest.raises(SubscriptionReset):
            await anext(other)
        assert (await anext(other)).payload == 1
        other.close()


async def test_a_cursor_from_before_a_topic_that_is_gone_hears_of_a_gap_once(
    new_store: Callable[[], EventStore],
) -> None:
    """Whose topic it was nobody knows any more, so all are told that were not there."""
    async with core(new_store()) as running:
        await publish(running, "a.b", 1, 2, 3)
        await publish(running, "w.x", 4)
        cursor = running.bus.cursor(1)
        live = running.bus.events("a.*", "w.*", start="earliest")
        assert [(await anext(live)).payload for _ in range(4)] == [1, 2, 3, 4]
        await running.log.trim("a.b", 3)
        await running.log.removals.drop_topics(["a.b"])
        await publish(running, "w.x", 5)
        assert (await anext(live)).payload == 5, "who was there misses nothing"
        live.close()
    for _ in range(2):
        async with core(new_store()) as running:
            events = running.bus.events("a.*", "w.*", start=cursor)
            with pytest.raises(SubscriptionGap) as gap:
                await anext(events)
            assert (gap.value.first, gap.value.last) == (2, 3)
            assert [(await anext(events)).payload for _ in range(2)] == [4, 5]
            events.close()
            with pytest.raises(SubscriptionGap):
                await running.bus.query(["*"], after=cursor)
            later = running.bus.events("w.*", start=running.bus.cursor(3))
            assert (await anext(later)).payload == 4, "it had seen all that is gone"
            later.close()


async def test_a_trimmed_topic_gives_exactly_one_gap_to_a_reader_that_matches_it(
    running: Core,
) -> None:
    await publish(running, "a.b", *range(5))
    await publish(running, "a.c", *range(5))
    cursor = running.bus.cursor(0)
    assert await running.log.trim("a.b", 3) == 3
    seen: list[Any] = []
    matching = running.bus.open_subscription(["a.b"], start=cursor, on_ready=lambda: None)
    other = running.bus.open_subscription(["a.c"], start=cursor, on_ready=lambda: None)

    async def drain(subscription: Any, wanted: int) -> list[Any]:
        got: list[Any] = []
        async with asyncio.timeout(10):
            while sum(isinstance(item, int) for item in got) < wanted:
                taken = subscription.take()
                if taken is None:
                    await asyncio.sleep(0.001)
                elif hasattr(taken, "events"):
                    got += [event.payload for event in taken.events]
                elif not isinstance(taken, Live):
                    got.append((taken.first, taken.last))
        return got

    running.log.ring.restart(running.log.head)  # as after a restart: all of it is read from disk
    seen = await drain(matching, 2)
    assert seen == [(1, 3), 3, 4]
    assert await drain(other, 5) == [0, 1, 2, 3, 4]
    matching.close()
    other.close()


async def test_a_query_hears_of_a_gap_once_and_goes_on_with_what_is_left(running: Core) -> None:
    """Of the topics that were not trimmed too, which may have events within the gap."""
    for n in range(10):
        await publish_event(running.bus, "ab"[n % 2], n)
    cursor = running.bus.cursor(2)
    await running.log.trim("a", 9)
    with pytest.raises(SubscriptionGap) as gap:
        await running.bus.query(["*"], after=cursor)
    assert (gap.value.first, gap.value.last) == (3, 9)
    page = await running.bus.query(["*"], after=gap.value.cursor)
    assert [msgspec.json.decode(data)["seq"] for data in page.data] == [4, 6, 8, 10]
    assert len((await running.bus.query(["b"], after=cursor)).data) == 4


@pytest.mark.parametrize("count", [1, 255, 2000])
async def test_a_publisher_is_answered_when_subscribers_had_their_turns(
    running: Core, count: int
) -> None:
    """So a publisher at full rate can't leave awake subscribers ever further behind."""
    seen: list[Any] = []
    await running.system.spawn(lambda: Reader(running, seen, "a.b"))
    for round_ in range(1, 6):
        futures = [publish_event(running.bus, "a.b", n) for n in range(count)]
        await futures[-1]
        assert len(seen) >= round_ * count - 256


async def test_an_event_carries_the_trace_that_it_was_published_in(running: Core) -> None:
    with tracing(correlation_id="job-7") as trace:
        await publish_event(running.bus, "a.b", 1)
        await publish_event(
            running.bus, "a.b", 2, correlation_id="mine", headers={"traceparent": "other", "x": "y"}
        )
        full = {f"h{n}": "v" * (n < 1 and 100) for n in range(16)}
        large = {"h": "v" * 200, **{f"h{n}": "v" * 200 for n in range(9)}}
        for headers in (full, large):
            await publish_event(running.bus, "full.x", 0, headers=headers)
        with pytest.raises(InvalidPayload):
            await publish_event(running.bus, "full.x", 0, headers=[1])  # type: ignore[arg-type]
        with pytest.raises(InvalidPayload):
            await publish_event(running.bus, "a.b", 0, correlation_id="")
    await publish_event(running.bus, "a.b", 3)
    async with running.bus.events("a.b", "full.x", start="earliest") as events:
        first, second, with_full, with_large, third = [await anext(events) for _ in range(5)]
    assert (with_full.headers, with_large.headers) == (full, large)
    assert (first.correlation_id, first.headers) == ("job-7", {"traceparent": trace.traceparent})
    assert (second.correlation_id, second.headers) == ("mine", {"traceparent": "other", "x": "y"})
    assert (third.correlation_id, third.headers) == (None, None)
