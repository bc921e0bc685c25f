"""The runtime's own news as events: ``_sys.actors.KEY.started`` and so on.

At most ten a second for each key; the rest is folded into the next one, with a
count, so that a storm of restarts can't fill the log.
"""

from __future__ import annotations

import logging
import time
import traceback
from dataclasses import dataclass
from typing import Any

from antiphon.actors import ActorRef, DeadLetter, Reason
from antiphon.bus import Bus
from antiphon.errors import BusError

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
        self._early: list[tuple[str, str, dict[str, Any]]] = []
        self._windows: dict[str, _Window] = {}

    def attach(self, bus: Bus) -> None:
        """Publish from now on, first what was told before."""
        self.bus = bus
        early, self._early = self._early, []
        for told in early:
            self._tell(*told)

    def started(self, ref: ActorRef[Any], generation: int) -> None:
        self._tell(ref.path, "started", {"generation": generation})

    def restarted(self, ref: ActorRef[Any], generation: int, reason: Reason, delay: float) -> None:
        told = {"generation": generation, "reason": str(reason), "delay_s": round(delay, 3)}
        self._tell(ref.path, "restarted", told)

    def stopped(self, ref: ActorRef[Any], generation: int, reason: Reason) -> None:
        self._tell(ref.path, "stopped", {"generation": generation, "reason": str(reason)})

    def failed(self, ref: ActorRef[Any], generation: int, error: BaseException) -> None:
        text = "".join(traceback.format_exception(error))[-TRACEBACK_CHARS:]
        safe = text.encode("utf-8", "replace").decode()
        self._tell(ref.path, "failed", {"generation": generation, "traceback": safe})

    def tripped(self, ref: ActorRef[Any], error: BaseException) -> None:
        self._tell(ref.path, "tripped", {"error": str(error)})

    def dead_letter(self, letter: DeadLetter, count: int) -> None:
        """Counted by the system itself; an event for each would feed on itself."""

    def _tell(self, path: str, what: str, payload: dict[str, Any]) -> None:
        if self.bus is None:
            self._early.append((path, what, payload))
            return
        folded = self._folded(path)
        if folded is None:
            return
        if folded:
            payload = {**payload, "folded": folded}
        try:
            self.bus.publish_event(
                f"_sys.actors.{_tokens(path)}.{what}",
                payload,
                type=f"actor_{what}",
                source=f"/actors/{path}",
                level="none",
            )
        except BusError as error:
            logger.warning("an event about %s was not published: %s", path, error)

    def _folded(self, path: str) -> int | None:
        """How many were folded into this one; None if this one is folded too."""
        now = time.monotonic()
        window = self._windows.get(path)
        if window is None or now - window.since >= 1.0:
            if len(self._windows) >= KEYS_KEPT:
                self._windows.clear()
            folded = 0 if window is None else window.folded
            self._windows[path] = _Window(now, 1)
            return folded
        if window.count >= PER_SECOND:
            window.folded += 1
            return None
        window.count += 1
        return 0


def _tokens(path: str) -> str:
    """An actor's path as tokens of a topic."""
    parts = path.split("/")[:12]
    return ".".join(
        "".join(c if (c.isalnum() and c.isascii()) or c in "_-" else "_" for c in part)[:64] or "_"
        for part in parts
    )[:160].rstrip(".")
