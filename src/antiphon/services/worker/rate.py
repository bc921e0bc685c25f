"""How fast a pipe may be read: a token bucket. Pure; times are monotonic seconds."""

from __future__ import annotations

MIB = 1024 * 1024
KEPT_RATE = 1.0 * MIB
FOLDED_RATE = 4.0 * MIB


class RatePolicy:
    """Lets through *rate* bytes a second, and up to one second's worth at once.

    A read is allowed while anything is left, and may overdraw: the debt is waited off.
    """

    def __init__(self, rate: float, now: float) -> None:
        if rate <= 0:
            raise ValueError(f"rate must be above 0, got {rate}")
        self._rate = rate
        self._left = rate
        self._at = now

    def wait(self, now: float) -> float:
        """Seconds until the next read is allowed; 0 for now."""
        self._refill(now)
        return 0.0 if self._left > 0 else -self._left / self._rate + 0.001

    def spend(self, size: int, now: float) -> None:
        """*size* bytes were read."""
        self._refill(now)
        self._left -= size

    def change(self, rate: float, now: float) -> None:
        """Go on with another rate."""
        self._refill(now)
        self._rate = rate

    def _refill(self, now: float) -> None:
        if now > self._at:
            self._left = min(self._rate, self._left + (now - self._at) * self._rate)
            self._at = now
