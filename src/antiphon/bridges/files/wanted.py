"""Paths that were heard of and not looked at yet.

Pure and bounded: past the limit it no longer counts paths but wants everything.
"""

from __future__ import annotations

from collections.abc import Iterable

LIMIT = 10_000


class Wanted:
    """A bounded set of relative paths to look at."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._paths: set[str] = set()
        self._everything = False

    def __bool__(self) -> bool:
        return self._everything or bool(self._paths)

    def add(self, paths: Iterable[str]) -> None:
        """Want *paths* looked at."""
        if self._everything:
            return
        for path in paths:
            self._paths.add(path)
            if len(self._paths) > self._limit:
                self.add_everything()
                return

    def add_everything(self) -> None:
        """Want the whole folder looked at."""
        self._everything = True
        self._paths.clear()

    def take(self) -> list[str] | None:
        """The paths, sorted, or None for everything; nothing is wanted afterwards."""
        paths, everything = self._paths, self._everything
        self._paths, self._everything = set(), False
        return None if everything else sorted(paths)
