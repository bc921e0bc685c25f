"""The file's format, and how a connection to it is set up.

``events`` is slim on purpose: the whole event is JSON in ``data``, and only what the
log itself needs has a column. What follows from ``events`` is filled in later, by
``tend`` or by the next ``open``: ``by_topic`` and the counts in ``topics`` reach up
to ``meta.indexed``, ``marks`` (ts → seq) stands in place of an index on time.

The head is the larger of ``meta.head`` and the highest seq in ``events``: so it moves
in the batch's own transaction without a second statement, and whatever lowers the
highest seq (a trim) writes ``meta.head`` in its own. The same goes for ``recorded``.

``by_key`` holds the newest seq of each key, for topics that are compacted, as far as
``topics.compacted_upto``. Of the ``marks`` of trimmed events one a day stays. An id of a
topic is never given twice: ``meta.last_topic`` is the highest of those that were dropped,
``meta.drops`` counts them, ``meta.gone_upto`` is the highest seq that was trimmed of one.
``subs`` holds what the bus keeps of each durable subscription.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw

from antiphon.bus.store import StoreCorrupt
from antiphon.errors import StartError
from antiphon.stores.sqlite.copying import copy_file, free_bytes, size_of

logger = logging.getLogger(__name__)

SCHEMA = 2
APPLICATION_ID = 0x416E7470
"""``Antp``, in the header of every file of ours."""
BUSY_MS = 5000
WAL_LIMIT = 64 * 1024 * 1024

KEYS_AND_SUBS = """
CREATE TABLE by_key (
    topic_id INTEGER NOT NULL, key TEXT NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (topic_id, key)
) WITHOUT ROWID;
CREATE TABLE subs (name TEXT PRIMARY KEY, data TEXT NOT NULL) WITHOUT ROWID;
"""

TABLES = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE epochs (
    number INTEGER PRIMARY KEY, epoch TEXT NOT NULL UNIQUE, first_seq INTEGER NOT NULL
);
CREATE TABLE topics (
    topic_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    count INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    first_seq INTEGER NOT NULL DEFAULT 0,
    last_seq INTEGER NOT NULL DEFAULT 0,
    trimmed_upto INTEGER NOT NULL DEFAULT 0,
    compacted_upto INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    topic_id INTEGER NOT NULL,
    ts INTEGER NOT NULL,
    given_id TEXT,
    data TEXT NOT NULL
);
CREATE UNIQUE INDEX given ON events (topic_id, given_id) WHERE given_id IS NOT NULL;
CREATE TABLE by_topic (
    topic_id INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (topic_id, seq)
) WITHOUT ROWID;
CREATE TABLE marks (ts INTEGER PRIMARY KEY, seq INTEGER NOT NULL);
{KEYS_AND_SUBS}
INSERT INTO meta VALUES
    ('schema', {SCHEMA}), ('head', 0), ('recorded', 0), ('indexed', 0), ('clean', 1), ('probe', 0);
PRAGMA application_id = {APPLICATION_ID};
"""

MIGRATIONS = {
    1: f"ALTER TABLE topics ADD COLUMN compacted_upto INTEGER NOT NULL DEFAULT 0;{KEYS_AND_SUBS}",
}
"""From each older schema to the next."""

HEAD = """
SELECT max((SELECT value FROM meta WHERE key = 'head'), coalesce(max(seq), 0)) FROM events
"""
RECORDED = """
SELECT max(
    (SELECT value FROM meta WHERE key = 'recorded'),
    coalesce((SELECT ts FROM events ORDER BY seq DESC LIMIT 1), 0)
)
"""

DROPS = "SELECT coalesce((SELECT value FROM meta WHERE key = 'drops'), 0)"
GONE = "SELECT coalesce((SELECT value FROM meta WHERE key = 'gone_upto'), 0)"


def connect(path: Path) -> apsw.Connection:
    """Open or create the file for writing, with a schema that this program knows.

    Raises:
        StartError: The file is somebody else's, or newer, or can't have a WAL.
        StoreCorrupt: It is damaged.
        apsw.Error: The disk refuses.
    """
    _make_private(path)
    db = apsw.Connection(str(path))
    try:
        db.set_busy_timeout(BUSY_MS)
        found = 0 if is_empty(db) else check_format(db, path)
        if not found:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        set_up(db, path)
        if not found:
            with db:
                db.execute(TABLES)
        elif found < SCHEMA:
            keep_copy(db, path, found)
            migrate(db, found)
    except BaseException:
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # what is refused stays as it is
        db.close()
        raise
    return db


def _make_private(path: Path) -> None:
    """Create the file for its owner alone; SQLite gives WAL and index the same mode."""
    with suppress(OSError):  # it is there, or SQLite will say what is wrong
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))


def connect_readonly(path: Path) -> apsw.Connection:
    """Open the file for reading beside the writer."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    db.set_busy_timeout(BUSY_MS)
    db.execute("PRAGMA temp_store = MEMORY")
    return db


def set_up(db: apsw.Connection, path: Path) -> None:
    """Make every commit durable. ``fullfsync`` acts on macOS only, where fsync is not enough."""
    if value(db, "PRAGMA journal_mode = WAL") != "wal":
        raise StartError(f"cannot open the log {path}: its file system can't hold a WAL")
    db.execute(
        "PRAGMA synchronous = FULL;"
        "PRAGMA fullfsync = ON;"
        "PRAGMA checkpoint_fullfsync = ON;"
        "PRAGMA temp_store = MEMORY;"
        # Overwrites what is removed where that costs no further page; see the store's ``drop``.
        "PRAGMA secure_delete = FAST;"
        # The writer's own checkpoints: small and often, and so without a long pause.
        "PRAGMA wal_autocheckpoint = 1000;"
    )
    db.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT}").fetchall()


def check_format(db: apsw.Connection, path: Path) -> int:
    """The file's schema version; a file that is not ours, or of a later format, is refused."""
    if value(db, "PRAGMA application_id") != APPLICATION_ID:
        raise StartError(f"cannot open the log {path}: the file is another program's database")
    try:
        found = value(db, "SELECT value FROM meta WHERE key = 'schema'")
    except apsw.SQLError as error:
        raise StoreCorrupt(f"{path}: no schema version: {error}") from error
    if found is None or found > SCHEMA:
        raise StartError(
            f"cannot open the log {path}: it has schema version {found},"
            f" and this program knows {SCHEMA}; a newer Antiphon wrote it"
        )
    version: int = found
    return version


def keep_copy(db: apsw.Connection, path: Path, found: int) -> None:
    """Keep the file as it is, beside it, as ``log.schema-N.db``, before it is changed.

    Raises:
        StartError: There is no room for that.
    """
    copy = path.with_name(f"{path.stem}.schema-{found}{path.suffix}")
    size = size_of(db)
    what = f"the log {path} from schema {found} to {SCHEMA}"
    no_room = f"cannot upgrade {what}: a copy of it needs {size} bytes in {path.parent}"
    free = free_bytes(path.parent)
    if free < size:
        raise StartError(f"{no_room}, and {free} are free")
    logger.warning("upgrading %s; a copy of %d bytes is kept as %s", what, size, copy)
    try:
        copy_file(db, copy)
    except apsw.FullError as error:
        raise StartError(f"{no_room}, and the disk became full") from error


def migrate(db: apsw.Connection, found: int) -> None:
    """Bring the file from schema *found* to ``SCHEMA``, all of it or nothing."""
    with db:
        for version in range(found, SCHEMA):
            db.execute(MIGRATIONS[version])
        db.execute("UPDATE meta SET value = ? WHERE key = 'schema'", (SCHEMA,))


def is_empty(db: apsw.Connection) -> bool:
    """Whether nothing was created in the file yet."""
    return not rows(db, "SELECT 1 FROM sqlite_schema LIMIT 1")


def value(db: apsw.Connection, sql: str, bindings: Any = None) -> Any:
    """The first column of the first row, or None."""
    found = rows(db, sql, bindings)
    return found[0][0] if found else None


def rows(db: apsw.Connection, sql: str, bindings: Any = None) -> list[Any]:
    """Every row, so that no statement stays open."""
    return db.execute(sql, bindings).fetchall()
