"""When waiting callers give up: one queue for each timeout value, one timer for all.

In a queue of equal timeouts the first to come is the first due, so adding
and forgetting are a few operations on a deque; ``loop.call_later`` for each call
cost a third more. The timer stands at the earliest deadline.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from antiphon.actors.clock import Clock, TimerHandle
from antiphon.errors import CallTimeout

_COMPACT_AT = 4096
_SLACK = 1e-9  # sums of floats


class Deadlines:
    """Fails futures that nobody has answered in time."""

    __slots__ = ("_armed", "_clock", "_compact_at", "_now", "_queues", "_timer")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._now = clock.now  # asked by each call
        self._queues: dict[float, deque[tuple[float, asyncio.Future[Any]]]] = {}
        self._armed = float("inf")
        self._timer: TimerHandle | None = None
        self._compact_at = _COMPACT_AT

    def add(self, timeout: float, future: asyncio.Future[Any]) -> None:
        """Fail *future* in *timeout* seconds with CallTimeout, unless it is done by then.

        Raises:
            ValueError: *timeout* is no number of seconds from 0 up.
        """
        due = self._now() + timeout
        queue = self._queues.get(timeout)
        if queue is None:
            if not timeout >= 0:
                raise ValueError(f"a timeout is a number of seconds from 0, got {timeout}")
            queue = self._queues[timeout] = deque()
        else:
            while queue:
                if not queue[0][1].done():
                    if len(queue) > self._compact_at:
                        self._compact(queue)
                    break
                queue.popleft()
        queue.append((due, future))
        if due < self._armed:
            self._arm(due)

    def __len__(self) -> int:
        return sum(not f.done() for q in self._queues.values() for _, f in q)

    def close(self) -> None:
        """Fail nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _compact(self, queue: deque[tuple[float, asyncio.Future[Any]]]) -> None:
        waiting = [entry for entry in queue if not entry[1].done()]
        queue.clear()
        queue.extend(waiting)
        self._compact_at = max(_COMPACT_AT, 2 * len(waiting))

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = due
        self._timer = self._clock.call_later(max(0.0, due - self._clock.now()), self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        self._armed = float("inf")
        now = self._clock.now()
        earliest = float("inf")
        for timeout, queue in list(self._queues.items()):
            while queue and (queue[0][1].done() or queue[0][0] <= now + _SLACK):
                _, future = queue.popleft()
                if not future.done():
                    future.set_exception(CallTimeout(f"no answer within {timeout:g} s"))
            if queue:
                earliest = min(earliest, queue[0][0])
            else:
                del self._queues[timeout]
        if earliest < self._armed:
            self._arm(earliest)
