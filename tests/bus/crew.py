"""A process that a test kills: publishes, works in a group, and says on stdout what it did.

``crew.py PATH FIRST COUNT``: publishes the numbers FIRST.. to ten topics while two members
of a group handle what is there. A line ``p SEQ`` says that an event is stored, ``h SEQ``
that one is being handled.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from antiphon.app import core
from antiphon.bus import Bus
from antiphon.stores import SqliteEventStore


async def work(bus: Bus, name: str) -> None:
    async with await bus.join("crew", "a.*", member=name, start="earliest") as member:
        async for event in member:
            print("h", event.seq, flush=True)
            await asyncio.sleep(0)
            member.ack(event.seq or 0)


async def main(path: Path, first: int, count: int) -> None:
    async with core(SqliteEventStore(path)) as running, asyncio.TaskGroup() as tasks:
        for name in ("one", "two"):
            tasks.create_task(work(running.bus, name))
        for n in range(first, first + count):
            published = await running.bus.publish_event(f"a.t{n % 10}", n)
            print("p", published.seq, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
