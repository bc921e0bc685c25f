"""What a client says of events and publishes reaches the server, also at its end."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

import antiphon
from antiphon.client import Batch, Endpoint, Tail
from antiphon.client.following import Following
from antiphon.client.frames import Frame
from antiphon.client.outbox import Outbox
from antiphon.client.remote import RemoteBus
from antiphon.client.session import ACK_IDLE_S, Session
from antiphon.errors import InvalidTopic, Overloaded
from antiphon.messages import EventIn, Published

from .conftest import House
from .servers import Talk, frame_server
from .test_following import ev, said, seq_of, sub

NO_ROOM = {"code": "overloaded", "message": "too much waits", "retry_after_ms": 10}


def connected(house: House) -> RemoteBus:
    return antiphon.connect(house.url, house.token)


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not done():
            await asyncio.sleep(0.01)


def durable(house: House, name: str) -> Any:
    (found,) = [one for one in house.ask("GET", "/v1/durables") if one["name"] == name]
    return found


# --- acknowledging ----------------------------------------------------------------------------


async def test_the_last_acknowledgement_leaves_before_the_connection_does(house: House) -> None:
    async with connected(house) as bus, bus.subscribe("leave.*", durable="leave") as events:
        told = await bus.publish("leave.a")
        await anext(events)
    assert durable(house, "leave")["position"] >= (told.seq or 0)


async def test_an_event_that_fails_on_the_way_out_counts_as_failed(house: House) -> None:
    with pytest.raises(ValueError, match="poison"):
        await take_poison(house)
    await until(lambda: durable(house, "fail")["parked"] == 1)


async def take_poison(house: House) -> None:
    async with connected(house) as bus, bus.subscribe("fail.*", durable="fail", tries=1) as events:
        await bus.publish("fail.a")
        await anext(events)
        raise ValueError("poison")


async def test_several_are_handled_at_a_time_and_each_is_acknowledged_alone(house: House) -> None:
    async with connected(house) as bus:
        for n in range(3):
            await bus.publish("each.a", n, key=str(n))
        async with bus.subscribe(
            "each.*", durable="each", start="earliest", auto_ack=False
        ) as events:
            first, second, third = [await anext(events) for _ in range(3)]
            events.ack(third)
            events.nack(first, delay=0)
            again = await anext(events)
            assert again == first
            events.ack(again)
        async with bus.subscribe(durable="each") as events:
            assert await anext(events) == second, "nobody said that it was handled"


def test_what_is_behind_a_failed_event_is_not_in_hand_any_more() -> None:
    following = Following("s1", (), durable="d")
    sub(following)
    following.events(ev(1, 2))
    first, second = following.next(), following.next()
    assert isinstance(first, antiphon.Event)
    assert isinstance(second, antiphon.Event)
    assert said(following.failed(0, "no", first)) is not None
    assert following.handled(second) is None
    assert following.handled(first) is None
    following.events(ev(1))
    assert seq_of(following.next()) == 1
    assert said(following.handled(first)) == {"op": "ack", "sid": "s1", "seq": 1}


def test_what_was_handled_is_acknowledged_in_a_quiet_moment() -> None:
    session = Session("token", Outbox(), news=lambda _: None)
    following = Following("s1", ("*",))
    session.follow(following)
    session.connected()
    session.frames(0.0)
    welcome = {"op": "welcome", "conn": "c", "epoch": "e1", "head": 0, "ping_ms": 25_000}
    limits = dict.fromkeys(
        ("frame_bytes", "event_bytes", "subscriptions", "patterns", "publish_events", "window"), 9
    )
    session.receive(msgspec.convert({**welcome, "limits": limits}, Frame), 0.0)
    session.frames(0.0)
    following.events(ev(1, 2))
    following.next()
    assert session.handled(following, following.handled(), 1.0), "the writer is to look again"
    following.next()
    assert not session.handled(following, following.handled(), 1.1), "once is enough"
    assert session.deadline == 1.0 + ACK_IDLE_S
    assert session.frames(1.0) == []
    (frame,) = session.frames(1.0 + ACK_IDLE_S)
    assert said(frame) == {"op": "ack", "sid": "s1", "seq": 2}
    assert session.deadline is None


async def test_a_reader_who_pauses_owes_the_server_nothing(house: House) -> None:
    async with connected(house) as bus, bus.subscribe("owe.*", start="earliest") as events:
        for n in range(3):
            await bus.publish("owe.a", n)
        for _ in range(3):
            await anext(events)
        waiting = asyncio.ensure_future(anext(events))

        def unacked() -> list[int]:
            open_now = house.ask("GET", "/v1/subscriptions")
            return [one["unacked"] for one in open_now if one["patterns"] == ["owe.*"]]

        await until(lambda: unacked() == [0])
        await bus.publish("owe.a", "end")
        assert (await waiting).payload == "end"


# --- publishing -------------------------------------------------------------------------------


async def test_many_are_published_in_order_each_with_what_became_of_it(house: House) -> None:
    events = [EventIn(topic="pile.a", payload=n) for n in range(1500)]
    events[7] = EventIn(topic="pile..a")
    async with antiphon.connect(house.url, house.token, most_events=400) as bus:
        results = await bus.publish_many(events)
        assert isinstance(results.pop(7), InvalidTopic)
        assert all(isinstance(one, Published) for one in results)
        payloads = [event.payload async for event in bus.history("pile.*")]
    assert payloads == [n for n in range(1500) if n != 7]
    assert await published_nowhere() == [antiphon.NoServer] * 3


async def published_nowhere() -> list[type]:
    """What becomes of three publishes that a server takes and never answers."""

    def mute(talk: Talk) -> None:
        talk.greet()
        talk.wait_for_end()

    with frame_server(mute) as url:
        bus = await antiphon.connect(url, "token", most_events=2).__aenter__()
        results = await bus.publish_many([EventIn(topic="a")] * 3, timeout=0.05)
        with pytest.raises(antiphon.NoServer):
            await bus.aclose(timeout=0)
    sent = [one.sent for one in results if isinstance(one, antiphon.NoServer)]
    assert sent == [True, True, False]
    return [type(one) for one in results]


async def test_a_server_without_room_is_asked_again_until_the_time_is_over() -> None:
    asked: list[str] = []

    def full(talk: Talk) -> None:
        talk.greet()
        while len(asked) < 3:
            frame = talk.take()
            asked.append(frame["events"][0]["id"])
            talk.say(op="err", id=frame["id"], **NO_ROOM)
        frame = talk.take()
        talk.say(op="ok", id=frame["id"], results=[{"id": "a", "seq": 1}])
        frame = talk.take()
        talk.say(op="err", id=frame["id"], **{**NO_ROOM, "retry_after_ms": 60_000})
        talk.wait_for_end()

    with frame_server(full) as url:
        async with antiphon.connect(url, "token") as bus:
            assert (await bus.publish("a", id="one")).seq == 1
            assert asked == ["one"] * 3
            with pytest.raises(Overloaded, match="too much waits"):
                await bus.publish("a", id="two", timeout=0.1)
            assert bus.unanswered == 0, "the server had said that it was not stored"


async def test_a_page_says_where_what_follows_it_begins(house: House) -> None:
    async with connected(house) as bus:
        for n in range(3):
            await bus.publish("page.a", n)
        page = await bus.query("page.*", limit=2)
        async with bus.subscribe("page.*", after=page.cursor) as events:
            seen = [event.payload for event in page.events] + [(await anext(events)).payload]
        assert seen == [0, 1, 2]
        assert page.next is not None


# --- tails ------------------------------------------------------------------------------------


def test_an_interrupted_tail_may_go_on(house: House) -> None:
    with antiphon.connect_sync(house.url, house.token) as bus:
        tail = Tail(lambda: Endpoint(house.url, house.token), ["tail.*"])
        assert next(tail).kind == "live"  # type: ignore[union-attr]
        at = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
        at.start()
        with pytest.raises(KeyboardInterrupt):
            next(tail)
        told = bus.publish("tail.a")
        item = next(tail)
        assert isinstance(item, Batch)
        assert f'"seq":{told.seq},'.encode() in item.events[0]
        assert tail.cursor != item.cursor, "the reader has it in hand still"
        tail.close()


def test_notices_that_nobody_reads_do_not_pile_up() -> None:
    following = Following("s1", ("*",), tells=True)
    for connection in range(50):
        sub(following)
        following.opened("e1.0")
        following.live()
        following.lost(f"{connection}")
    found = []
    while (notice := following.next()) is not None:
        found.append(notice)
    assert [one.kind for one in found] == ["back", "live", "lost"]  # type: ignore[union-attr]
