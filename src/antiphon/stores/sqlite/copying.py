"""A whole copy of a log's file, its WAL included, as it was at one moment.

It is written under another name, checked, synced and then renamed: a copy that can be
seen is complete. What it is for is told by ``backup.py`` and ``schema.py``.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import apsw

from antiphon.bus.store import StoreCorrupt

STEP_PAGES = 256
"""Copied at once; between two steps a signal is heard and progress is told."""

Progress = Callable[[int, int], None]
"""Called with what is done and the whole, both in the same unit."""


def copy_file(db: apsw.Connection, target: Path, *, progress: Progress | None = None) -> int:
    """Copy what *db* holds into the file *target*, in place of one that is there; its bytes.

    The copy is the state at the beginning: writers go on meanwhile, and their WAL grows.

    Raises:
        StoreCorrupt: The copy doesn't pass SQLite's own check.
        OSError, apsw.Error: It can't be read or written; *target* is untouched.
    """
    number, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    part = Path(name)  # made for its owner alone
    try:
        with _snapshot(db):
            _copy_pages(db, part, progress)
        _check(part)
        os.fsync(number)
        part.replace(target)
        sync_folder(target.parent)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    finally:
        os.close(number)
    return target.stat().st_size


def size_of(db: apsw.Connection) -> int:
    """How many bytes a copy of *db* takes."""
    pages, page_bytes = _one(db, "PRAGMA page_count"), _one(db, "PRAGMA page_size")
    size: int = pages * page_bytes
    return size


def free_bytes(folder: Path) -> int:
    """The room that is left in *folder*'s file system for this user."""
    return shutil.disk_usage(folder).free


def sync_folder(folder: Path) -> None:
    """Make renames in *folder* survive a power cut."""
    number = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextmanager
def opened_still(path: Path) -> Iterator[apsw.Connection]:
    """A connection to a file that nobody writes; it makes no other files beside it."""
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    db = apsw.Connection(f"{path.absolute().as_uri()}?immutable=1", flags=flags)
    try:
        yield db
    finally:
        db.close()


@contextmanager
def _snapshot(db: apsw.Connection) -> Iterator[None]:
    """Hold one state: else each write by another process would begin the copy anew."""
    db.execute("BEGIN")
    try:
        db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
        yield
    finally:
        db.execute("COMMIT")


def _copy_pages(db: apsw.Connection, part: Path, progress: Progress | None) -> None:
    copy = apsw.Connection(str(part))
    try:
        # Nobody sees the copy before it was synced as a whole.
        copy.execute("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF").fetchall()
        with copy.backup("main", db, "main") as backup:
            while not backup.done:
                backup.step(STEP_PAGES)
                if progress is not None:
                    progress(backup.page_count - backup.remaining, backup.page_count)
    finally:
        copy.close()


def _check(part: Path) -> None:
    with opened_still(part) as copy:
        found = _one(copy, "PRAGMA quick_check(1)")
    if found != "ok":
        *_, why = found.splitlines()
        raise StoreCorrupt(f"the copy is damaged as the log is: {why}; run antiphon doctor")


def _one(db: apsw.Connection, sql: str) -> Any:
    return db.execute(sql).fetchall()[0][0]
