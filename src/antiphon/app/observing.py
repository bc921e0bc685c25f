"""The runtime's own news as events: ``_sys.actors.KEY.started`` and so on.

Supervised actors have a topic each. Those that come and go under one parent, as
connections do, share the parent's: a topic for each would never end. ``key`` and
``source`` tell which one it was. At most ten a second for each topic; the rest is
folded into the next one, with a count, so that a storm can't fill the log.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from dataclasses import dataclass
from typing import Any

from antiphon.actors import ActorRef, DeadLetter, Reason
from antiphon.bus import Bus
from antiphon.errors import BusError
from antiphon.messages import Published

logger = logging.getLogger(__name__)

PER_SECOND = 10
KEYS_KEPT = 10_000
TRACEBACK_CHARS = 16_000


@dataclass(slots=True)
class _Window:
    """One key's events in the second that began at ``since``."""

    since: float
    count: int = 0
    folded: int = 0


class Observing:
    """Publishes what the actor system tells, once it has a bus."""

    def __init__(self) -> None:
        self.bus: Bus | None = None
        self._early: list[tuple[ActorRef[Any], str, dict[str, Any]]] = []
        self._windows: dict[str, _Window] = {}

    def attach(self, bus: Bus) -> None:
        """Publish from now on, first what was told before."""
        self.bus = bus
        early, self._early = self._early, []
        for told in early:
            self._tell(*told)

    def started(self, ref: ActorRef[Any], generation: int) -> None:
        self._tell(ref, "started", {"generation": generation})

    def restarted(self, ref: ActorRef[Any], generation: int, reason: Reason, delay: float) -> None:
        told = {"generation": generation, "reason": str(reason), "delay_s": round(delay, 3)}
        self._tell(ref, "restarted", told)

    def stopped(self, ref: ActorRef[Any], generation: int, reason: Reason) -> None:
        self._tell(ref, "stopped", {"generation": generation, "reason": str(reason)})

    def failed(self, ref: ActorRef[Any], generation: int, error: BaseException) -> None:
        text = "".join(traceback.format_exception(error))[-TRACEBACK_CHARS:]
        safe = text.encode("utf-8", "replace").decode()
        self._tell(ref, "failed", {"generation": generation, "traceback": safe})

    def tripped(self, ref: ActorRef[Any], error: BaseException) -> None:
        self._tell(ref, "tripped", {"error": str(error)})

    def dead_letter(self, letter: DeadLetter, count: int) -> None:
        """Counted by the system itself; an event for each would feed on itself."""

    def _tell(self, ref: ActorRef[Any], what: str, payload: dict[str, Any]) -> None:
        if self.bus is None:
            self._early.append((ref, what, payload))
            return
        path, name = ref.path, _name(ref.path)
        place = path if ref.is_supervised else path.rpartition("/")[0]
        folded = self._folded(place)
        if folded is None:
            return
        if folded:
            payload = {**payload, "folded": folded}
        try:
            self.bus.publish_event(
                f"_sys.actors.{_tokens(place)}.{what}",
                payload,
                type=f"actor_{what}",
                source=f"/actors/{name}",
                key=name,
                level="none",
            ).add_done_callback(_look)
        except BusError as error:
            logger.warning("an event about %s was not published: %s", path, error)

    def _folded(self, place: str) -> int | None:
        """How many were folded into this one; None if this one is folded too."""
        now = time.monotonic()
        window = self._windows.get(place)
        if window is None or now - window.since >= 1.0:
            if len(self._windows) >= KEYS_KEPT:
                self._windows.clear()
            folded = 0 if window is None else window.folded
            self._windows[place] = _Window(now, 1)
            return folded
        if window.count >= PER_SECOND:
            window.folded += 1
            return None
        window.count += 1
        return 0


def _look(done: asyncio.Future[Published]) -> None:
    """The store has said why by itself; that this was refused too is worth no more."""
    if not done.cancelled() and (error := done.exception()) is not None:
        logger.debug("an event about an actor was refused: %s", error)


def _name(path: str) -> str:
    """An actor's path as a short text of an event."""
    return "".join(c if " " <= c <= "~" else "?" for c in path)[:150]


def _tokens(path: str) -> str:
    """An actor's path as tokens of a topic."""
    parts = path.split("/")[:12]
    return ".".join(
        "".join(c if (c.isalnum() and c.isascii()) or c in "_-" else "_" for c in part)[:64] or "_"
        for part in parts
    )[:160].rstrip(".")
