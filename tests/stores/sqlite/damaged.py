"""Logs with known content, and ways to damage their files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from antiphon.bus.store import Row
from antiphon.stores import SqliteEventStore
from antiphon.stores.sqlite.copying import opened_still
from antiphon.testing.store_contract import START_US, event

PAGE = 4096


def content(count: int, size: int = 1500, topics: int = 3) -> list[Row]:
    return [
        event(i, f"t{i % topics}", "x" * size, given=f"p\x1f{i}" if i % 2 else None)
        for i in range(1, count + 1)
    ]


def make(path: Path, rows: list[Row], *, closed: bool = True) -> list[Row]:
    """Write *rows* to a new log at *path*; not *closed*: as a kill would leave it.

    Then the second half is in the WAL, and not in the index.
    """
    place = path if closed else path.with_name("made.db")
    store = SqliteEventStore(place)
    store.open()
    for at in range(0, len(rows), 50):
        store.append(rows[at : at + 50], START_US + rows[at].seq)
        if at + 50 == len(rows) // 100 * 50:
            store.tend(idle=True)
    if not closed:
        for suffix in ("", "-wal"):
            shutil.copy(f"{place}{suffix}", f"{path}{suffix}")
    store.close()
    return rows


def overwrite(path: Path, start: float, stop: float, filler: bytes = b"\xff") -> None:
    """Overwrite the pages between two shares of the file."""
    pages = path.stat().st_size // PAGE
    first, last = int(pages * start), max(int(pages * start) + 1, int(pages * stop))
    with path.open("r+b") as file:
        file.seek(first * PAGE)
        file.write(filler * (last - first) * PAGE)


def overwrite_root(path: Path, table: str) -> None:
    """Overwrite the page that all of a table hangs on."""
    sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
    with opened_still(path) as db:
        ((page,),) = db.execute(sql, (table,)).fetchall()
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(b"\xff" * PAGE)


def cut_short(path: Path, share: float) -> None:
    """Leave only the first *share* of the file, in the middle of a page."""
    size = int(path.stat().st_size * share)
    with path.open("r+b") as file:
        file.truncate(size - size % PAGE + 1000)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "middle": lambda path: overwrite(path, 0.4, 0.5),
    "zeros": lambda path: overwrite(path, 0.6, 0.7, b"\0"),
    "end": lambda path: overwrite(path, 0.85, 1.0),
    "header": lambda path: overwrite(path, 0.0, 0.0),
    "events' root": lambda path: overwrite_root(path, "events"),
    "index's root": lambda path: overwrite_root(path, "by_topic"),
    "topics' root": lambda path: overwrite_root(path, "topics"),
    "cut short": lambda path: cut_short(path, 0.7),
}
