"""The ring: the newest committed batches, which every live subscription reads.

Bounded by events and bytes; what falls out is read from the log instead.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection

from antiphon.bus.batch import Batch

RING_EVENTS = 65_536
RING_BYTES = 64 * 1024 * 1024
_COMPACT_AT = 1024


class Ring:
    """Batches in order, found by position or by a running index.

    Attributes:
        floor: Positions at or after it can be read from here; older ones can't.
        head: The last seq announced.
        end: The index that the next batch will get; an index never changes.

    Args:
        floor: The head of the log when it was opened.
        max_events, max_bytes: The bounds; the oldest batches go first, and one batch
            always stays.
    """

    def __init__(
        self, floor: int, *, max_events: int = RING_EVENTS, max_bytes: int = RING_BYTES
    ) -> None:
        self.floor = floor
        self.head = floor
        self.end = 0
        self.max_events = max_events
        self.max_bytes = max_bytes
        self.events = 0
        self.size_bytes = 0
        self._batches: list[Batch] = []
        self._uptos: list[int] = []
        self._gone = 0
        self._base = 0

    def append(self, batch: Batch) -> None:
        """Add the newest batch, which must continue the head."""
        assert batch.after == self.head, (batch.after, self.head)
        self._batches.append(batch)
        self._uptos.append(batch.upto)
        self.end += 1
        self.head = batch.upto
        self.events += len(batch)
        self.size_bytes += batch.size_bytes
        while (self.events > self.max_events or self.size_bytes > self.max_bytes) and (
            len(self._batches) - self._gone > 1
        ):
            self._drop_oldest()

    def drop(self, seqs: Collection[int]) -> None:
        """Put batches without these events in the place of those that have them."""
        found = {bisect_left(self._uptos, seq, lo=self._gone) for seq in seqs}
        gone = frozenset(seqs)
        for at in sorted(found):
            if at < len(self._batches):
                before = self._batches[at]
                after = self._batches[at] = before.without(gone)
                self.events -= len(before) - len(after)
                self.size_bytes -= before.size_bytes - after.size_bytes

    def restart(self, floor: int) -> None:
        """Forget everything; the log has what was here, and what was never announced."""
        self._base = self.end
        self._gone = 0
        self._batches.clear()
        self._uptos.clear()
        self.events = self.size_bytes = 0
        self.floor = self.head = floor

    def get(self, index: int) -> Batch | None:
        """The batch with this index, or None if it has fallen out."""
        at = index - self._base
        return self._batches[at] if at >= self._gone else None

    def index_after(self, position: int) -> int | None:
        """Index of the first batch reaching past *position*; None if that has fallen out."""
        if position < self.floor:
            return None
        return self._base + bisect_right(self._uptos, position, lo=self._gone)

    def _drop_oldest(self) -> None:
        oldest = self._batches[self._gone]
        self.floor = oldest.upto
        self.events -= len(oldest)
        self.size_bytes -= oldest.size_bytes
        self._batches[self._gone] = _EMPTY
        self._gone += 1
        if self._gone >= _COMPACT_AT:
            del self._batches[: self._gone]
            del self._uptos[: self._gone]
            self._base += self._gone
            self._gone = 0


_EMPTY = Batch(after=0, upto=0, seqs=(), topics=[], data=[])
