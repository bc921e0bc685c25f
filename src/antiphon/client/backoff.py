"""How long to wait before connecting again: exponential, with full jitter. Pure.

"Exponential Backoff And Jitter", AWS Architecture Blog, 2015: the whole wait is drawn, so that
clients that were cut off together don't come back together.
"""

from __future__ import annotations

FIRST_S = 0.1
MOST_S = 10.0
STEADY_S = 5.0
"""A connection that lasted as long starts the waits anew; one that falls at once does not."""


class Backoff:
    """The waits of one client, one after the other.

    Args:
        most: Seconds that the longest may take.
    """

    def __init__(self, most: float = MOST_S) -> None:
        self._most = most
        self._attempt = 0

    def wait_s(self, lasted: float, luck: float) -> float:
        """Seconds until the next try.

        Args:
            lasted: For how many seconds the connection was live that was lost; 0: never.
            luck: Drawn from 0 to 1.
        """
        if lasted >= STEADY_S:
            self._attempt = 0
        bound = FIRST_S * (1 << min(self._attempt, 16))
        self._attempt += 1
        return min(self._most, bound) * luck
