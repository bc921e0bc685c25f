"""What a log holds, told by its file alone: beside a server, or without one."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from antiphon.bus.store import Epoch
from antiphon.stores.sqlite.failures import meanings
from antiphon.stores.sqlite.schema import HEAD, check_format, connect_readonly, rows, value


class Contents(NamedTuple):
    """A log's file, as it was when it was looked at.

    Attributes:
        epochs: Oldest first; the last is the running server's, or the last one's.
        trimmed: Each topic, with the highest seq that was removed of it; 0 if none was.
    """

    head: int
    epochs: list[Epoch]
    trimmed: dict[str, int]


def look(log: Path) -> Contents:
    """Read the facts of *log*.

    Raises:
        StartError: It is another program's, or a newer Antiphon's.
        StoreUnavailable, StoreCorrupt: It can't be read.
    """
    with meanings(log):
        db = connect_readonly(log)
        try:
            check_format(db, log)
            db.execute("BEGIN")
            epochs = rows(db, "SELECT epoch, first_seq FROM epochs ORDER BY number")
            trimmed = rows(db, "SELECT name, trimmed_upto FROM topics")
            return Contents(value(db, HEAD), [Epoch(*row) for row in epochs], dict(trimmed))
        finally:
            db.close(True)
