"""Decisions of a supervisor, pure: who is restarted, when, and when it is too much.

``supervisor.py`` performs them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import TypeVar

from antiphon.actors.reasons import Failed, Killed, Reason

T = TypeVar("T")


class Restart(StrEnum):
    """When a child is started again."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    TEMPORARY = "temporary"

    def wanted(self, reason: Reason) -> bool:
        """Tell whether a generation that ended by *reason* is followed by another."""
        if self is Restart.TRANSIENT:
            return isinstance(reason, Failed | Killed)
        return self is Restart.PERMANENT


class Strategy(StrEnum):
    """Whose generations end when one child's has, to be started again together."""

    ONE_FOR_ONE = "one_for_one"
    ONE_FOR_ALL = "one_for_all"
    REST_FOR_ONE = "rest_for_one"

    def group(self, children: Sequence[T], ended: T) -> list[T]:
        """Those of *children*, in the order of starting, that restart because *ended* did."""
        if self is Strategy.ONE_FOR_ALL:
            return list(children)
        if self is Strategy.REST_FOR_ONE:
            return list(children[children.index(ended) :])
        return [ended]


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before each restart of one child; the first is immediate.

    Then ``min(cap, base * 2**k)``, less up to *jitter* of itself. All in seconds.

    Args:
        reset_after: After so much healthy running, the next restart is a first one again.
        jitter: From 0 (none) to 1.
    """

    base: float = 0.1
    cap: float = 30.0
    jitter: float = 0.2
    reset_after: float = 60.0

    def __post_init__(self) -> None:
        if not (0 <= self.jitter <= 1 and 0 <= self.base <= self.cap):
            raise ValueError(f"backoff needs 0 <= base <= cap and 0 <= jitter <= 1, got {self}")

    def delay(self, restarts: int, random: Random) -> float:
        """Seconds to wait after *restarts* unhealthy restarts."""
        if restarts == 0:
            return 0.0
        full = min(self.cap, self.base * 2.0 ** min(restarts - 1, 64))
        return full * (1 - self.jitter * random.random())


DEFAULT_BACKOFF = Backoff()


class Pulse:
    """How often one child was restarted without being healthy in between."""

    __slots__ = ("_backoff", "_random", "_restarts")

    def __init__(self, backoff: Backoff, random: Random) -> None:
        self._backoff = backoff
        self._random = random
        self._restarts = 0

    def next_delay(self, ran_for: float) -> float:
        """Count a restart after *ran_for* seconds of running; how long to wait for it."""
        if ran_for >= self._backoff.reset_after:
            self._restarts = 0
        delay = self._backoff.delay(self._restarts, self._random)
        self._restarts += 1
        return delay


class Intensity:
    """A sliding window of restarts.

    Args:
        most: So many restarts are allowed within *period* seconds.
    """

    __slots__ = ("_times", "most", "period")

    def __init__(self, most: int, period: float) -> None:
        if most < 0 or period <= 0:
            raise ValueError(f"intensity needs most >= 0 and period > 0, got {most} in {period}")
        self.most = most
        self.period = period
        self._times: deque[float] = deque()

    def admit(self, now: float) -> bool:
        """Count a restart at *now*; False if it is one too many."""
        while self._times and self._times[0] <= now - self.period:
            self._times.popleft()
        self._times.append(now)
        return len(self._times) <= self.most
