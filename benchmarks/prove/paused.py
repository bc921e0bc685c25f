"""A hundred subscribers stand still while events come, and catch up while more come."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiphon.actors import Actor, ActorContext, Child, Key, Supervisor
from antiphon.app import Core, core
from antiphon.app.core import SWITCH_S
from antiphon.bus import Bus, publish_event, subscribe
from antiphon.messages import Event
from antiphon.stores import SqliteEventStore

TOPICS = tuple(f"worker.w{n:02d}" for n in range(50))
PAYLOAD = {"step": 17, "of": 400, "path": "src/antiphon/bus/log.py", "text": "x" * 90}
ATTACHED_EVENTS = 1000
"""A reader this close to the head has caught up: a tenth of a second of events."""
DEADLINE_S = 60.0


@dataclass(slots=True)
class Place:
    """How far one subscriber came, and whether every event came once and in order."""

    last: int = 0
    count: int = 0
    disorder: int = 0


class Reader(Actor[object]):
    """Handles an event only while the gate is open."""

    accepts = (object,)

    def __init__(self, bus: Bus, gate: asyncio.Event, place: Place) -> None:
        self.bus = bus
        self.gate = gate
        self.place = place

    async def pre_start(self, ctx: ActorContext[object]) -> None:
        await subscribe(self.bus, ctx.myself, "worker.*")

    async def handle(self, msg: object, ctx: ActorContext[object]) -> None:
        """Nothing is sent."""

    async def handle_event(self, event: Event, ctx: ActorContext[object]) -> None:
        if not self.gate.is_set():
            await self.gate.wait()
        place, seq = self.place, event.seq or 0
        if seq <= place.last:
            place.disorder += 1
        place.last = seq
        place.count += 1


async def publish_paced(bus: Bus, rate: int, until: asyncio.Event) -> int:
    """Publish *rate* events a second on schedule until told to end; how many."""
    started, published = time.monotonic(), 0
    waiting: list[asyncio.Future[Any]] = []
    while not until.is_set():
        due = int((time.monotonic() - started) * rate)
        waiting += [
            publish_event(bus, TOPICS[n % len(TOPICS)], PAYLOAD) for n in range(published, due)
        ]
        published = max(published, due)
        if len(waiting) > rate:
            await asyncio.gather(*waiting)
            waiting.clear()
        await asyncio.sleep(0.002)
    await asyncio.gather(*waiting)
    return published


async def _stage(running: Core, subscribers: int, paused_s: float, rate: int) -> dict[str, Any]:
    gate, end = asyncio.Event(), asyncio.Event()
    gate.set()
    places = [Place() for _ in range(subscribers)]
    children = list(_children(running.bus, gate, places))
    await running.system.supervise(Supervisor(children), name="readers")
    publisher = asyncio.create_task(publish_paced(running.bus, rate, end))
    try:
        await asyncio.sleep(1)
        gate.clear()
        await asyncio.sleep(paused_s)
        behind = running.log.head - min(place.last for place in places)
        gate.set()
        released = time.monotonic()
        caught_up = await _caught_up(running, places, released)
    finally:
        end.set()
    published = await publisher
    quiet = time.monotonic() + DEADLINE_S
    while any(place.count < published for place in places) and time.monotonic() < quiet:
        await asyncio.sleep(0.01)
    missing = sum(published - place.count for place in places)
    disorder = sum(place.disorder for place in places)
    return {
        "subscribers": subscribers,
        "events_per_s": rate,
        "paused_s": paused_s,
        "behind_events": behind,
        "all_live_after_s": None if caught_up is None else round(caught_up, 2),
        "events": published,
        "missing": missing,
        "out_of_order": disorder,
        "held": caught_up is not None and not missing and not disorder,
    }


def _children(bus: Bus, gate: asyncio.Event, places: list[Place]) -> Iterator[Child[Any]]:
    for n, place in enumerate(places):
        yield Child(
            Key[object](f"readers/r{n}"),
            lambda place=place: Reader(bus, gate, place),  # type: ignore[misc]
        )


async def _caught_up(running: Core, places: list[Place], released: float) -> float | None:
    """Seconds until every reader is at the head while more comes; None: not in time."""
    while time.monotonic() - released < DEADLINE_S:
        if min(place.last for place in places) >= running.log.head - ATTACHED_EVENTS:
            return time.monotonic() - released
        await asyncio.sleep(0.01)
    return None


def run(subscribers: int = 100, paused_s: float = 10.0, rate: int = 10_000) -> dict[str, Any]:
    """Pause all of them for *paused_s*, then let go, with the publisher still on."""
    sys.setswitchinterval(SWITCH_S)

    async def work(folder: Path) -> dict[str, Any]:
        async with core(SqliteEventStore(folder / "log.db")) as running:
            return await _stage(running, subscribers, paused_s, rate)

    with tempfile.TemporaryDirectory(prefix="antiphon-paused-") as made:
        import uvloop

        return uvloop.run(work(Path(made)))
