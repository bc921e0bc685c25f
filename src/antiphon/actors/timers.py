"""Timers of one generation: a message to itself, later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from antiphon.actors.request import Envelope

if TYPE_CHECKING:
    from antiphon.actors.life import Life


class Timer:
    """A message on its way; it ends with the generation that made it."""

    __slots__ = ("_handle", "_life", "_message", "active")

    def __init__(self, life: Life, delay: float, message: Any) -> None:
        self._life = life
        self._message = message
        self.active = True
        life.timers.add(self)
        self._handle = life.clock.call_later(delay, self._fire)

    def cancel(self) -> None:
        """Deliver nothing any more, even if the message is queued already."""
        self.active = False
        self._handle.cancel()
        self._life.timers.discard(self)

    def _fire(self) -> None:
        self._life.timers.discard(self)
        if self.active:
            envelope = Envelope(self._message, None)
            envelope.life = self._life
            envelope.timer = self
            self._life.cell.box.put_own(envelope)
