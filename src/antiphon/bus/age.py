"""Whether the wall clock can be trusted to tell how old an event is. Pure.

Deleting by age believes the clock. So it is compared with one that only goes on, and
that goes on while the machine sleeps: what they disagree by is a jump.
"""

from __future__ import annotations

import time
from collections.abc import Callable

JUMP_S = 86_400.0
"""A jump by more than this stops retention by age until the clocks agree again."""


def steady() -> float:
    """Seconds since the machine started, the time that it was suspended included."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class AgeClock:
    """The wall clock, as far as it can be trusted.

    Args:
        wall: Seconds since 1970.
        steady: Seconds since some fixed moment; never jumps.
    """

    def __init__(
        self, *, wall: Callable[[], float] = time.time, steady: Callable[[], float] = steady
    ) -> None:
        self._wall = wall
        self._steady = steady
        self._offset = wall() - steady()

    def steady(self) -> float:
        """Seconds since some fixed moment."""
        return self._steady()

    def now(self) -> float:
        """Seconds since 1970, trusted or not."""
        return self._wall()

    def doubt(self, newest_recorded_s: float) -> str | None:
        """Why nothing may be deleted by age now; None if all is well.

        Args:
            newest_recorded_s: When the log's newest event was recorded; 0 if it has none.
        """
        wall = self._wall()
        jump = wall - self._steady() - self._offset
        if abs(jump) > JUMP_S:
            way = "forward" if jump > 0 else "back"
            return f"the clock jumped {way} by {abs(jump) / JUMP_S:.1f} days"
        ahead = newest_recorded_s - wall
        if ahead > JUMP_S:
            return f"the newest event was recorded {ahead / JUMP_S:.1f} days in the future"
        return None
