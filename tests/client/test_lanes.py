"""The order within a lane of a real server, through failures, while more is on its way."""

from __future__ import annotations

import asyncio

import antiphon

from .conftest import House


async def test_a_failed_event_comes_again_before_all_that_is_behind_it(house: House) -> None:
    count = 300
    handed: list[int] = []
    async with (
        asyncio.timeout(20),
        antiphon.connect(house.url, house.token) as bus,
        bus.subscribe("lane.*", durable="lane", start="earliest", window=20) as events,
    ):
        for n in range(count):
            bus.publish_nowait("lane.a", n)
        async for event in events:
            handed.append(event.payload)
            if event.payload % 10 == 0 and handed.count(event.payload) == 1:
                events.nack(delay=0)
            elif event.payload == count - 1:
                break
    twice = [n for n in range(count) for _ in range(2 if n % 10 == 0 else 1)]
    assert handed == twice
