"""How long to wait before connecting again: exponential, with full jitter. Pure.

"Exponential Backoff And Jitter", AWS Architecture Blog, 2015: the whole wait is drawn, so that
clients that were cut off together don't come back together.
"""

from __future__ import annotations

FIRST_S = 0.1
MOST_S = 10.0


def backoff_s(attempt: int, luck: float, *, most: float = MOST_S) -> float:
    """Seconds before *attempt* (from 0); *luck* is drawn from 0 to 1."""
    return min(most, FIRST_S * (1 << min(attempt, 16))) * luck
