"""When to look at the whole folder again, though nothing was heard.

Notifications can be lost without a word (the kernel's queue overflows), so things are
looked over when they go quiet, and slowly for ever. Full looks may take only a
twentieth of the time.

Pure: times are seconds on one monotonic clock.

Promises: docs/semantics/files.md#convergence.
"""

from __future__ import annotations

from math import inf

QUIET_S = (0.3, 2.0)
SLOW_S = 60.0
BLIND_S = 1.0
SHARE = 20
SLOW_SHARE = 200


class Schedule:
    """Decides when the next full look is due."""

    def __init__(self) -> None:
        self._heard = -inf
        self._quiet_left: tuple[float, ...] = ()
        self._ended = -inf
        self._cost = 0.0
        self.blind = False
        """Whether some folder has no watch, so that looking is all there is."""

    def heard(self, now: float) -> None:
        """Something happens in the folder."""
        self._heard = now
        self._quiet_left = QUIET_S

    def looked(self, started: float, ended: float) -> None:
        """A full look took from *started* to *ended*."""
        self._cost = ended - started
        self._ended = ended
        self._quiet_left = tuple(s for s in self._quiet_left if self._heard + s > started)

    def due(self) -> float:
        """The time of the next full look."""
        period = max(SLOW_S, SLOW_SHARE * self._cost)
        if self.blind:
            period = max(BLIND_S, SHARE * self._cost)
        due = self._ended + period
        if self._quiet_left:
            affordable = self._ended + SHARE * self._cost
            due = min(due, max(self._heard + self._quiet_left[0], affordable))
        return due
