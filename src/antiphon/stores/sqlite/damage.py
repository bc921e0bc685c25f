"""A note beside the log that damage was met: it outlives the process that met it.

While it is there no server writes to the log; ``antiphon doctor`` takes it away when it
finds the log whole, or has repaired it.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from antiphon.bus.store import StoreCorrupt

ADVICE = "look at it with: antiphon doctor"


def met(log: Path, error: StoreCorrupt) -> StoreCorrupt:
    """Note *error*; gives what to raise in its place, which says what to do."""
    advised = StoreCorrupt(f"{error}; {ADVICE}")
    note(log, str(advised))
    return advised


def note(log: Path, why: str) -> None:
    """Write down that *log* is damaged; the first note stays."""
    with suppress(OSError), _place(log).open("x", encoding="utf-8") as file:
        file.write(why)


def noted(log: Path) -> str | None:
    """What was written down; None if nothing."""
    try:
        return _place(log).read_text("utf-8", "replace").strip()
    except OSError:
        return None  # or it can't be read: then SQLite will say what is wrong with the folder


def forget(log: Path) -> bool:
    """Take the note away; whether there was one."""
    try:
        _place(log).unlink()
    except FileNotFoundError:
        return False
    return True


def _place(log: Path) -> Path:
    return log.with_suffix(".damage")
