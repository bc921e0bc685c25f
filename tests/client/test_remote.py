"""``antiphon.connect`` against a real server, which is killed, stopped and asked for too much."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager

import pytest

import antiphon
from antiphon.client.remote import RemoteBus
from antiphon.client.subscription import RemoteSubscription
from antiphon.errors import (
    BadRequest,
    BusClosed,
    Forbidden,
    InvalidPayload,
    InvalidTopic,
    LeaseHeld,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    SubscriptionGap,
    Unauthorized,
    WrongExpectedSeq,
)
from antiphon.ids import Cursor

from .conftest import House
from .model import TIME
from .servers import Talk, frame_server


@pytest.fixture
async def bus(house: House) -> AsyncIterator[RemoteBus]:
    async with antiphon.connect(house.url, house.token) as bus:
        yield bus


async def take(subscription: RemoteSubscription, count: int) -> list[antiphon.Event]:
    async with asyncio.timeout(20):
        return [await anext(subscription) for _ in range(count)]


async def opened(bus: RemoteBus) -> None:
    """Everything that was asked for before is done: answers come in order."""
    await bus.publish("opened.mark")


# --- publishing and asking --------------------------------------------------------------------


async def test_what_is_published_is_followed_found_and_counted(bus: RemoteBus) -> None:
    async with bus.subscribe("shop.*") as events:
        await opened(bus)
        told = await bus.publish("shop.tea", {"n": 1}, key="k", headers={"a": "b"})
        assert (told.level, told.duplicate) == ("synced", False)
        (event,) = await take(events, 1)
    assert (event.seq, event.payload, event.key) == (told.seq, {"n": 1}, "k")
    assert told.seq is not None
    assert Cursor.parse(events.cursor or "").seq >= told.seq
    assert await bus.event(told.seq) == event
    page = await bus.query("shop.*")
    assert (page.events, page.next) == ([event], None)
    await bus.publish("shop.milk")
    assert [found.topic async for found in bus.history("shop.*", limit=1)] == [
        "shop.tea",
        "shop.milk",
    ]
    assert [info.name for info in await bus.topics("shop.*")] == ["shop.milk", "shop.tea"]
    with pytest.raises(NotFound):
        await bus.event(10**9)


async def test_a_repeated_id_is_stored_once_and_expectations_are_kept(bus: RemoteBus) -> None:
    first = await bus.publish("twice.a", 1, id="the-id")
    again = await bus.publish("twice.a", 1, id="the-id")
    assert (again.seq, again.duplicate) == (first.seq, True)
    with pytest.raises(WrongExpectedSeq) as refused:
        await bus.publish("twice.a", 2, expect_last_seq=0)
    assert refused.value.last_seq == first.seq


async def test_what_cannot_be_published_is_refused_alone(bus: RemoteBus) -> None:
    for error, topic, payload in (
        (InvalidTopic, "a..b", None),
        (InvalidPayload, "a.b", object()),
        (InvalidPayload, "a.b", {"n": float("nan")}),
        (InvalidPayload, "a.b", "\ud800"),
        (PayloadTooLarge, "a.b", "x" * 300_000),
        (PayloadTooLarge, "a.b", "x" * 2_000_000),
    ):
        with pytest.raises(error):
            await bus.publish(topic, payload)
    assert bus.state == "live"
    assert (await bus.publish("a.b", "still here")).seq


async def test_many_are_queued_at_once_and_stored_in_order(bus: RemoteBus) -> None:
    waiting = [bus.publish_nowait("many.a", n) for n in range(2500)]
    await bus.flush()
    assert bus.unanswered == 0
    seqs = [(await answer).seq for answer in waiting]
    assert seqs == sorted(seqs, key=lambda seq: seq or 0)
    found = [event.payload async for event in bus.history("many.*")]
    assert found == list(range(2500))


async def test_a_full_queue_is_said_at_once_or_waited_for(house: House) -> None:
    async with antiphon.connect(house.url, house.token, most_events=1) as bus:
        bus.publish_nowait("full.a")
        with pytest.raises(Overloaded) as refused:
            bus.publish_nowait("full.a")
        assert refused.value.limit == 1
        assert (await bus.publish("full.a")).seq


# --- following --------------------------------------------------------------------------------


async def test_a_reader_starts_where_it_likes_and_goes_on_by_its_cursor(
    bus: RemoteBus, house: House
) -> None:
    for n in range(5):
        await bus.publish(f"start.{n % 2}", n)
    async with bus.subscribe("start.*", start="last") as events:
        assert [event.payload for event in await take(events, 2)] == [3, 4]
    async with bus.subscribe("start.*", start="earliest") as events:
        assert [event.payload for event in await take(events, 2)] == [0, 1]
        cursor = events.cursor
    async with (
        antiphon.connect(house.url, house.token) as other,
        other.subscribe("start.*", after=cursor, window=1) as events,
    ):
        assert [event.payload for event in await take(events, 3)] == [2, 3, 4]


async def test_a_closed_subscription_ends_its_iteration(bus: RemoteBus) -> None:
    events = bus.subscribe("quiet.*")
    reader = asyncio.create_task(count(events))
    await opened(bus)
    events.close()
    assert await asyncio.wait_for(reader, 5) == 0
    with pytest.raises(StopAsyncIteration):
        await anext(events)


def gap(talk: Talk) -> None:
    sub = talk.welcome()
    event = {"id": "i", "topic": "t", "type": "x", "source": "s", "principal": "p", "payload": 9}
    event["time"] = TIME
    talk.say(op="gap", sid=sub["sid"], cursor="e1.8", **{"from": 1, "to": 8})
    talk.say(op="ev", sid=sub["sid"], events=[{"seq": 9, **event}], cursor="e1.9")
    talk.wait_for_end()


async def test_what_was_trimmed_is_a_gap_and_reading_goes_on() -> None:
    with frame_server(gap) as url:
        async with antiphon.connect(url, "token") as bus, bus.subscribe("t") as events:
            with pytest.raises(SubscriptionGap) as missing:
                await anext(events)
            assert (missing.value.first, missing.value.last) == (1, 8)
            assert [event.payload for event in await take(events, 1)] == [9]


@pytest.mark.long
async def test_a_gap_of_a_real_server(house: House) -> None:
    async with antiphon.connect(house.url, house.token) as bus:
        first, *_, last = [await bus.publish("brief.a", n) for n in range(6)]
        async with asyncio.timeout(20):
            while [info.count for info in await bus.topics("brief.*")] != [2]:
                await asyncio.sleep(0.05)
        await asyncio.to_thread(house.kill)  # its memory still had them
        await asyncio.to_thread(house.start)
        async with bus.subscribe("brief.*", after=first.cursor) as events:
            with pytest.raises(SubscriptionGap) as missing:
                await anext(events)
            assert missing.value.last < (last.seq or 0)
            assert [event.payload for event in await take(events, 2)] == [4, 5]


async def test_a_pattern_that_the_token_does_not_reach_is_refused(house: House) -> None:
    async with antiphon.connect(house.url, house.issue("ann", "ann.*")) as bus:
        with pytest.raises(Forbidden):
            await anext(bus.subscribe("bob.*"))
        with pytest.raises(Forbidden):
            await bus.publish("bob.a")
        async with bus.subscribe("*", narrow=True, start="earliest") as events:
            await bus.publish("ann.a", "mine")
            assert [event.payload for event in await take(events, 1)] == ["mine"]


# --- durable subscriptions and groups ---------------------------------------------------------


async def test_what_an_error_leaves_comes_again_and_the_rest_is_done(
    bus: RemoteBus, house: House
) -> None:
    for n in range(3):
        await bus.publish("mail.a", n)
    with pytest.raises(ValueError, match="no"):
        await fail_at(1, bus.subscribe("mail.*", durable="mail", start="earliest"))
    seen = []
    async with (
        antiphon.connect(house.url, house.token) as other,
        asyncio.timeout(20),
        other.subscribe(durable="mail") as events,
    ):
        async for event in events:
            seen.append(event.payload)
            if len(seen) == 2:
                break
    assert sorted(seen) == [1, 2], "0 was acknowledged when 1 was asked for"
    async with bus.subscribe(durable="mail") as events:
        await bus.publish("mail.a", "new")
        (event,) = await take(events, 1)
        assert event.payload == "new"
        assert events.attempt == 1
        events.nack(delay=0)
        (event,) = await take(events, 1)
        assert event.payload == "new"
        assert events.attempt == 2


async def fail_at(payload: int, events: RemoteSubscription) -> None:
    async with events:
        async for event in events:
            if event.payload == payload:
                raise ValueError("no")


async def test_a_durable_is_held_by_one_until_its_socket_ends(bus: RemoteBus, house: House) -> None:
    async with antiphon.connect(house.url, house.token) as other:
        held = other.subscribe("lease.*", durable="lease", start="earliest")
        await other.publish("lease.a", 1)
        (event,) = await take(held, 1)
        with pytest.raises(LeaseHeld):
            await anext(bus.subscribe("lease.*", durable="lease"))
    again = await until_held(bus, "lease")
    assert again == event, "it went back at once, not when a lease ran out"


async def until_held(bus: RemoteBus, name: str) -> antiphon.Event:
    async with asyncio.timeout(5):
        while True:
            try:
                return await anext(bus.subscribe(durable=name))
            except LeaseHeld:
                await asyncio.sleep(0.02)


async def test_a_group_shares_the_work(bus: RemoteBus, house: House) -> None:
    async with antiphon.connect(house.url, house.token) as other:
        members = [
            each.subscribe("work.*", group="crew", start="earliest", window=1)
            for each in (bus, other)
        ]
        done: list[int] = []
        both = asyncio.Event()
        did = set()

        async def work(number: int) -> None:
            async for event in members[number]:
                done.append(event.payload)
                did.add(number)
                if len(did) == 2:
                    both.set()
                await both.wait()  # nobody takes all before the other has come
                if len(done) == 20:
                    for member in members:
                        member.close()

        tasks = [asyncio.create_task(work(number)) for number in range(2)]
        for n in range(20):
            await bus.publish("work.a", n, key=str(n))
        async with asyncio.timeout(20):
            await asyncio.gather(*tasks)
    assert sorted(done) == list(range(20))


# --- tokens -----------------------------------------------------------------------------------


async def test_a_revoked_token_ends_publishing_and_iterating(house: House) -> None:
    links: list[str] = []
    token = house.issue("gone", "gone.*")
    async with antiphon.connect(
        house.url, token, on_link=lambda state, why: links.append(state)
    ) as bus:
        events = bus.subscribe("gone.*")
        await bus.publish("gone.a")
        await take(events, 1)
        await asyncio.to_thread(house.ask, "DELETE", "/v1/tokens/gone")
        with pytest.raises(Unauthorized):
            await take(events, 1)
        with pytest.raises(Unauthorized):
            await bus.publish("gone.a")
        assert bus.state == "ended"
        async with asyncio.timeout(10):
            while links != ["live", "ended"]:  # told once the connection is closed
                await asyncio.sleep(0.001)
    with pytest.raises(Unauthorized):
        await antiphon.connect(house.url, token).__aenter__()


async def test_another_token_takes_over_an_open_connection(house: House) -> None:
    async with antiphon.connect(house.url, house.issue("eve", "eve.*")) as bus:
        fresh = house.issue("eve", "eve.*", "more.*", replace=True, overlap_s=60)
        with pytest.raises(Unauthorized):
            await bus.refresh("anti_nonsense")
        with pytest.raises(Forbidden):
            await bus.refresh(house.issue("mallory", "eve.*"))
        await bus.refresh(fresh)
        assert (await bus.publish("more.a")).seq
        house.ask("DELETE", "/v1/tokens/mallory")
        assert [event.topic async for event in bus.history("more.*")] == ["more.a"]


# --- the server is gone -----------------------------------------------------------------------


async def kill_amid_publishes(house: House, times: int) -> None:
    links: list[str] = []
    first = await asyncio.to_thread(house.publish, "kill.begin")
    async with antiphon.connect(
        house.url, house.token, on_link=lambda state, why: links.append(state)
    ) as bus:
        events = bus.subscribe("kill.*", after=first)
        waiting = []
        for _ in range(times):
            burst = [bus.publish_nowait("kill.a", n + len(waiting)) for n in range(3000)]
            waiting += burst
            await burst[10]  # the rest is on its way, or on disk and not answered
            await asyncio.to_thread(house.kill)
            waiting += [bus.publish_nowait("kill.a", n + len(waiting)) for n in range(10)]
            await asyncio.to_thread(house.start)
        async with asyncio.timeout(30):
            await bus.flush()
        answers = [await answer for answer in waiting]
        followed = await take(events, len(waiting))
    assert links.count("live") == 1 + times
    assert [event.payload for event in followed] == list(range(len(waiting)))
    assert [event.seq for event in followed] == [answer.seq for answer in answers]
    assert len(await asyncio.to_thread(house.events, "kill.a")) >= len(waiting)


@pytest.mark.long
async def test_a_server_that_is_killed_loses_and_doubles_nothing(house: House) -> None:
    await kill_amid_publishes(house, 1)


@pytest.mark.long
async def test_a_server_that_is_killed_again_and_again_loses_and_doubles_nothing(
    house: House,
) -> None:
    await kill_amid_publishes(house, 8)


async def test_connections_that_are_cut_lose_and_double_nothing(
    bus: RemoteBus, house: House
) -> None:
    events = bus.subscribe("cut.*", start="earliest")
    waiting = []
    for burst in range(10):
        waiting += [bus.publish_nowait("cut.a", burst * 50 + n) for n in range(50)]
        await waiting[-50 + burst]
        await asyncio.to_thread(house.cut)
    followed = await take(events, 500)
    assert [event.payload for event in followed] == list(range(500))
    assert [event.seq for event in followed] == [(await each).seq for each in waiting]


async def test_nobody_there_is_said_at_once(house: House) -> None:
    with pytest.raises(antiphon.NoServer, match="no server answers"):
        await antiphon.connect("http://127.0.0.1:1").__aenter__()
    with pytest.raises(Unauthorized):
        await antiphon.connect(house.url, "wrong").__aenter__()
    with pytest.raises(BadRequest):
        antiphon.connect("ftp://nowhere")
    bus = antiphon.connect(house.url, house.token)
    with pytest.raises(BusClosed, match="async with"):
        await bus.publish("a.b")


@asynccontextmanager
async def silent(publishes: int) -> AsyncIterator[tuple[RemoteBus, Callable[[], Awaitable[None]]]]:
    """A client of a server that takes so many publishes, answers none, and goes when told to."""
    end = threading.Event()

    def script(talk: Talk) -> None:
        talk.greet()
        for _ in range(publishes):
            assert talk.take()["op"] == "pub"
        end.wait(20)
        talk.drop()

    async def go() -> None:
        end.set()
        async with asyncio.timeout(10):
            while bus.state == "live":
                await asyncio.sleep(0.01)

    server = ExitStack()
    url = server.enter_context(frame_server(script, lambda talk: talk.drop()))
    try:
        bus = await antiphon.connect(url, "token").__aenter__()
        yield bus, go
    finally:
        end.set()
        await asyncio.to_thread(server.close)


async def test_no_answer_says_whether_it_had_left() -> None:
    async with silent(1) as (bus, go):
        with pytest.raises(antiphon.NoServer, match="late-1 may be stored") as unknown:
            await bus.publish("late.a", id="late-1", timeout=0.05)
        assert unknown.value.sent
        assert bus.unanswered == 1
        await go()
        with pytest.raises(antiphon.NoServer, match="not published") as never:
            await bus.publish("late.b", timeout=0.05)
        assert not never.value.sent
        assert bus.unanswered == 1, "it was taken back"
        left = bus.publish_nowait("late.c", id="late-2")
        with pytest.raises(
            antiphon.NoServer, match="2 events were not acknowledged: late-1, late-2"
        ):
            await bus.aclose(timeout=0.05)
        assert isinstance(left.exception(), antiphon.NoServer)
        await bus.aclose()


async def test_who_flushes_waits_for_nothing_that_was_taken_back() -> None:
    async with silent(0) as (bus, go):
        await go()
        late = asyncio.create_task(bus.publish("late.b", timeout=0.05))
        while not bus.unanswered:
            await asyncio.sleep(0)
        await asyncio.wait_for(bus.flush(), 5)
        with pytest.raises(antiphon.NoServer):
            await late
        await bus.aclose()


async def test_a_closed_client_says_so_and_ends_its_readers(house: House) -> None:
    async with antiphon.connect(house.url, house.token) as bus:
        events = bus.subscribe("closed.*")
        reader = asyncio.create_task(count(events))
        await opened(bus)
    assert await asyncio.wait_for(reader, 5) == 0
    with pytest.raises(BusClosed):
        await bus.publish("closed.a")
    with pytest.raises(BusClosed):
        await bus.query("*")


async def count(events: RemoteSubscription) -> int:
    return len([event async for event in events])


async def test_a_callback_that_fails_cuts_nobody_off(house: House) -> None:
    def fail(state: str, why: str) -> None:
        raise ValueError("a fault of the program")

    async with antiphon.connect(house.url, house.token, on_link=fail) as bus:
        assert (await bus.publish("callback.a")).seq
