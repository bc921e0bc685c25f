"""What the tests of durable subscriptions share: publishing, taking, and moving the time."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from antiphon.app import Core
from antiphon.bus import Holder, publish_event
from antiphon.messages import Event
from antiphon.testing import ManualClock


async def publish(running: Core, topic: str, *payloads: Any, key: str | None = None) -> list[int]:
    futures = [publish_event(running.bus, topic, payload, key=key) for payload in payloads]
    return [(await future).seq or 0 for future in futures]


async def take(holder: Holder, count: int) -> list[Event]:
    """The next *count* events, within 10 s."""
    async with asyncio.timeout(10):
        return [await anext(holder) for _ in range(count)]


async def payloads(holder: Holder, count: int) -> list[Any]:
    return [event.payload for event in await take(holder, count)]


async def letters(running: Core, name: str) -> list[Any]:
    """The payloads of the dead letters of *name*."""
    page = await running.bus.query([f"_sys.dlq.{name}"])
    return [msgspec.json.decode(data, type=Event).payload for data in page.data]


def by_hand(running: Core) -> ManualClock:
    """Let the time of durable subscriptions stand still."""
    clock = running.log.durables.clock = ManualClock()
    return clock


def advance(clock: ManualClock, seconds: float) -> None:
    """Let *seconds* pass, and run what is due in them."""
    until = clock.now() + seconds
    while clock.fire_next(until):
        pass
    clock.set(until)
