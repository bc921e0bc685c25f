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
        self._refill(now)
        self._left -= count
        return self._left >= 0

    def wait(self, count: int, now: float) -> float:
        """Seconds until *count* would be within the allowance; takes nothing."""
        self._refill(now)
        return max(0.0, (min(count, self._at_once) - self._left) / self._per_s)

    def _refill(self, now: float) -> None:
        self._left = min(self._at_once, self._left + (now - self._at) * self._per_s)
        self._at = now
