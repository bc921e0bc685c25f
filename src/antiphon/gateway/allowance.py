"""So much at once, and so much a second from then on. Pure."""

from __future__ import annotations


class Allowance:
    """Counts what is taken.

    Args:
        at_once: How much may be taken at first, and again after a while of nothing.
        per_s: How much comes back each second.
        now: Seconds of any clock that never goes back.
    """

    def __init__(self, at_once: float, per_s: float, now: float) -> None:
        self._at_once = at_once
        self._per_s = per_s
        self._left = at_once
        self._at = now

    def take(self, count: int, now: float) -> bool:
        """Take *count*; whether that was within the allowance."""
        back = (now - self._at) * self._per_s
        self._left = min(self._at_once, self._left + back) - count
        self._at = now
        return self._left >= 0
