"""``antiphon bench store``: the log's file alone, no loop and no subscribers.

Batches of rows in and pages out, on one thread, beside plain SQLite: the same rows
into one table with two indexes by ``executemany``, each batch synced.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import apsw

from antiphon.bus.store import Query, Row, Stored
from antiphon.cli.bench_disk import Figures, Progress, measured
from antiphon.ids import new_id
from antiphon.stores import SqliteEventStore

TOPICS = tuple(f"worker.bench{n:02d}" for n in range(50))
PAGE = 500


class Plan(NamedTuple):
    """How many events each part takes."""

    events: int
    large: int = 1000
    small: int = 100


FULL = Plan(1_000_000)
QUICK = Plan(100_000)


def _batch(seq: int, size: int, *, given: bool = False) -> list[Row]:
    """The next *size* events after *seq*, about 340 bytes each."""
    return [
        Row(n, TOPICS[n % len(TOPICS)], f"bench\x1f{new_id()}" if given else None, _data(n))
        for n in range(seq + 1, seq + size + 1)
    ]


def _data(seq: int) -> bytes:
    return (
        b'{"seq":%d,"recorded":"2026-11-25T10:00:00.000000Z","id":"%b","topic":"%b",'
        b'"type":"custom.event","source":"/clients/bench","principal":"bench",'
        b'"time":"2026-11-25T10:00:00.000000Z","payload":{"step":17,"text":"%b"}}'
    ) % (seq, new_id().encode(), TOPICS[seq % len(TOPICS)].encode(), b"x" * 110)


def _append(path: Path, events: int, size: int, *, given: bool = False) -> float:
    """Events a second into a new file; upkeep included."""
    store = SqliteEventStore(path)
    store.open()
    spent = 0.0
    for seq in range(0, events, size):
        rows = _batch(seq, size, given=given)
        started = time.perf_counter()
        store.append(rows, time.time_ns() // 1000)
        store.tend(idle=False)
        spent += time.perf_counter() - started
    started = time.perf_counter()
    store.close()
    return events / (spent + time.perf_counter() - started)


def _plain(path: Path, events: int, size: int) -> float:
    """The same rows by ``executemany`` into one table with two indexes, nothing else."""
    spent = 0.0
    with closing(apsw.Connection(str(path))) as db:
        db.execute(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
            "CREATE TABLE events (seq INTEGER PRIMARY KEY, topic TEXT, given TEXT, data TEXT);"
            "CREATE INDEX by_topic ON events (topic, seq); CREATE INDEX by_given ON events (given)"
        ).fetchall()
        for seq in range(0, events, size):
            rows = [(row.seq, row.topic, row.given, row.data.decode()) for row in _batch(seq, size)]
            started = time.perf_counter()
            with db:
                db.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", rows)
            spent += time.perf_counter() - started
    return events / spent


def _read(path: Path, read: Callable[[int], list[Stored]]) -> float:
    """Events a second, page after page; *read* gives those after a seq."""
    count = position = 0
    started = time.perf_counter()
    while page := read(position):
        count += len(page)
        position = page[-1].seq
    return count / (time.perf_counter() - started)


def _trim(path: Path) -> float:
    """Events a second removed, a thousand of one topic at a time."""
    store = SqliteEventStore(path)
    head = store.open().head
    count = 0
    started = time.perf_counter()
    for topic in TOPICS[:10]:
        while gone := store.trim(topic, head):
            count += gone
    rate = count / (time.perf_counter() - started)
    store.close()
    return rate


def _all(folder: Path, plan: Plan, progress: Progress) -> Figures:
    progress(f"batches of {plan.large}")
    path = folder / "log.db"
    large = _append(path, plan.events, plan.large)
    size = path.stat().st_size
    progress(f"batches of {plan.small}")
    small = _append(folder / "small.db", plan.events // 10, plan.small)
    progress("given ids")
    given = _append(folder / "given.db", plan.events // 4, plan.large, given=True)
    progress("plain SQLite")
    plain = _plain(folder / "plain.db", plan.events // 4, plan.large)
    progress("reading")
    store = SqliteEventStore(path)
    store.open()
    topic = frozenset(TOPICS[:1])
    with closing(store.reader()) as reader:
        pages = _read(path, lambda after: reader.page(after, PAGE))
        narrow = _read(
            path, lambda after: reader.select(Query(topics=topic, after=after, limit=PAGE))
        )
    store.close()
    progress("trimming")
    trimmed = _trim(path)
    return {
        "events": plan.events,
        "append_events_per_s": round(large),
        "append_small_batches_events_per_s": round(small),
        "append_given_ids_events_per_s": round(given),
        "plain_sqlite_events_per_s": round(plain),
        "ratio_to_plain_sqlite": round(large / plain, 3),
        "page_events_per_s": round(pages),
        "one_topic_events_per_s": round(narrow),
        "trim_events_per_s": round(trimmed),
        "bytes_per_event": round(size / plan.events, 1),
    }


def bench_store(*, quick: bool, folder: Path | None, progress: Progress) -> Figures:
    """Run the whole bench and return its figures.

    Args:
        quick: A tenth of the workload.
        folder: Where the files go, removed afterwards; on a disk, not in memory.

    Raises:
        StartError: *folder* is in memory.
    """
    plan = QUICK if quick else FULL

    async def work(place: Path) -> Figures:
        return await asyncio.to_thread(_all, place, plan, progress)

    return {"quick": quick, **measured(work, folder)}
