"""A clock that stands still until a test moves it."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any

_SLACK = 1e-9  # sums of floats


class ManualTimer:
    """A callback at a moment of a ``ManualClock``."""

    __slots__ = ("args", "callback", "cancelled", "when")

    def __init__(self, when: float, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.when = when
        self.callback = callback
        self.args = args
        self.cancelled = False

    def cancel(self) -> None:
        """Never run it."""
        self.cancelled = True


class ManualClock:
    """Starts at *start* seconds. Move it by ``testing.advance``, which also settles."""

    def __init__(self, start: float = 1000.0) -> None:
        self._now = start
        self._order = itertools.count()
        self._timers: list[tuple[float, int, ManualTimer]] = []

    def now(self) -> float:
        return self._now

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> ManualTimer:
        timer = ManualTimer(self._now + max(0.0, delay), callback, args)
        heapq.heappush(self._timers, (timer.when, next(self._order), timer))
        return timer

    @property
    def next_due(self) -> float | None:
        """When the next timer is due, or None."""
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    @property
    def pending(self) -> int:
        """How many timers are still to come."""
        return sum(not timer.cancelled for _, _, timer in self._timers)

    def fire_next(self, until: float) -> bool:
        """Move to the next timer due by *until* and run it; False if there is none."""
        due = self.next_due
        if due is None or due > until + _SLACK:
            return False
        _, _, timer = heapq.heappop(self._timers)
        self._now = max(self._now, due)
        timer.callback(*timer.args)
        return True

    def set(self, now: float) -> None:
        """Be at *now*, without running anything; never goes back."""
        self._now = max(self._now, now)
