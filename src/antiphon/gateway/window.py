"""How far a subscription may run ahead of its client's acknowledgements. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence


class Window:
    """Counts the events sent and not yet acknowledged.

    An acknowledgement is a seq: that of an event, or of the cursor that came
    with it. Acknowledging less than before changes nothing.

    Args:
        size: Most unacknowledged events.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.told = 0
        self._sent: deque[Sequence[int]] = deque()
        self._unacked = 0

    @property
    def room(self) -> int:
        """How many more may be sent now."""
        return self.size - self._unacked

    @property
    def unacked(self) -> int:
        """How many were sent and not acknowledged."""
        return self._unacked

    def sent(self, seqs: Sequence[int], upto: int) -> None:
        """Count events that were sent, ascending, with the position *upto* after them."""
        self._sent.append(seqs)
        self._unacked += len(seqs)
        self.tell(upto)

    def tell(self, position: int) -> None:
        """Remember that the client knows of *position*, so may acknowledge it."""
        self.told = max(self.told, position)

    def ack(self, seq: int) -> bool:
        """Take an acknowledgement; whether a full window opened by it."""
        was_full = self.room <= 0
        while self._sent and self._sent[0][-1] <= seq:
            self._unacked -= len(self._sent.popleft())
        if self._sent:
            first = self._sent[0]
            done = bisect_right(first, seq)
            if done:
                self._sent[0] = first[done:]
                self._unacked -= done
        return was_full and self.room > 0
