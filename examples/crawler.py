"""A folder is indexed by a pool of workers that are killed at random, and nothing is lost.

Each file is a job. A worker reads it and publishes what it found as an event; a collector,
killed now and then too, gathers the events. What it has is compared with a plain loop's.

Run it: ``python examples/crawler.py [FOLDER] [SEED]``
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Never

import antiphon
from antiphon import Actor, ActorContext, ActorRef, Bus, Child, Event, Key, Pool, Request, Resize
from antiphon.errors import CalleeFailed

WORKERS = 4
KILL_EVERY_S = 0.005
RESTARTS = 10**6  # within five seconds, without giving up
BRIEF = antiphon.Backoff(base=0.01, cap=0.1)
SUFFIXES = {".py", ".md", ".txt", ".toml", ".html", ".js", ".ts", ".css"}


@dataclass(frozen=True, slots=True)
class Index(Request[None]):
    """Look at one file; answered when the finding is in the log."""

    file: str


POOL: Key[Index] = Key("indexers")
COLLECTOR: Key[Never] = Key("collector")


def look_at(path: Path) -> list[Any]:
    """Read a file: its hash and how many words it has."""
    data = path.read_bytes()
    return [hashlib.sha256(data).hexdigest(), len(data.split())]


class Indexer(Actor[Index]):
    """Looks, in a thread, and publishes."""

    def __init__(self, bus: Bus, folder: Path) -> None:
        self.bus = bus
        self.folder = folder

    async def handle(self, msg: Index, ctx: ActorContext[Index]) -> None:
        found = {msg.file: await ctx.offload(look_at, self.folder / msg.file)}
        # the same id each time: a job done again after a kill is published once
        event_id = hashlib.sha256(msg.file.encode()).hexdigest()
        await antiphon.publish_event(self.bus, "crawl.found", found, id=event_id)
        ctx.reply(msg, None)


class Collector(Actor[Never]):
    """Passes on each event once, however often it is killed."""

    def __init__(self, bus: Bus, seen: asyncio.Queue[Any]) -> None:
        self.bus = bus
        self.seen = seen

    async def pre_start(self, ctx: ActorContext[Never]) -> None:
        await antiphon.subscribe(self.bus, ctx.myself, "crawl.*", start="earliest")

    async def handle_event(self, event: Event, ctx: ActorContext[Never]) -> None:
        self.seen.put_nowait(event.payload)


class Coroner(Actor[ActorRef[Any]]):
    """Monitors whom it is sent, and counts how they end."""

    def __init__(self, deaths: Counter[str]) -> None:
        self.deaths = deaths

    async def handle(self, msg: ActorRef[Any], ctx: ActorContext[ActorRef[Any]]) -> None:
        ctx.monitor(msg)

    async def handle_notice(self, notice: antiphon.Notice, ctx: ActorContext[Any]) -> None:
        if isinstance(notice, antiphon.Down):
            self.deaths[type(notice.reason).__name__.lower()] += 1


async def kill_at_random(app: Any, coroner: ActorRef[Any], chance: random.Random) -> None:
    """Kill workers and the collector, and resize the pool, until cancelled."""
    while True:
        await asyncio.sleep(chance.uniform(0, KILL_EVERY_S))
        workers = [actor.key for actor in app.system.actors() if actor.parent == POOL.name]
        victim = app.system.ref(Key[Any](chance.choice([*workers, COLLECTOR.name])))
        await coroner.send(victim)
        await asyncio.sleep(0)  # let it be monitored
        victim.kill("bad luck")
        if chance.random() < 0.2:
            Pool.control(app.system.ref(POOL)).cast(Resize(chance.randint(1, 2 * WORKERS)))


async def index(pool: ActorRef[Index], file: str) -> int:
    """Have one file indexed; how many tries it took."""
    tries = 1
    while True:
        try:
            await pool.call(Index(file), timeout=None)
        except CalleeFailed:  # the worker was killed with the job in its hands
            tries += 1
        else:
            return tries


async def crawl(folder: Path, files: list[str], seed: int) -> tuple[dict[str, Any], str]:
    """Index *files* amid the killing: what was found, and how it went."""
    seen, deaths = asyncio.Queue[Any](), Counter[str]()
    async with antiphon.open() as app:
        pool = Pool(lambda: Indexer(app.bus, folder), WORKERS, intensity=RESTARTS, backoff=BRIEF)
        children: list[Child[Any]] = [
            Child(COLLECTOR, lambda: Collector(app.bus, seen), backoff=BRIEF),
            Child(POOL, pool, capacity=max(1, len(files))),
        ]
        await app.system.supervise(antiphon.Supervisor(children, intensity=RESTARTS))
        coroner = await app.system.spawn(lambda: Coroner(deaths))
        killer = asyncio.create_task(kill_at_random(app, coroner, random.Random(seed)))
        tries = await asyncio.gather(*(index(app.system.ref(POOL), file) for file in files))
        killer.cancel()
        found = [await seen.get() for _ in files]
        assert seen.empty(), "an event came twice"
    story = f"{sum(tries) - len(files)} jobs done again, ends seen: {dict(deaths)}"
    return {file: what for finding in found for file, what in finding.items()}, story


def main() -> None:
    """Crawl, compare, tell."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(antiphon.__file__).parent)
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    paths = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES)
    files = [str(path.relative_to(folder)) for path in paths if path.is_file()]
    found, story = asyncio.run(crawl(folder, files, seed))
    assert found == {file: look_at(folder / file) for file in files}
    print(f"{len(found)} files, {sum(words for _, words in found.values())} words; {story}")


if __name__ == "__main__":
    main()
