"""Refused requests as events, so that somebody can see them; never a flood of them."""

from __future__ import annotations

import asyncio
import logging

from antiphon.actors import Clock
from antiphon.bus import Bus
from antiphon.errors import BusError
from antiphon.messages import Published

logger = logging.getLogger(__name__)

DENIED = "_sys.audit.denied"
EVERY_S = 10.0
"""At most one event in so many seconds; what it leaves out is counted in the next."""


class Audit:
    """Publishes ``_sys.audit.denied``."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._next = 0.0
        self._folded = 0

    def denied(self, reason: str, path: str, client: str | None) -> None:
        """A request was turned away at the door; *client* is its address, if it has one."""
        now = self._clock.now()
        if now < self._next:
            self._folded += 1
            return
        self._next = now + EVERY_S
        payload = {"reason": reason, "path": path[:200], "client": client, "also": self._folded}
        self._folded = 0
        try:
            self._bus.publish_event(DENIED, payload).add_done_callback(_look)
        except BusError as error:
            logger.warning("a denial could not be written down: %s", error)


def _look(done: asyncio.Future[Published]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        logger.warning("a denial could not be written down: %s", error)
