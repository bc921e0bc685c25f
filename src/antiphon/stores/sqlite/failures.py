"""What SQLite's errors mean to whoever uses the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from antiphon.bus.store import GivenIdTaken, StoreCorrupt, StoreUnavailable

REFUSALS = (
    apsw.FullError,
    apsw.IOError,
    apsw.ReadOnlyError,
    apsw.BusyError,
    apsw.LockedError,
    apsw.CantOpenError,
    apsw.PermissionsError,
    apsw.ProtocolError,
    apsw.NoMemError,
)
"""The disk, or the system below it, says no: nobody's bug, and it may pass."""

DAMAGE = (apsw.CorruptError, apsw.NotADBError)


@contextmanager
def meanings(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into the port's; what is left is a bug and stays as it is."""
    try:
        yield
    except REFUSALS as error:
        raise StoreUnavailable(f"{path}: {error}") from error
    except DAMAGE as error:
        raise StoreCorrupt(f"{path}: {error}") from error
    except apsw.ConstraintError as error:
        if getattr(error, "extendedresult", 0) == apsw.SQLITE_CONSTRAINT_UNIQUE:
            raise GivenIdTaken(f"{path}: {error}") from error
        raise
