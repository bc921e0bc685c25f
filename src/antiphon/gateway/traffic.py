"""What went in and out since the server began: plain numbers, counted where it happens.

They cost next to nothing, so they are always counted; ``metrics.py`` tells them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets of durations, in seconds; a last one takes the rest."""
VISIT = "antiphon.visit"
"""Where a scope, and whatever copy of it is handed on, has the ``Visit``."""
OTHER = "other"
"""What came to none: turned away at the door, the page's files, no such path."""


class Visit:
    """One HTTP request, on its way.

    Attributes:
        operation: Which of the table it came to; None: to none yet.
    """

    __slots__ = ("operation",)

    def __init__(self) -> None:
        self.operation: str | None = None


class Durations:
    """A histogram.

    Attributes:
        buckets: How many fell between each bound and the one before it.
        total_s: Their sum, in seconds.
    """

    __slots__ = ("buckets", "total_s")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS_S) + 1)
        self.total_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.buckets[bisect_left(BOUNDS_S, seconds)] += 1
        self.total_s += seconds


class Traffic:
    """Counters of one gateway.

    Attributes:
        requests: Answered, by operation and status.
        durations: By operation: until the answer began, so that streams count too.
        sockets: Open now.
        accepted: WebSockets opened so far.
        closes: WebSockets closed by the server, by close code.
        frames_in, frames_out, bytes_out: Of WebSockets; bytes are those of the texts.
        denied: Requests and handshakes turned away at the door.
    """

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.durations: dict[str, Durations] = {}
        self.sockets = 0
        self.accepted = 0
        self.closes: Counter[int] = Counter()
        self.frames_in = 0
        self.frames_out = 0
        self.bytes_out = 0
        self.denied = 0

    def answered(self, operation: str, status: int, seconds: float) -> None:
        """An HTTP request has its answer."""
        self.requests[operation, status] += 1
        durations = self.durations.get(operation)
        if durations is None:
            durations = self.durations[operation] = Durations()
        durations.add(seconds)
