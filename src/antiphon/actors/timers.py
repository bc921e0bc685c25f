"""Timers of one generation: a message to itself, later, once or again and again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from antiphon.actors.request import Envelope
from antiphon.actors.trace import current_trace

if TYPE_CHECKING:
    from antiphon.actors.life import Life


class Timer:
    """A message on its way; it ends with the generation that made it.

    Attributes:
        active: Its message is still to be handled; ``cancel`` clears it.
    """

    __slots__ = ("_handle", "_life", "_message", "_trace", "active", "queued")

    def __init__(self, life: Life, delay: float, message: Any) -> None:
        self._life = life
        self._message = message
        self._trace = current_trace()
        self.active = True
        self.queued = False
        life.own.timers.add(self)
        self._handle = life.clock.call_later(delay, self._fire)

    def cancel(self) -> None:
        """Deliver nothing any more, even if the message is queued already."""
        self.active = False
        self._handle.cancel()
        self._life.own.timers.discard(self)

    def _fire(self) -> None:
        self._life.own.timers.discard(self)
        self._put()

    def _put(self) -> None:
        envelope = Envelope(self._message, None, self._trace)
        envelope.life = self._life
        envelope.timer = self
        self.queued = True
        self._life.cell.box.put_own(envelope)


class Interval(Timer):
    """A message at each multiple of *period*, counted from its making, so it never drifts.

    At most one of them waits in the mailbox; what comes due meanwhile is left out.

    Attributes:
        missed: How many were left out.
    """

    __slots__ = ("_period", "_start", "missed")

    def __init__(self, life: Life, period: float, message: Any) -> None:
        self._period = period
        self._start = life.clock.now()
        self.missed = 0
        super().__init__(life, period, message)

    def _fire(self) -> None:
        now = self._life.clock.now()
        passed = max(1, math.floor((now - self._start) / self._period + 1e-9))
        due = self._start + (passed + 1) * self._period
        self._handle = self._life.clock.call_later(due - now, self._fire)
        if self.queued:
            self.missed += 1
        else:
            self._put()
