"""When lines become an event, and which: all of them, or the newest few. Pure.

Both keepers of lines have the same shape: ``add`` lines, ask ``due``, ``take`` the batch.
Times are monotonic seconds, sizes bytes of output, newlines included.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from antiphon.services.worker.lines import text

BATCH_BYTES = 32 * 1024
BATCH_AFTER = 0.05
FOLD_EVERY = 1.0
FOLD_LINES = 20


@dataclass(frozen=True, slots=True)
class Batch:
    """The lines of one event.

    Attributes:
        from_line: The number of the first one, from 1; if there are none, of the next.
        skipped_lines, skipped_bytes: What was left out just before them.
    """

    lines: list[bytes]
    from_line: int
    skipped_lines: int = 0
    skipped_bytes: int = 0

    def payload(self, stream: str) -> dict[str, Any]:
        payload: dict[str, Any] = {
            "stream": stream,
            "lines": [text(line) for line in self.lines],
            "from_line": self.from_line,
        }
        if self.skipped_lines:
            payload["skipped_lines"] = self.skipped_lines
            payload["skipped_bytes"] = self.skipped_bytes
        return payload


class Batches(Protocol):
    """Holds lines until they are due."""

    def add(self, lines: Sequence[bytes], now: float) -> None: ...

    def due(self, now: float) -> float | None:
        """Seconds until a batch should be taken, 0 for now; None: nothing is here."""
        ...

    def take(self, now: float) -> Batch: ...


class Gathering:
    """Keeps every line: due at 32 KiB, or 50 ms after the first line.

    Add what one read brought, then take while ``due`` says 0: so it never holds much
    more than a batch and one read.
    """

    def __init__(self, next_line: int = 1) -> None:
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._since = 0.0
        self._next = next_line

    @property
    def next_line(self) -> int:
        """The number of the first line that is not yet taken."""
        return self._next

    def add(self, lines: Sequence[bytes], now: float) -> None:
        if lines and not self._lines:
            self._since = now
        self._lines += lines
        self._bytes += sum(map(len, lines)) + len(lines)

    def due(self, now: float) -> float | None:
        if not self._lines:
            return None
        if self._bytes >= BATCH_BYTES:
            return 0.0
        return max(0.0, self._since + BATCH_AFTER - now)

    def take(self, now: float) -> Batch:
        lines: list[bytes] = []
        room = BATCH_BYTES
        while self._lines and (not lines or len(self._lines[0]) < room):
            line = self._lines.popleft()
            room -= len(line) + 1
            lines.append(line)
        self._bytes -= BATCH_BYTES - room
        batch = Batch(lines, self._next)
        self._next += len(lines)
        return batch


class Folding:
    """Keeps the newest lines and counts the others: due once a second.

    It holds at most 20 lines of together 32 KiB, however much is added.
    """

    def __init__(self, next_line: int = 1) -> None:
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._next = next_line
        self._skipped_lines = 0
        self._skipped_bytes = 0
        self._since: float | None = None
        self._taken = float("-inf")

    def add(self, lines: Sequence[bytes], now: float) -> None:
        if not lines:
            return
        if self._since is None:
            self._since = now
        early = len(lines) - FOLD_LINES
        if early > 0:
            self._skip_held()
            self._skipped_lines += early
            self._skipped_bytes += sum(map(len, lines[:early])) + early
            lines = lines[early:]
        for line in lines:
            self._lines.append(line)
            self._bytes += len(line) + 1
        while len(self._lines) > FOLD_LINES or self._bytes > BATCH_BYTES:
            self._skip_oldest()

    def due(self, now: float) -> float | None:
        if self._since is None:
            return None
        return max(0.0, self._since + BATCH_AFTER - now, self._taken + FOLD_EVERY - now)

    def take(self, now: float) -> Batch:
        first = self._next + self._skipped_lines
        batch = Batch(list(self._lines), first, self._skipped_lines, self._skipped_bytes)
        self._next = first + len(batch.lines)
        self._lines.clear()
        self._bytes = self._skipped_lines = self._skipped_bytes = 0
        self._since = None
        self._taken = now
        return batch

    def _skip_held(self) -> None:
        while self._lines:
            self._skip_oldest()

    def _skip_oldest(self) -> None:
        size = len(self._lines.popleft()) + 1
        self._bytes -= size
        self._skipped_lines += 1
        self._skipped_bytes += size
