"""Files for their owner's eyes alone: read only if nobody else may, written whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from antiphon.errors import StartError


def read_private(path: Path, what: str) -> bytes | None:
    """The content of *path*, called *what* in errors; None if it isn't there.

    Raises:
        StartError: It can't be read, is no file of ours, or others may read it.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StartError(f"cannot read {what} {path}: {_why(error)}") from error
    if not stat.S_ISREG(found.st_mode):
        raise StartError(f"{what} {path} is no regular file")
    if found.st_uid != os.geteuid():
        raise StartError(f"{what} {path} belongs to another user (uid {found.st_uid})")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise StartError(
            f"{what} {path} may be read by others (mode {mode:04o}): "
            f"delete it for a new one, or run chmod 600 {path}"
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise StartError(f"cannot read {what} {path}: {_why(error)}") from None


def write_private(path: Path, data: bytes) -> None:
    """Put *data* into *path*, of mode 0600: beside it first, so a crash leaves the old or the new.

    One at a time for each path. Blocks until it is on disk.

    Raises:
        OSError: The disk refused; what was there is there.
    """
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(handle)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
