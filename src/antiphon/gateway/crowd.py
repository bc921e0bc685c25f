"""All connections of a server together: how many there may be, and which goes when there are more.

Whoever opens connections and asks for nothing must not keep out those who ask.
"""

from __future__ import annotations

from typing import Protocol


class Cuttable(Protocol):
    """A transport."""

    def abort(self) -> None: ...


class Crowd:
    """Counts connections; past *size*, the one that has asked for nothing for longest is cut.

    If all are busy, that is the one that has just come.

    Attributes:
        cut: How many had to go.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._all: set[Cuttable] = set()
        self._idle: dict[Cuttable, None] = {}  # longest first
        self.cut = 0

    def __len__(self) -> int:
        return len(self._all)

    def came(self, connection: Cuttable) -> None:
        """It is new, and has asked for nothing yet."""
        self._all.add(connection)
        self._idle[connection] = None
        if len(self._all) > self._size:
            longest = next(iter(self._idle))
            self.left(longest)
            self.cut += 1
            longest.abort()

    def is_busy(self, connection: Cuttable) -> None:
        """It has asked for something."""
        self._idle.pop(connection, None)

    def is_idle(self, connection: Cuttable) -> None:
        """It has its answer, and asks for nothing."""
        if connection in self._all:
            self._idle.pop(connection, None)
            self._idle[connection] = None

    def left(self, connection: Cuttable) -> None:
        """It is gone. Idempotent."""
        self._all.discard(connection)
        self._idle.pop(connection, None)
