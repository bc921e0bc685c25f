"""The data folder: one place for a log and all that belongs to it, held by one process."""

from __future__ import annotations

import errno
import fcntl
import io
import os
from pathlib import Path

from antiphon.errors import StartError
from antiphon.places import (
    LOCK_FILE,
    LOG_FILE,
    SCHEMAS_FILE,
    SERVER_FILE,
    SERVER_LOG_FILE,
    TOKEN_FILE,
    TOKENS_FILE,
)


class DataFolder:
    """The folder that holds a log and all that belongs to it; one process at a time.

    Args:
        path: Created with mode 0700 if it is missing.

    Raises:
        StartError: It can't be made or written, or another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()
        self._lock: io.FileIO | None = None

    @property
    def log(self) -> Path:
        return self.path / LOG_FILE

    @property
    def schemas(self) -> Path:
        return self.path / SCHEMAS_FILE

    @property
    def token(self) -> Path:
        return self.path / TOKEN_FILE

    @property
    def tokens(self) -> Path:
        """The issued tokens, as hashes."""
        return self.path / TOKENS_FILE

    @property
    def server(self) -> Path:
        """What clients of this machine find the server by."""
        return self.path / SERVER_FILE

    @property
    def server_log(self) -> Path:
        """What a server in the background prints and logs."""
        return self.path / SERVER_LOG_FILE

    def acquire(self) -> None:
        """Make the folder if need be, and take its lock."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (self.path / LOCK_FILE).open("ab+", buffering=0)
        except OSError as error:
            raise StartError(f"cannot use data folder {self.path}: {_why(error)}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            holder = (lock.read(32) or b"").decode("ascii", "replace").strip()
            lock.close()
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise StartError(f"cannot lock data folder {self.path}: {_why(error)}") from error
            who = f" by process {holder}" if holder else ""
            raise StartError(
                f"data folder {self.path} is in use{who}; stop that server or choose another --data"
            ) from None
        try:
            lock.truncate(0)
            lock.write(b"%d\n" % os.getpid())
        except OSError as error:
            lock.close()
            raise StartError(f"cannot write to data folder {self.path}: {_why(error)}") from error
        self._lock = lock

    def release(self) -> None:
        """Let go of the lock."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
