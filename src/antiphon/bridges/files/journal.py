"""What a watcher must not forget: the files it has told of, and what it is telling now.

One small SQLite file for each watched folder, fsynced at each step. A batch is written
down with its ids *before* it is published and folded into the known files *after* the
log has taken it: after a crash in between, the same events are published again under
the same ids, which an idempotent log counts once.

It knows nothing of the log. For another log, delete it: then all files are told again.

Promises: docs/semantics/files.md#once-in-the-log.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from antiphon.bridges.files.tree import Change, FileState
from antiphon.errors import StartError
from antiphon.messages import EventIn

WAIT_S = 5.0
"""How long an earlier holder may take to let go."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, inode INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pending (
    n INTEGER PRIMARY KEY, event BLOB, path BLOB, size INTEGER, mtime_ns INTEGER, inode INTEGER
);
"""
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(EventIn).decode


def journal_path(data: Path, root: Path) -> Path:
    """Where the journal of the watched folder *root* lies in the data folder *data*."""
    return data / "watch" / journal_name(root)


def journal_name(root: Path) -> str:
    """The name of the journal of the watched folder *root*."""
    return f"{sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:16]}.db"


class Journal:
    """The journal at *path*, held by one watcher at a time. Blocking; safe from any thread.

    Args:
        root: The folder it is about; part of the ids.
    """

    def __init__(self, path: Path, root: str) -> None:
        self._path = path
        self._root = root
        self._root_hash = sha256(os.fsencode(root)).hexdigest()[:12]
        self._lock = threading.Lock()
        self._closed = False
        self._connection: sqlite3.Connection | None = None
        self._nonce = ""
        self._next = 0
        self.repaired: str | None = None
        """What was done about a damaged journal, if it was."""

    def open(self) -> None:
        """Open it, waiting some seconds for an earlier holder to let go.

        Raises:
            StartError: It can't be opened, or another watcher holds it.
        """
        with self._lock:
            if self._closed:
                return
            try:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._connection = self._open_or_renew(self._path)
            except (OSError, sqlite3.Error) as error:
                raise StartError(f"cannot watch {self._root}: {_why(self._path, error)}") from error
            self._nonce = str(self._meta("nonce"))
            self._next = int(self._meta("next"))

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            raise ValueError(f"journal {self._path} is not open")
        return self._connection

    def _open_or_renew(self, path: Path) -> sqlite3.Connection:
        try:
            return _open(path)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            aside = path.with_suffix(f".broken-{secrets.token_hex(3)}")
            path.rename(aside)
            path.with_name(f"{path.name}-wal").unlink(missing_ok=True)
            self.repaired = f"journal was damaged ({error}), kept as {aside.name}; starting anew"
            return _open(path)

    def files(self) -> list[tuple[str, FileState]]:
        """All files told of."""
        with self._lock:
            rows = self._db.execute("SELECT path, size, mtime_ns, inode FROM files").fetchall()
        return [(os.fsdecode(path), FileState(*state)) for path, *state in rows]

    def pending(self) -> list[EventIn]:
        """The batch that was written down and not known to be taken, in order."""
        with self._lock:
            rows = self._db.execute("SELECT event FROM pending ORDER BY n").fetchall()
        return [_decode(event) for (event,) in rows]

    def stage(
        self, changes: Sequence[Change], tell: Callable[[Change, str], EventIn]
    ) -> list[EventIn]:
        """Write down *changes* as the batch being published.

        Args:
            tell: Makes the event of a change, with the id it is given.
        """
        first = self._next
        events = [tell(change, self._id(first + i)) for i, change in enumerate(changes)]
        rows = [
            (first + i, _encode(event), os.fsencode(change.path), *_kept(change))
            for i, (change, event) in enumerate(zip(changes, events, strict=True))
        ]
        with self._lock, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT INTO pending VALUES (?, ?, ?, ?, ?, ?)", rows)
            self._set_meta("next", first + len(rows))
        self._next = first + len(rows)
        return events

    def settle(self) -> None:
        """The batch was taken: what it told is known."""
        with self._lock, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            rows = self._db.execute(
                "SELECT path, size, mtime_ns, inode FROM pending ORDER BY n"
            ).fetchall()
            last = {row[0]: row for row in rows}.values()
            gone = [row[:1] for row in last if row[1] is None]
            there = [row for row in last if row[1] is not None]
            self._db.executemany("DELETE FROM files WHERE path = ?", gone)
            self._db.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", there)
            self._db.execute("DELETE FROM pending")

    def renumber(self) -> list[EventIn]:
        """Give the batch new ids, never used before, and return it.

        For a journal that was put back from a copy: its next ids may be taken.
        """
        nonce = secrets.token_hex(4)
        with self._lock, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._nonce = nonce
            self._set_meta("nonce", nonce)
            for n, event in self._db.execute("SELECT n, event FROM pending").fetchall():
                renamed = msgspec.structs.replace(_decode(event), id=self._id(n))
                self._db.execute("UPDATE pending SET event = ? WHERE n = ?", (_encode(renamed), n))
        return self.pending()

    def close(self) -> None:
        """Let go of the file. Waits for a step that another thread is in."""
        with self._lock:
            self._closed = True
            if self._connection is not None:
                self._connection.close()

    def _id(self, n: int) -> str:
        return f"w-{self._root_hash}-{self._nonce}-{n}"

    def _meta(self, name: str) -> Any:
        return self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()[0]

    def _set_meta(self, name: str, value: object) -> None:
        self._db.execute("UPDATE meta SET value = ? WHERE name = ?", (value, name))


def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        with db:
            db.execute("BEGIN EXCLUSIVE")
            for statement in _SCHEMA.split(";"):
                db.execute(statement)
            db.execute("INSERT OR IGNORE INTO meta VALUES ('nonce', ?)", (secrets.token_hex(4),))
            db.execute("INSERT OR IGNORE INTO meta VALUES ('next', 1)")
            db.execute("SELECT count(*) FROM pending").fetchone()
    except BaseException:
        db.close()
        raise
    os.chmod(path, 0o600)
    return db


def _kept(change: Change) -> tuple[int | None, int | None, int | None]:
    return (None, None, None) if change.kind == "deleted" else change.state


def _why(path: Path, error: Exception) -> str:
    if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
        return "another watcher is at it"
    return f"journal {path}: {str(error).lower()}"
