"""Dead letters: the event whole, whatever its size, and the same letter for the same event."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import msgspec

from antiphon.app import Core
from antiphon.bus import publish_event
from antiphon.bus.claims import Claim
from antiphon.bus.event_rules import EVENT_BYTES
from antiphon.bus.own_events import Parked, news, parked
from antiphon.messages import Event, Published

from .durable_kit import letters, take


def event(payload: object) -> Event:
    return Event(
        id="cause",
        topic="a.b",
        type="t",
        source="/s",
        principal="ann",
        time=datetime(2026, 1, 1, tzinfo=UTC),
        payload=payload,
        correlation_id="job-7",
        key="k",
        seq=12,
    )


async def test_a_dead_letter_has_the_event_as_it_was_and_says_why_it_is_there() -> None:
    original = event({"n": [1, 2.5, None]})
    data = msgspec.json.encode(original)
    future: asyncio.Future[Published] = asyncio.get_running_loop().create_future()
    pending = parked("work", Claim(12, "k", original, data, 5, "ValueError: no"), future)
    letter = msgspec.json.decode(b"{" + pending.body, type=Event)
    assert (pending.topic, letter.topic) == ("_sys.dlq.work", "_sys.dlq.work")
    assert (letter.correlation_id, letter.causation_id, letter.key) == ("job-7", "cause", "k")
    told = msgspec.json.decode(msgspec.json.encode(letter.payload), type=Parked)
    assert msgspec.json.decode(told.event) == msgspec.json.decode(data)
    assert (told.durable, told.tries, told.reason) == ("work", 5, "ValueError: no")
    again = parked("work", Claim(12, "k", original, data, 5, "other"), future)
    assert again.given == pending.given
    assert len(pending.id) <= 64


async def test_an_event_of_the_largest_size_is_parked_whole(running: Core) -> None:
    payload = "x" * (EVENT_BYTES - 300)
    holder = await running.bus.durable("n" * 64, "a.*", tries=1)
    await publish_event(running.bus, "a.b", payload)
    [got] = await take(holder, 1)
    holder.nack(got.seq or 0)
    async with asyncio.timeout(10):
        while not running.bus.durables()[0].parked:
            await asyncio.sleep(0.001)
    [letter] = await letters(running, "n" * 64)
    assert letter["event"]["payload"] == payload
    await holder.release()


def test_news_are_waited_for_by_nobody_and_never_a_repeat() -> None:
    pending = news("_sys.durables.work.expired", {"owner": "ann"})
    assert (pending.future, pending.given) == (None, None)
    assert msgspec.json.decode(b"{" + pending.body, type=Event).payload == {"owner": "ann"}
