"""``antiphon bench bus``: the bus on a real SQLite file, beside its own plain limits.

One process, 50 topics, 160-byte payloads, 100 supervised subscribers that
check order and count themselves; every event is fsynced before it is
delivered. The plain limits are measured in the same run: the handlers alone
in a loop with nothing stored, and SQLite alone with the same batches.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from antiphon.actors import Actor, ActorContext, Child, Key, Supervisor
from antiphon.app import Core, core
from antiphon.bus import Access, Bus, Policy, Principal, publish_event, subscribe
from antiphon.bus.store import Row
from antiphon.cli.bench_bus_peers import installed_peers
from antiphon.cli.bench_disk import Progress, measured, percentile_ms
from antiphon.ids import new_id
from antiphon.messages import Event
from antiphon.stores import SqliteEventStore

SUBSCRIBERS = 100
UNACKNOWLEDGED = 4000
TOPICS = tuple(f"worker.bench{n:02d}" for n in range(50))
PAYLOAD = {"step": 17, "of": 400, "path": "src/antiphon/bus/log.py", "text": "x" * 90}
BENCH = Principal("bench", Access(pub=("worker.*",), sub=("worker.*",), deny=()))
SAMPLE_EVERY = 100
KEPT = 20_000
"""Events that stay under retention: two seconds of them."""


@dataclass(slots=True)
class Tally:
    """What one subscriber saw.

    Attributes:
        latencies: Seconds from the moment an event was due to the end of its handler.
    """

    count: int = 0
    last: int = 0
    disorder: int = 0
    latencies: list[float] = field(default_factory=list)


class Clocked:
    """When the sampled events were due, by correlation id; shared by all subscribers."""

    def __init__(self) -> None:
        self.due: dict[str, float] = {}
        self.on = False


class Counting(Actor[object]):
    """Checks order and count, event by event."""

    accepts = (object,)

    def __init__(self, bus: Bus, tally: Tally, clocked: Clocked) -> None:
        self.bus = bus
        self.tally = tally
        self.clocked = clocked

    async def pre_start(self, ctx: ActorContext[object]) -> None:
        await subscribe(self.bus, ctx.myself, "worker.*", principal=BENCH)

    async def handle(self, msg: object, ctx: ActorContext[object]) -> None:
        raise AssertionError("the bench sends no messages")

    async def handle_event(self, event: Event, ctx: ActorContext[object]) -> None:
        tally, seq = self.tally, event.seq
        assert seq is not None
        if seq <= tally.last:
            tally.disorder += 1
        tally.last = seq
        tally.count += 1


class Timing(Counting):
    """The same, and notes when it was done with each sampled event."""

    async def handle_event(self, event: Event, ctx: ActorContext[object]) -> None:
        tally, seq = self.tally, event.seq
        assert seq is not None
        if seq <= tally.last:
            tally.disorder += 1
        tally.last = seq
        tally.count += 1
        if event.correlation_id is not None:
            due = self.clocked.due.get(event.correlation_id)
            if due is not None:
                tally.latencies.append(time.perf_counter() - due)


class Batching(Counting):
    """The same as ``Counting``, a slice at a time."""

    async def handle_events(self, events: Sequence[Event], ctx: ActorContext[object]) -> None:
        tally = self.tally
        last = tally.last
        for event in events:
            seq: int = event.seq  # type: ignore[assignment]  # it is kept, so it has one
            if seq <= last:
                tally.disorder += 1
            last = seq
        tally.last = last
        tally.count += len(events)


@dataclass(slots=True)
class Run:
    """What one measured run gave."""

    events: int
    seconds: float
    lost: int
    disorder: int
    latencies: list[float]
    cpu_fraction: float
    batches: int

    @property
    def rate(self) -> float:
        return self.events / self.seconds


@dataclass(frozen=True, slots=True)
class Plan:
    """How long each part runs: the longer of *seconds* and *events*."""

    warm_up_s: float
    seconds: float
    events: int


FULL = Plan(5.0, 30.0, 1_000_000)
QUICK = Plan(0.5, 3.0, 100_000)


@asynccontextmanager
async def _stage(
    folder: Path, kind: type[Counting], subscribers: int, retention: Sequence[Policy] = ()
) -> AsyncIterator[tuple[Core, list[Tally], Clocked]]:
    """Log, bus and subscribers on a new file; one subscriber at least notes times."""
    clocked = Clocked()
    async with core(SqliteEventStore(folder / f"{new_id()}.db"), retention=retention) as running:
        tallies = [Tally() for _ in range(subscribers)]
        children = [
            Child(
                Key[object](f"bench/subscriber{n}"),
                lambda tally=tally, kind=kind if n else Timing: kind(  # type: ignore[misc]
                    running.bus, tally, clocked
                ),
            )
            for n, tally in enumerate(tallies)
        ]
        if children:
            await running.system.supervise(Supervisor(children), name="bench")
        yield running, tallies, clocked


async def _saturate(
    bus: Bus, plan: Plan, *, given_ids: bool, clocked: Clocked
) -> tuple[int, float]:
    """Publish as fast as acknowledgements allow; events and seconds."""
    waiting: deque[asyncio.Future[Any]] = deque()
    published = 0
    started = time.perf_counter()
    deadline = started + plan.seconds
    while published < plan.events or time.perf_counter() < deadline:
        for topic in TOPICS:
            sample = None
            if clocked.on and published % SAMPLE_EVERY == 0:
                sample = str(published)
                clocked.due[sample] = time.perf_counter()
            waiting.append(
                publish_event(
                    bus,
                    topic,
                    PAYLOAD,
                    id=new_id() if given_ids else None,
                    correlation_id=sample,
                    principal=BENCH,
                )
            )
            published += 1
            if len(waiting) >= UNACKNOWLEDGED:
                await waiting.popleft()
    for future in waiting:
        await future
    return published, time.perf_counter() - started


async def _paced(
    bus: Bus, rate: int, seconds: float, clocked: Clocked, late: list[float] | None = None
) -> int:
    """Publish *rate* events a second on schedule, whether or not anybody keeps up.

    Args:
        late: Gets for each event the seconds from when it was due until it was answered.
    """
    loop = asyncio.get_running_loop()
    waiting: deque[asyncio.Future[Any]] = deque()
    started = time.perf_counter()
    published = 0
    total = int(rate * seconds)
    while published < total:
        due_now = min(total, int((time.perf_counter() - started) * rate) + 1)
        while published < due_now:
            sample = None
            if published % SAMPLE_EVERY == 0:
                sample = str(published)
                clocked.due[sample] = started + published / rate
            topic = TOPICS[published % len(TOPICS)]
            future = publish_event(bus, topic, PAYLOAD, correlation_id=sample, principal=BENCH)
            waiting.append(future)
            if late is not None:
                future.add_done_callback(partial(_note, late, started + published / rate))
            published += 1
        while waiting and waiting[0].done():
            waiting.popleft().result()
        wake = loop.create_future()
        loop.call_later(0.001, wake.set_result, None)
        await wake
    for future in waiting:
        await future
    return published


def _note(late: list[float], due: float, _: object) -> None:
    late.append(time.perf_counter() - due)


async def _quiet(tallies: list[Tally], expected: int, deadline_s: float = 60.0) -> None:
    """Wait until every subscriber has seen *expected* events, or the deadline."""
    end = time.perf_counter() + deadline_s
    while any(tally.count < expected for tally in tallies) and time.perf_counter() < end:
        await asyncio.sleep(0.01)


async def _measure(
    folder: Path,
    plan: Plan,
    *,
    kind: type[Counting] = Counting,
    subscribers: int = SUBSCRIBERS,
    given_ids: bool = False,
    rate: int | None = None,
) -> Run:
    async with _stage(folder, kind, subscribers) as (running, tallies, clocked):
        bus = running.bus
        if rate is None:
            warm = Plan(0, plan.warm_up_s, 0)
            before, _ = await _saturate(bus, warm, given_ids=given_ids, clocked=clocked)
        else:
            before = await _paced(bus, rate, plan.warm_up_s, clocked)
        await _quiet(tallies, before)
        clocked.due.clear()
        for tally in tallies:
            tally.latencies.clear()
        batches = running.log.writer.batches
        process = time.process_time()
        clocked.on = True
        if rate is None:
            events, seconds = await _saturate(bus, plan, given_ids=given_ids, clocked=clocked)
        else:
            started = time.perf_counter()
            events = await _paced(bus, rate, plan.seconds, clocked)
            seconds = time.perf_counter() - started
        cpu = time.process_time() - process
        busy_for = seconds
        published = time.perf_counter()
        await _quiet(tallies, before + events)
        seconds += time.perf_counter() - published  # until the last one was handled
        return Run(
            events=events,
            seconds=seconds,
            lost=sum(before + events - tally.count for tally in tallies),
            disorder=sum(tally.disorder for tally in tallies),
            latencies=[late for tally in tallies for late in tally.latencies],
            cpu_fraction=cpu / busy_for,
            batches=running.log.writer.batches - batches,
        )


async def _under_retention(folder: Path, plan: Plan) -> dict[str, float]:
    """How late publishes are answered at 10,000/s, with events going as fast as they come."""
    p99 = []
    for retention in ((), (Policy(pattern="worker.*", max_count=KEPT),)):
        async with _stage(folder, Counting, 0, retention) as (running, _, clocked):
            late: list[float] = []
            await _paced(running.bus, 10_000, plan.warm_up_s, clocked)
            await _paced(running.bus, 10_000, plan.seconds, clocked, late)
            p99.append(percentile_ms(late, 0.99))
    return {
        "baseline_p99_ms": round(p99[0], 2),
        "p99_ms": round(p99[1], 2),
        "ratio": round(p99[1] / p99[0], 2),
    }


async def _handlers_alone(plan: Plan) -> float:
    """The same events handed to 100 awaited handlers in a plain loop, nothing stored: events/s."""

    class Nothing:
        async def handle_event(self, event: object, ctx: object) -> None:
            return

    handlers = [Nothing() for _ in range(SUBSCRIBERS)]
    event = object()
    done = 0
    seconds = max(1.0, plan.seconds / 3)
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        for handler in handlers:
            for _ in range(100):
                await handler.handle_event(event, None)
        done += 100
    return done / (time.perf_counter() - started)


def _sqlite_alone(folder: Path, plan: Plan, batch: int) -> float:
    """The same statement and batch size on a new file, nothing else: events/s."""
    store = SqliteEventStore(folder / f"{new_id()}.db")
    store.open()
    data = b'{"seq":1,' + b'"id":"' + new_id().encode() + b'","topic":"worker.bench01","payload":"'
    data += b"x" * 260 + b'"}'
    seq = 0
    seconds = max(1.0, plan.seconds / 3)
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        rows = [Row(seq + n + 1, TOPICS[(seq + n) % len(TOPICS)], None, data) for n in range(batch)]
        store.append(rows, time.time_ns() // 1000)
        seq += batch
    rate = seq / (time.perf_counter() - started)
    store.close()
    return rate


async def _all(folder: Path, plan: Plan, progress: Progress) -> dict[str, Any]:
    progress("100 subscribers, ids made by the server")
    main = await _measure(folder, plan)
    gc.collect()
    progress("100 subscribers, ids given")
    given = await _measure(folder, plan, given_ids=True)
    progress("100 subscribers that take slices")
    batched = await _measure(folder, plan, kind=Batching)
    progress("no subscribers")
    nobody = await _measure(folder, plan, subscribers=0)
    progress("10,000 events a second, on schedule")
    paced = await _measure(folder, plan, kind=Timing, rate=10_000)
    progress("200 events a second, on schedule")
    slow = await _measure(folder, plan, kind=Timing, rate=200)
    progress("10,000 events a second, with and without retention")
    retained = await _under_retention(folder, plan)
    progress("handlers alone")
    alone = await _handlers_alone(plan)
    batch = max(1, round(main.events / max(1, main.batches)))
    progress("SQLite alone")
    sqlite = await asyncio.to_thread(_sqlite_alone, folder, plan, batch)
    peers = {}
    for name, peer in installed_peers().items():
        progress(name)
        peers[name] = await peer(folder, max(1.0, plan.seconds / 6))
    runs = (main, given, batched, paced, slow)
    return {
        "subscribers": SUBSCRIBERS,
        "level": "synced",
        "events": main.events,
        "seconds": round(main.seconds, 2),
        "events_per_s": round(main.rate),
        "given_ids_events_per_s": round(given.rate),
        "deliveries_per_s": round(main.rate * SUBSCRIBERS),
        "p50_ms": round(percentile_ms(main.latencies, 0.50), 2),
        "p99_ms": round(percentile_ms(main.latencies, 0.99), 2),
        "at_10k": _latency(paced),
        "at_200": _latency(slow),
        "retention_at_10k": retained,
        "handlers_alone_events_per_s": round(alone),
        "ratio_to_handlers_alone": round(main.rate / alone, 3),
        "sqlite_alone_events_per_s": round(sqlite),
        "batch_handler_events_per_s": round(batched.rate),
        "no_subscribers_events_per_s": round(nobody.rate),
        "peers": peers,
        "lost": sum(run.lost for run in runs),
        "out_of_order": sum(run.disorder for run in runs),
        "batch_p50": batch,
        "rss_mib": round(psutil.Process().memory_info().rss / 2**20),
    }


def _latency(run: Run) -> dict[str, float]:
    return {
        "p50_ms": round(percentile_ms(run.latencies, 0.50), 2),
        "p99_ms": round(percentile_ms(run.latencies, 0.99), 2),
        "cpu_fraction": round(run.cpu_fraction, 3),
    }


def bench_bus(*, quick: bool, folder: Path | None, progress: Progress) -> dict[str, Any]:
    """Run the whole bench and return its figures.

    Args:
        quick: A tenth of the workload.
        folder: Where the files go, removed afterwards; on a disk, not in memory.

    Raises:
        StartError: *folder* is in memory.
    """
    plan = QUICK if quick else FULL
    return {"quick": quick, **measured(lambda place: _all(place, plan, progress), folder)}
