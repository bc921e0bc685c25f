"""The writing side of the log's file: one connection, one thread, whole batches.

A batch is one statement. SQLite gives up the GIL at each step, and beside a busy
loop it may take 5 ms to get it back; so rows travel as one JSON text of numbers and
one blob of all data, from which SQLite cuts each row's bytes unread.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import apsw
import msgspec

from antiphon.bus.store import (
    Epoch,
    Opened,
    Removed,
    Row,
    StoreCorrupt,
    Stored,
    StoreReader,
    StoreUnavailable,
    TopicState,
)
from antiphon.errors import StartError
from antiphon.ids import new_epoch
from antiphon.stores.sqlite import damage, removal
from antiphon.stores.sqlite.failures import DAMAGE, REFUSALS, meanings
from antiphon.stores.sqlite.places import refuse_network
from antiphon.stores.sqlite.reader import SqliteStoreReader
from antiphon.stores.sqlite.schema import (
    BUSY_MS,
    GONE,
    HEAD,
    RECORDED,
    WAL_LIMIT,
    connect,
    rows,
    value,
)

logger = logging.getLogger(__name__)

INDEX_S = 0.2
"""How often the deferred index is filled while events come."""
INDEX_ROWS = 20_000
"""Most rows of one such step."""
MARK_US = 1_000_000
VACUUM_PAGES = 256
"""Pages given back to the file system in one step after a trim."""
TRUNCATE_S = 5.0
"""Shortest time between two tries to empty the WAL."""
CHECKPOINT_WAIT_MS = 100
"""How long such a try waits for readers."""

_INSERT = """
INSERT INTO events (seq, topic_id, ts, given_id, data)
SELECT value ->> 0, value ->> 1, ?1, value ->> 2,
    CAST(substr(?3, value ->> 3, value ->> 4) AS TEXT)
FROM json_each(?2)
"""
_INTERN = "INSERT INTO topics (topic_id, name) SELECT value ->> 0, value ->> 1 FROM json_each(?)"
_FIND_GIVEN = """
SELECT key, seq, CAST(data AS BLOB)
FROM json_each(?) CROSS JOIN events ON topic_id = value ->> 0 AND given_id = value ->> 1
"""
_INDEX = """
INSERT INTO by_topic SELECT topic_id, seq FROM events
WHERE seq > ?1 AND seq <= ?2 ORDER BY topic_id, seq
"""
_COUNT = """
UPDATE topics SET
    count = count + n,
    bytes = bytes + size,
    first_seq = CASE WHEN first_seq = 0 THEN low ELSE first_seq END,
    last_seq = high
FROM (
    SELECT topic_id AS id, count(*) AS n, sum(octet_length(data)) AS size,
        min(seq) AS low, max(seq) AS high
    FROM events WHERE seq > ?1 AND seq <= ?2 GROUP BY topic_id
)
WHERE topic_id = id
"""
_TOPICS = """
SELECT name, count, bytes, first_seq, last_seq, trimmed_upto, compacted_upto FROM topics
"""
_LAST = """
SELECT name, coalesce(
    (SELECT seq FROM events WHERE seq > ?1 AND events.topic_id = topics.topic_id
        ORDER BY seq DESC LIMIT 1),
    last_seq)
FROM json_each(?2) JOIN topics ON name = value
"""
_SET = "UPDATE meta SET value = ?2 WHERE key = ?1"

_encode = msgspec.json.Encoder().encode


class SqliteEventStore:
    """Keeps events in one SQLite file with a WAL; every batch is synced before it counts.

    Args:
        path: The file; made if it isn't there. Its folder must exist, on a local disk.
        monotonic: Seconds, for the pace of upkeep.

    Raises:
        StartError: By ``open``: the file can't be used as a log; a person must act.
        StoreUnavailable, StoreCorrupt, GivenIdTaken: As the port says.
    """

    def __init__(self, path: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self._monotonic = monotonic
        self._db: apsw.Connection | None = None
        self._file: tuple[int, int] | None = None  # device and inode of the one that was opened
        self._ids: dict[str, int] = {}
        self._last_topic = 0
        self._keyed: set[int] = set()
        self._head = 0
        self._recorded_us = 0
        self._indexed = 0
        self._marked_us = 0
        self._next_step = 0.0
        self._next_truncate = 0.0

    # --- opening and closing ------------------------------------------------------------

    def open(self) -> Opened:
        """Open or create the file, finish deferred work, begin a new epoch."""
        if not self.path.parent.is_dir():
            raise StartError(f"cannot open the log {self.path}: no such folder")
        refuse_network(self.path.parent)
        noted = damage.noted(self.path)
        if noted is not None:
            raise StoreCorrupt(noted)
        try:
            with meanings(self.path):
                self._connect()
                self._file = _identity(self.path)
                self._index_all()
                return self._begin()
        except StoreCorrupt as error:
            self._disconnect()
            raise StoreCorrupt(f"{error}; {damage.ADVICE}") from error
        except StoreUnavailable as error:
            self._disconnect()
            if isinstance(error.__cause__, (apsw.CantOpenError, apsw.ReadOnlyError)):
                raise StartError(f"cannot write the log {error}") from error
            raise
        except BaseException:
            self._disconnect()
            raise

    def reopen(self) -> None:
        """Close and open the connection; the epoch stays."""
        with self._working():
            self._disconnect()
            self._check_file()
            self._connect()

    def close(self) -> None:
        """Finish deferred work, mark the log clean, let go of the file. Idempotent."""
        if self._db is None:
            return
        try:
            with meanings(self.path):
                self._mark_clean()
            self._leave_no_wal()
        finally:
            self._disconnect()

    def _mark_clean(self) -> None:
        """Finish deferred work; if the disk has no room for that, the next open does it."""
        try:
            self._index_all()
            with self._transaction() as db:
                self._keep_head(db)
                db.execute(_SET, ("clean", 1))
        except REFUSALS as error:
            logger.warning("%s was closed without its upkeep: %s", self.path, error)

    def _leave_no_wal(self) -> None:
        """Move the WAL into the file; if the disk has no room for that, the WAL is as durable."""
        try:
            self._truncate_wal()
        except REFUSALS as error:
            logger.warning("the WAL of %s stays beside it: %s", self.path, error)

    def _check_file(self) -> None:
        """Raise if the path no longer leads to the file that was opened.

        What is written to a file without a name is lost; and a new one in its place would
        give seqs again that were given.
        """
        if self._file is not None and _identity(self.path) != self._file:
            raise StoreCorrupt(
                f"{self.path}: the file was removed or replaced while it was open;"
                " stop the server and put it back"
            )

    def _connect(self) -> None:
        self._db = connect(self.path)
        self._load()

    def _load(self) -> None:
        """Learn from the file what is otherwise kept up to date in memory."""
        db = self._connection()
        self._head = value(db, HEAD)
        self._recorded_us = value(db, RECORDED)
        self._indexed = value(db, "SELECT value FROM meta WHERE key = 'indexed'")
        self._marked_us = value(db, "SELECT max(ts) FROM marks") or 0
        self._ids = dict(rows(db, "SELECT name, topic_id FROM topics"))
        dropped = value(db, "SELECT value FROM meta WHERE key = 'last_topic'") or 0
        self._last_topic = max(dropped, *self._ids.values(), 0)
        keyed = rows(db, "SELECT topic_id FROM topics WHERE compacted_upto > 0")
        self._keyed = {topic_id for (topic_id,) in keyed}

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close(True)

    def _begin(self) -> Opened:
        """Record the new epoch and say what is there."""
        with self._transaction() as db:
            clean = value(db, "SELECT value FROM meta WHERE key = 'clean'")
            db.execute(_SET, ("clean", 0))
            db.execute(
                "INSERT INTO epochs (epoch, first_seq) VALUES (?, ?)",
                (new_epoch(), self._head + 1),
            )
            epochs = rows(db, "SELECT epoch, first_seq FROM epochs ORDER BY number")
            topics = rows(db, _TOPICS)
            subs = rows(db, "SELECT name, CAST(data AS BLOB) FROM subs")
            gone_upto = value(db, GONE)
        return Opened(
            head=self._head,
            epochs=[Epoch(*row) for row in epochs],
            topics={name: TopicState(*facts) for name, *facts in topics},
            clean=bool(clean),
            recorded_us=self._recorded_us,
            subs=dict(subs),
            gone_upto=gone_upto,
        )

    # --- writing ------------------------------------------------------------------------

    def append(self, rows: Sequence[Row], recorded_us: int) -> None:
        """Store *rows* in one durable transaction; without rows, try whether the disk writes."""
        if not rows:
            with self._working():
                self._connection().execute(_SET, ("probe", recorded_us))
            return
        if rows[0].seq <= self._head:
            raise ValueError(f"seq {rows[0].seq} does not come after the head {self._head}")
        new = {row.topic for row in rows}.difference(self._ids)
        try:
            with self._working():
                if new:
                    self._append_with_topics(rows, recorded_us, new)
                else:
                    self._connection().execute(_INSERT, _bindings(rows, recorded_us, self._ids))
        except StoreUnavailable as error:
            if not self._stored_after_all(rows[-1].seq, error):
                raise
        self._head = rows[-1].seq
        self._recorded_us = max(self._recorded_us, recorded_us)

    def _append_with_topics(self, batch: Sequence[Row], recorded_us: int, new: set[str]) -> None:
        first = self._last_topic + 1
        added = {name: first + i for i, name in enumerate(sorted(new))}
        ids = self._ids | added
        with self._transaction() as db:
            db.execute(_INTERN, (_json([(i, name) for name, i in added.items()]),))
            db.execute(_INSERT, _bindings(batch, recorded_us, ids))
        self._ids = ids
        self._last_topic += len(added)

    def _stored_after_all(self, upto: int, error: StoreUnavailable) -> bool:
        """Ask the disk what became of a batch that failed, as COMMIT may have been the last step.

        Raises:
            StoreUnavailable: It can't be asked; ``unknown`` is set.
        """
        cause = error.__cause__
        if not isinstance(cause, (apsw.FullError, apsw.IOError)):
            return False  # refused before anything was written
        try:
            if isinstance(cause, apsw.IOError):
                self.reopen()
            else:
                with self._working():
                    self._load()
        except StoreUnavailable:
            raise StoreUnavailable(f"{error}; outcome unknown", unknown=True) from error
        return self._head >= upto

    def find_given(self, keys: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], Stored]:
        """The stored events of these (topic, given) keys."""
        known = [key for key in keys if key[0] in self._ids]
        asked = _json([(self._ids[topic], given) for topic, given in known])
        with self._working():
            found = rows(self._connection(), _FIND_GIVEN, (asked,))
        return {known[i]: Stored(seq, known[i][0], data) for i, seq, data in found}

    def last_seqs(self, topics: Iterable[str]) -> Mapping[str, int]:
        """The last seq of each of *topics* that is known, found from the newest row backwards."""
        with self._working():
            return dict(rows(self._connection(), _LAST, (self._indexed, _json(list(topics)))))

    def head(self) -> int:
        """The last seq on disk, read afresh."""
        with self._working():
            head: int = value(self._connection(), HEAD)
        return head

    # --- upkeep -------------------------------------------------------------------------

    def tend(self, *, idle: bool) -> None:
        """Fill the deferred index and the marks about five times a second; at rest, tidy up."""
        now = self._monotonic()
        if not idle and now < self._next_step:
            return
        self._check_file()
        with self._working():
            full = self._index_step() == INDEX_ROWS
            self._next_step = now if full else now + INDEX_S  # behind: go on after the next batch
            if idle:
                self._index_all()
                self._give_back()
            if self._wal_bytes() > (0 if idle else WAL_LIMIT) and now >= self._next_truncate:
                self._next_truncate = now + TRUNCATE_S
                self._truncate_wal()

    def _index_step(self) -> int:
        """Bring index, counts and marks forward by one step; how many events it had."""
        db = self._connection()
        upto = value(
            db,
            "SELECT max(seq) FROM (SELECT seq FROM events WHERE seq > ? ORDER BY seq LIMIT ?)",
            (self._indexed, INDEX_ROWS),
        )
        if upto is None:
            return 0
        with self._transaction():
            db.execute(_INDEX, (self._indexed, upto))
            indexed = db.changes()
            db.execute(_COUNT, (self._indexed, upto))
            db.execute(_SET, ("indexed", upto))
            marked_us = self._mark(db, upto)
        self._indexed, self._marked_us = upto, marked_us
        return indexed

    def _mark(self, db: apsw.Connection, upto: int) -> int:
        """Note when *upto* was recorded, if the last mark is a second old; the newest mark."""
        ts: int = value(db, "SELECT ts FROM events WHERE seq = ?", (upto,))
        if ts < self._marked_us + MARK_US:
            return self._marked_us
        db.execute("INSERT OR REPLACE INTO marks (ts, seq) VALUES (?, ?)", (ts, upto))
        return ts

    def _give_back(self) -> bool:
        """Return some pages that trimming freed to the file system; whether there were any."""
        db = self._connection()
        if not value(db, "PRAGMA freelist_count"):
            return False
        rows(db, f"PRAGMA incremental_vacuum({VACUUM_PAGES})")
        return True

    def _truncate_wal(self) -> None:
        """Move the WAL into the file and empty it. A reader in the way only puts it off."""
        db = self._connection()
        db.set_busy_timeout(CHECKPOINT_WAIT_MS)
        try:
            with suppress(apsw.BusyError, apsw.LockedError):
                rows(db, "PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            db.set_busy_timeout(BUSY_MS)

    # --- removing -----------------------------------------------------------------------

    def trim(self, topic: str, upto: int, limit: int = 1000) -> int:
        """Remove at most *limit* of *topic*'s oldest events with seq <= *upto*; how many went."""
        return sum(removed.events for removed in self.sweep({topic: upto}, limit).values())

    def sweep(
        self, uptos: Mapping[str, int], limit: int = 1000, size_bytes: int | None = None
    ) -> dict[str, Removed]:
        """Remove the oldest events of these topics together, each topic's up to its seq."""
        known = {self._ids[name]: upto for name, upto in uptos.items() if name in self._ids}
        if not known:
            return {}
        with self._working():
            if max(known.values()) > self._indexed:
                self._index_all()
            with self._transaction() as db:
                doomed = removal.find_oldest(db, known.items(), limit, size_bytes)
                removed = self._remove(db, doomed, trimmed=True)
            if self._indexed < self._head and any(not r.first_seq for r in removed.values()):
                removed = self._look_again(removed)
        return self._named(removed)

    def compact(self, topic: str, limit: int = 1000) -> Removed:
        """Look at *topic*'s next *limit* events; of each ``key`` only the newest so far stays."""
        topic_id = self._ids.get(topic)
        if topic_id is None:
            return Removed(0, 0, 0, 0, compacted_upto=0)
        with self._working():
            self._index_all()
            with self._transaction() as db:
                removed = removal.compact(db, topic_id, limit)
            self._keyed.add(topic_id)
        return removed

    def drop(self, seqs: Iterable[int]) -> dict[str, Removed]:
        """Remove these events for good, and overwrite them where they lie."""
        with self._working():
            self._index_all()
            db = self._connection()
            rows(db, "PRAGMA secure_delete = ON")
            try:
                with self._transaction():
                    doomed = removal.find_these(db, seqs)
                    removed = self._remove(db, doomed, trimmed=False)
            finally:
                rows(db, "PRAGMA secure_delete = FAST")
        return self._named(removed)

    def scrub(self) -> bool:
        """Cut free pages off the file, which may hold copies; in the end, empty the WAL."""
        with self._working():
            if self._give_back():
                return False
            self._truncate_wal()
            return self._wal_bytes() == 0

    def drop_topics(self, topics: Iterable[str]) -> list[str]:
        """Forget those of *topics* that hold no event; readers never see an id again."""
        with self._working():
            self._index_all()
            with self._transaction() as db:
                gone = removal.drop_topics(db, [name for name in topics if name in self._ids])
            for name, topic_id in gone.items():
                del self._ids[name]
                self._keyed.discard(topic_id)
        return list(gone)

    def _remove(
        self, db: apsw.Connection, doomed: Sequence[removal.Doomed], *, trimmed: bool
    ) -> dict[int, Removed]:
        if not doomed:
            return {}
        self._keep_head(db)
        keyed = not self._keyed.isdisjoint(one.topic_id for one in doomed)
        return removal.remove(db, doomed, trimmed=trimmed, keyed=keyed)

    def _look_again(self, removed: Mapping[int, Removed]) -> dict[int, Removed]:
        """A topic with nothing left in the index may have events that it doesn't reach yet."""
        self._index_all()
        first_of = removal.first_seqs(self._connection(), removed)
        return {i: one._replace(first_seq=first_of[i]) for i, one in removed.items()}

    def _named(self, removed: Mapping[int, Removed]) -> dict[str, Removed]:
        """The same by the topics' names."""
        if not removed:
            return {}
        names = dict(rows(self._connection(), removal.NAMES, (_json(list(removed)),)))
        return {names[i]: one for i, one in removed.items()}

    def _index_all(self) -> None:
        while self._index_step():
            pass

    def _keep_head(self, db: apsw.Connection) -> None:
        """Write down what is otherwise read from the newest row."""
        db.execute(_SET, ("head", self._head))
        db.execute(_SET, ("recorded", self._recorded_us))

    # --- durable subscriptions ----------------------------------------------------------

    def save_subs(self, changed: Mapping[str, bytes | None]) -> None:
        """Keep these JSON texts by name, in one durable transaction; None removes."""
        gone = [name for name, data in changed.items() if data is None]
        kept = [(name, data.decode()) for name, data in changed.items() if data is not None]
        with self._working(), self._transaction() as db:
            db.execute(
                "DELETE FROM subs WHERE name IN (SELECT value FROM json_each(?))", (_json(gone),)
            )
            db.execute(
                "INSERT OR REPLACE INTO subs SELECT value ->> 0, value ->> 1 FROM json_each(?)",
                (_json(kept),),
            )

    # --- the rest -----------------------------------------------------------------------

    def size_bytes(self) -> int:
        """The file and its WAL; may be called from any thread."""
        size = 0
        with suppress(FileNotFoundError):
            size = self.path.stat().st_size
        return size + self._wal_bytes()

    def reader(self) -> StoreReader:
        """A new read-only connection."""
        with meanings(self.path):
            return SqliteStoreReader(self.path)

    def _wal_bytes(self) -> int:
        with suppress(FileNotFoundError):
            return self.path.with_name(self.path.name + "-wal").stat().st_size
        return 0

    def _connection(self) -> apsw.Connection:
        if self._db is None:
            raise StoreUnavailable(f"{self.path}: the log is closed")
        return self._db

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Give errors their meanings; damage is noted, so that the next start knows of it."""
        try:
            with meanings(self.path):
                yield
        except StoreCorrupt as error:
            if isinstance(error.__cause__, DAMAGE):
                raise damage.met(self.path, error) from error
            raise

    @contextmanager
    def _transaction(self) -> Iterator[apsw.Connection]:
        db = self._connection()
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # SQLite ends it by itself after some errors
                with suppress(*REFUSALS):
                    db.execute("ROLLBACK")
            raise


def _bindings(
    batch: Sequence[Row], recorded_us: int, ids: Mapping[str, int]
) -> tuple[int, str, bytes]:
    """What ``_INSERT`` takes: where each row's data lies in one blob, counted from 1."""
    places: list[tuple[int, int, str | None, int, int]] = []
    at = 1
    for row in batch:
        size = len(row.data)
        places.append((row.seq, ids[row.topic], row.given, at, size))
        at += size
    return recorded_us, _json(places), b"".join([row.data for row in batch])


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file *path* leads to now."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _json(content: Any) -> str:
    return _encode(content).decode()
