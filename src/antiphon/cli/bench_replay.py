"""``antiphon bench replay``: a long log read back, by one reader in the same process.

The log is filled by the store itself, then read through the bus: all of it by an
iterator and in slices, and the first page of a wildcard whose few events lie far apart.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from antiphon.app import core
from antiphon.bus import Bus, Live
from antiphon.bus.batch import Slice
from antiphon.bus.store import Row
from antiphon.cli.bench_disk import Figures, Progress, measured
from antiphon.ids import new_id
from antiphon.stores import SqliteEventStore

ROWS = 5_000_000
BATCH = 5000
RARE_EVERY = 10_000
RARE_TOPICS = 100
READ = 1_000_000
"""Most events read by each of the two readers."""
ASKED = 11


def _rows(upto: int) -> Iterator[list[Row]]:
    """Batches of events on 50 topics, one of 10,000 on one of 100 others."""
    for first in range(1, upto + 1, BATCH):
        yield [_row(seq) for seq in range(first, min(first + BATCH, upto + 1))]


def _row(seq: int) -> Row:
    rare = seq % RARE_EVERY == 0
    topic = f"rare.t{seq // RARE_EVERY % RARE_TOPICS}" if rare else f"worker.bench{seq % 50:02d}"
    data = (
        b'{"seq":%d,"recorded":"2026-11-25T10:00:00.000000Z","id":"%b","topic":"%b",'
        b'"type":"custom.event","source":"/clients/bench","principal":"bench",'
        b'"time":"2026-11-25T10:00:00.000000Z","payload":{"step":17,"text":"%b"}}'
    ) % (seq, new_id().encode(), topic.encode(), b"x" * 110)
    return Row(seq, topic, None, data)


def _fill(path: Path, rows: int) -> None:
    store = SqliteEventStore(path)
    store.open()
    for batch in _rows(rows):
        store.append(batch, time.time_ns() // 1000)
        store.tend(idle=False)
    store.close()


async def _by_iterator(bus: Bus, count: int) -> float:
    """Events a second."""
    left = count
    started = time.perf_counter()
    async with bus.events("*", start="earliest") as events:
        async for _ in events:
            left -= 1
            if not left:
                break
    return count / (time.perf_counter() - started)


async def _by_slices(bus: Bus, count: int) -> float:
    """Events a second, decoded, a slice at a time."""
    ready = asyncio.Event()
    subscription = bus.open_subscription(["*"], start="earliest", on_ready=ready.set)
    seen = 0
    started = time.perf_counter()
    while seen < count:
        taken = subscription.take()
        if isinstance(taken, Slice):
            seen += len(taken.events)
        elif isinstance(taken, Live):
            break
        else:
            await ready.wait()
            ready.clear()
    rate = seen / (time.perf_counter() - started)
    subscription.close()
    return rate


async def _first_page_ms(bus: Bus, pattern: str, order: str) -> float:
    """The median of several times; the first one warms the file."""
    times = []
    for _ in range(ASKED):
        started = time.perf_counter()
        page = await bus.query([pattern], order=order, limit=100)
        times.append(time.perf_counter() - started)
        assert page.data, pattern
    return statistics.median(times) * 1000


async def _all(folder: Path, rows: int, progress: Progress) -> Figures:
    path = folder / "log.db"
    progress(f"filling a log with {rows:,} events")
    await asyncio.to_thread(_fill, path, rows)
    started = time.perf_counter()
    async with core(SqliteEventStore(path)) as running:
        opened = time.perf_counter() - started
        bus = running.bus
        count = min(rows, READ)
        progress("an iterator")
        iterated = await _by_iterator(bus, count)
        progress("slices")
        sliced = await _by_slices(bus, count)
        progress("a sparse wildcard")
        return {
            "rows": rows,
            "open_s": round(opened, 3),
            "events_per_s": round(iterated),
            "slices_events_per_s": round(sliced),
            "sparse_first_page_ms": round(await _first_page_ms(bus, "rare.*", "asc"), 2),
            "sparse_last_page_ms": round(await _first_page_ms(bus, "rare.*", "desc"), 2),
            "one_rare_topic_ms": round(await _first_page_ms(bus, "rare.t7", "asc"), 2),
        }


def bench_replay(*, quick: bool, folder: Path | None, progress: Progress) -> Figures:
    """Run the whole bench and return its figures.

    Args:
        quick: A tenth of the workload.
        folder: Where the files go, removed afterwards; on a disk, not in memory.

    Raises:
        StartError: *folder* is in memory.
    """
    rows = ROWS // 10 if quick else ROWS
    return {"quick": quick, **measured(lambda place: _all(place, rows, progress), folder)}
