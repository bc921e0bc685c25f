"""A backup of the log: made while a server writes, or while none does."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from antiphon.bus.store import StoreCorrupt, StoreUnavailable
from antiphon.errors import AntiphonError
from antiphon.stores.sqlite.copying import Progress, copy_file, free_bytes, opened_still, size_of
from antiphon.stores.sqlite.failures import meanings
from antiphon.stores.sqlite.schema import HEAD, check_format, connect_readonly, value


class BackedUp(NamedTuple):
    """What a backup holds: every event up to *head* that the log had."""

    path: Path
    head: int
    size_bytes: int


def back_up(
    log: Path, target: Path, *, force: bool = False, progress: Progress | None = None
) -> BackedUp:
    """Copy the log's file *log* to *target*: one moment of it, whole, for its owner alone.

    To go back to it, stop the server, put the file in the place of ``log.db``, and remove
    ``log.db-wal`` and ``log.db-shm``, which belong to the other one.

    Args:
        force: Replace a file that is there.

    Raises:
        AntiphonError: *target* is there, or is the log itself, or there is no room.
        StartError, StoreCorrupt, StoreUnavailable: The log can't be read, or is none.
    """
    _check_target(log, target, force=force)
    with meanings(log):
        db = connect_readonly(log)
        try:
            check_format(db, log)
            _check_room(target, size_of(db))
            reached = value(db, HEAD)
            size = copy_file(db, target, progress=progress)
        finally:
            db.close()
    with meanings(target), opened_still(target) as copy:
        head: int = value(copy, HEAD)
    if head < reached:
        raise StoreCorrupt(f"the backup {target} ends at seq {head}, and the log had {reached}")
    return BackedUp(target, head, size)


def _check_target(log: Path, target: Path, *, force: bool) -> None:
    if not log.exists():
        raise AntiphonError(f"there is no log to back up: {log} is missing")
    if not target.parent.is_dir():
        raise AntiphonError(f"cannot write the backup {target}: no such folder")
    if target.is_dir():
        raise AntiphonError(f"cannot write the backup {target}: it is a folder")
    same_folder = target.resolve().parent == log.resolve().parent
    if same_folder and target.name in (log.name, f"{log.name}-wal", f"{log.name}-shm"):
        raise AntiphonError(f"a backup can't take the place of the log itself: {target}")
    if target.exists() and not force:
        raise AntiphonError(f"{target} is there already; --force replaces it")


def _check_room(target: Path, size: int) -> None:
    free = free_bytes(target.parent)
    if free < size:
        raise StoreUnavailable(
            f"the backup needs {size} bytes in {target.parent}, and {free} are free"
        )
