"""A damaged log made whole: every event that can still be read, in a new file.

The events come from the pages themselves (``carve.py``), whatever became of the tree
that held them. What else the log knew (topics, epochs, durable subscriptions, which
seqs there were) is taken from the old tables as far as they can be read. What is lost
becomes a gap for readers of the topics it may have belonged to.

Cursors go on where they were. Only one past the last seq that is known gets ``reset``:
for a file that wasn't closed in order, seqs go on far behind that, so that none which
was handed out is given again.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from antiphon.bus.store import StoreUnavailable
from antiphon.errors import AntiphonError
from antiphon.ids import new_epoch
from antiphon.stores.sqlite import damage
from antiphon.stores.sqlite.carve import Carved, carve
from antiphon.stores.sqlite.copying import Progress, free_bytes, sync_folder
from antiphon.stores.sqlite.failures import DAMAGE, meanings
from antiphon.stores.sqlite.pages import PAGE_BYTES, FilePages
from antiphon.stores.sqlite.schema import SCHEMA, connect, connect_readonly, rows, value
from antiphon.stores.sqlite.store import SqliteEventStore

logger = logging.getLogger(__name__)

ROOM = 1_000_000
"""Seqs left out where the last ones may have been lost."""
MAGIC = b"SQLite format 3\0"
HEADER_BYTES = 100
BATCH = 1000
PAGES_TOLD = 1000

_LOST = "CREATE TEMP TABLE lost (topic_id INTEGER, low INTEGER NOT NULL, high INTEGER NOT NULL)"
_STALE = """
DELETE FROM events WHERE seq <= ? AND NOT EXISTS (
    SELECT 1 FROM was WHERE was.seq = events.seq
)
"""
_LOST_BY_INDEX = """
INSERT INTO lost SELECT topic_id, seq, seq FROM was WHERE seq NOT IN (SELECT seq FROM events)
"""
# Where nothing says which seqs there were, each one that is missing may be lost.
_LOST_RUNS = """
INSERT INTO lost SELECT NULL, before + 1, seq - 1 FROM (
    SELECT seq, lag(seq, 1, :low) OVER (ORDER BY seq) AS before FROM (
        SELECT seq FROM events WHERE seq > :low UNION ALL SELECT :head + 1
    )
) WHERE seq > before + 1
"""
_MARK = """
UPDATE topics SET trimmed_upto = max(trimmed_upto, coalesce(
    (SELECT max(high) FROM lost WHERE lost.topic_id IS NULL OR lost.topic_id = topics.topic_id), 0
))
"""
_RANGES = """
SELECT min(low), max(high) FROM (
    SELECT low, high, sum(begins) OVER (ORDER BY low) AS run FROM (
        SELECT low, high, low > 1 + lag(high, 1, -1) OVER (ORDER BY low) AS begins FROM lost
    )
) GROUP BY run ORDER BY 1
"""


class Repaired(NamedTuple):
    """What a repair saved.

    Attributes:
        lost: Ranges of seqs, both ends included, that are missing and may have been events.
        head: The last seq that is known to have been given.
        kept: The damaged file.
    """

    saved: int
    lost: list[tuple[int, int]]
    head: int
    kept: Path


@dataclass(slots=True)
class _Known:
    """What the damaged file still says, besides its events.

    Attributes:
        whole: Names of the tables that could be read to their ends.
    """

    meta: dict[str, int] = field(default_factory=dict)
    epochs: list[tuple[str, int]] = field(default_factory=list)
    topics: list[tuple[int, str, int, int, int]] = field(default_factory=list)
    subs: list[tuple[str, str]] = field(default_factory=list)
    index: list[tuple[int, int]] = field(default_factory=list)
    whole: set[str] = field(default_factory=set)

    @property
    def closed(self) -> bool:
        """Whether its last owner wrote down the head and closed it in order."""
        return "meta" in self.whole and self.meta.get("clean") == 1

    @property
    def trusts_index(self) -> bool:
        """Whether the index says of every seq up to ``indexed`` if there was an event."""
        counted = sum(count for _, _, count, _, _ in self.topics)
        tables = {"meta", "topics", "by_topic"}
        return tables <= self.whole and counted == len(self.index)

    @property
    def head(self) -> int:
        """The last seq that any table names."""
        return max(
            0,
            self.meta.get("head", 0),
            self.meta.get("indexed", 0),
            *(first - 1 for _, first in self.epochs),
            *(max(last, trimmed) for _, _, _, last, trimmed in self.topics),
            *(seq for _, seq in self.index),
        )


def repair(log: Path, *, progress: Progress | None = None) -> Repaired:
    """Put a new file with all that can be read in the place of *log*; nobody may have it open.

    The damaged file stays beside it, as ``log.damaged-TIME.db``, with its WAL.

    Args:
        progress: Told how many pages were read.

    Raises:
        AntiphonError: There is no log.
        StoreUnavailable: There is no room, or the disk refuses; *log* is as it was.
    """
    if not log.exists():
        raise AntiphonError(f"there is no log to repair: {log} is missing")
    _take_up_wal(log)
    size = sum(path.stat().st_size for path in (log, _wal(log)) if path.exists())
    if not _opens(log):
        size *= 2  # for a while there is a copy, too
    free = free_bytes(log.parent)
    if free < size:
        raise StoreUnavailable(
            f"the repair needs {size} bytes in {log.parent}, and {free} are free"
        )
    new = log.with_name(f"{log.stem}.repaired{log.suffix}")
    _remove(new)
    with meanings(new):
        saved, lost, head = _rebuild(new, _read_known(log), log, progress)
        store = SqliteEventStore(new)  # fills index, counts and marks
        store.open()
        store.close()
    kept = _swap(log, new)
    damage.forget(log)
    return Repaired(saved, lost, head, kept)


# --- what the old file says -----------------------------------------------------------------


def _read_known(log: Path) -> _Known:
    """Read it from the file; where SQLite would read none of it, from a copy that it reads."""
    if _opens(log):
        return _read_tables(log)
    header = _header(log)
    copy = log.with_name(f"{log.stem}.copied{log.suffix}")
    _remove(copy)
    try:
        for path, to in ((log, copy), (_wal(log), _wal(copy))):
            if path.exists():
                shutil.copyfile(path, to)
        if header is None:
            _give_first_page(copy)
        else:
            os.truncate(copy, _whole_bytes(header))
        known = _read_tables(copy)
    finally:
        _remove(copy)
    return known if 1 <= known.meta.get("schema", 0) <= SCHEMA else _Known()


def _opens(log: Path) -> bool:
    """Whether the file has its header, and is as long as that says."""
    header = _header(log)
    return header is not None and _whole_bytes(header) <= log.stat().st_size


def _header(log: Path) -> bytes | None:
    """The first bytes of the file; None if they are not SQLite's."""
    with log.open("rb") as file:
        header = file.read(HEADER_BYTES)
    return header if header.startswith(MAGIC) and len(header) == HEADER_BYTES else None


def _whole_bytes(header: bytes) -> int:
    """How long the file is to be."""
    size = int.from_bytes(header[16:18], "big")
    return int.from_bytes(header[28:32], "big") * (65536 if size == 1 else size)


def _give_first_page(copy: Path) -> None:
    """Put a new log's first page there: but for its counts it is the same in all logs."""
    fresh = copy.with_name(f"{copy.stem}.fresh{copy.suffix}")
    _remove(fresh)
    connect(fresh).close()
    first = bytearray(fresh.read_bytes()[:PAGE_BYTES])
    _remove(fresh)
    pages = -(-copy.stat().st_size // PAGE_BYTES)
    first[28:32] = pages.to_bytes(4, "big")
    first[32:40] = bytes(8)  # no free pages: they are found only from the lost page
    with copy.open("r+b") as file:
        file.write(first)
        file.truncate(pages * PAGE_BYTES)


def _read_tables(log: Path) -> _Known:
    known = _Known()
    db = connect_readonly(log)
    try:
        known.meta = dict(_read(db, known, "meta", "SELECT key, value FROM meta"))
        known.epochs = _read(
            db, known, "epochs", "SELECT epoch, first_seq FROM epochs ORDER BY number"
        )
        known.topics = _read(
            db,
            known,
            "topics",
            "SELECT topic_id, name, count, last_seq, trimmed_upto FROM topics NOT INDEXED",
        )
        known.subs = _read(db, known, "subs", "SELECT name, data FROM subs")
        known.index = _read(db, known, "by_topic", "SELECT topic_id, seq FROM by_topic")
    finally:
        db.close(True)
    return known


def _read(db: apsw.Connection, known: _Known, table: str, sql: str) -> list[Any]:
    """As many rows as can be read; the table is whole if that is all of them."""
    found: list[Any] = []
    try:
        found.extend(db.execute(sql))
        if value(db, f"PRAGMA quick_check({table})") == "ok":
            known.whole.add(table)
    except (*DAMAGE, apsw.SQLError) as error:
        logger.info("%s could be read in part only: %s", table, error)
    return found


# --- the new file ---------------------------------------------------------------------------


def _rebuild(
    new: Path, known: _Known, log: Path, progress: Progress | None
) -> tuple[int, list[tuple[int, int]], int]:
    db = connect(new)
    try:
        db.execute("PRAGMA synchronous = OFF").fetchall()  # nobody has it before it is synced
        with db:
            db.executemany(
                "INSERT OR IGNORE INTO topics (topic_id, name, last_seq, trimmed_upto)"
                " VALUES (?, ?, ?, ?)",
                [(i, name, last, trimmed) for i, name, _, last, trimmed in known.topics],
            )
            db.executemany("INSERT OR IGNORE INTO subs (name, data) VALUES (?, ?)", known.subs)
        with FilePages(log) as pages:
            _copy_events(db, _events(pages, progress))
        head = _find_lost(db, known)
        with db:
            _write_down(db, known, head)
        saved = value(db, "SELECT count(*) FROM events")
        lost = [(low, high) for low, high in rows(db, _RANGES)]
        db.execute("PRAGMA synchronous = FULL; PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        db.close()
    return saved, lost, head


def _events(pages: FilePages, progress: Progress | None) -> Iterator[Carved]:
    for number, page in pages.in_use():
        if progress is not None and number % PAGES_TOLD == 0:
            progress(number, pages.count)
        yield from carve(page, number, pages.read)
    if progress is not None:
        progress(pages.count, pages.count)


def _copy_events(db: apsw.Connection, events: Iterator[Carved]) -> None:
    ids: dict[str, int] = dict(rows(db, "SELECT name, topic_id FROM topics"))
    while batch := list(islice(events, BATCH)):
        with db:
            for event in batch:
                if event.topic not in ids:
                    db.execute("INSERT INTO topics (name) VALUES (?)", (event.topic,))
                    ids[event.topic] = db.last_insert_rowid()
            db.executemany(
                "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, CAST(? AS TEXT))",
                [(e.seq, ids[e.topic], e.ts, e.given, e.data) for e in batch],
            )


def _find_lost(db: apsw.Connection, known: _Known) -> int:
    """Fill the table of what is lost; the last seq that is known to have been given."""
    db.execute(_LOST)
    low = 0
    if known.trusts_index:
        low = known.meta["indexed"]
        db.execute("CREATE TEMP TABLE was (seq INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL)")
        db.executemany("INSERT OR IGNORE INTO was (topic_id, seq) VALUES (?, ?)", known.index)
        db.execute(_STALE, (low,))
        db.execute(_LOST_BY_INDEX)
    head: int = max(known.head, value(db, "SELECT max(seq) FROM events") or 0)
    db.execute(_LOST_RUNS, {"low": low, "head": head})
    return head


def _write_down(db: apsw.Connection, known: _Known, head: int) -> None:
    """Tell readers of what is lost, and of what may have been after the last known seq."""
    epochs = known.epochs if "epochs" in known.whole else []
    if "topics" not in known.whole and value(db, "SELECT 1 FROM lost LIMIT 1"):
        epochs = []  # a topic may be lost with all its events: only a reset tells its readers
    epochs = [*epochs, (new_epoch(), head + 1)]
    goes_on = head if known.closed else head + ROOM
    recorded = max(known.meta.get("recorded", 0), value(db, "SELECT max(ts) FROM events") or 0)
    db.execute(_MARK)
    if goes_on > head:
        db.execute("UPDATE topics SET trimmed_upto = max(trimmed_upto, ?)", (goes_on,))
    db.executemany(
        "UPDATE meta SET value = ?2 WHERE key = ?1", [("head", goes_on), ("recorded", recorded)]
    )
    db.execute("INSERT INTO meta VALUES ('gone_upto', ?)", (known.meta.get("gone_upto", 0),))
    db.executemany("INSERT OR IGNORE INTO epochs (epoch, first_seq) VALUES (?, ?)", epochs)


# --- files ----------------------------------------------------------------------------------


def _swap(log: Path, new: Path) -> Path:
    """Put *new* in the place of *log*, which keeps its content under another name."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    kept = log.with_name(f"{log.stem}.damaged-{stamp}{log.suffix}")
    damage.note(log, f"{log}: its repair was broken off; run antiphon doctor --repair")
    with new.open("rb") as file:
        os.fsync(file.fileno())
    os.link(log, kept)
    if _wal(log).exists():
        os.link(_wal(log), _wal(kept))
    sync_folder(log.parent)
    # A WAL that stayed would be taken for the new file's.
    _wal(log).unlink(missing_ok=True)
    log.with_name(f"{log.name}-shm").unlink(missing_ok=True)
    new.replace(log)
    sync_folder(log.parent)
    return kept


def _take_up_wal(log: Path) -> None:
    """Give *log* its WAL back, if a repair was killed after it had been put aside."""
    for kept in log.parent.glob(f"{log.stem}.damaged-*{log.suffix}"):
        if kept.samefile(log) and _wal(kept).exists() and not _wal(log).exists():
            os.link(_wal(kept), _wal(log))


def _wal(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).unlink()
