"""Two actors and a log: one publishes what it counts, the other is killed and misses nothing.

Run it: ``python examples/first_light.py``
"""

from __future__ import annotations

import asyncio

import antiphon
from antiphon import Actor, ActorContext, Bus, Child, Event, Key, Supervisor

READER: Key[str] = Key("reader")
COUNT = 100


class Reader(Actor[str]):
    """Handles each event once, whatever happens to it in between."""

    def __init__(self, bus: Bus, seen: list[int], done: asyncio.Event) -> None:
        self.bus = bus
        self.seen = seen
        self.done = done

    async def pre_start(self, ctx: ActorContext[str]) -> None:
        await antiphon.subscribe(self.bus, ctx.myself, "count.*", start="earliest")

    async def handle_event(self, event: Event, ctx: ActorContext[str]) -> None:
        self.seen.append(event.payload)
        if len(self.seen) == COUNT:
            self.done.set()


async def main() -> None:
    """Publish a hundred events while the reader is killed now and then."""
    seen: list[int] = []
    done = asyncio.Event()
    async with antiphon.open() as app:
        child = Child(READER, lambda: Reader(app.bus, seen, done))
        await app.system.supervise(Supervisor([child]))
        reader = app.system.ref(READER)
        for number in range(COUNT):
            await antiphon.publish_event(app.bus, "count.up", number)
            if number in (20, 50, 80):
                reader.kill()
        await asyncio.wait_for(done.wait(), 10)
    assert seen == list(range(COUNT)), seen
    print(f"{len(seen)} events handled, each once, by a reader that was killed meanwhile")


if __name__ == "__main__":
    asyncio.run(main())
