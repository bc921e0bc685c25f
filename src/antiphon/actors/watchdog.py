"""Tells when something blocks the loop: who, in which message, and where in the code.

A heartbeat on the loop, and a thread that looks whether it is late. The thread sees
the loop's own stack, which nothing on a blocked loop could.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from antiphon.actors.system import ActorSystem

logger = logging.getLogger(__name__)

BEATS = 4
"""Heartbeats within the time that is allowed."""


class Watchdog:
    """Watches the loop of *system*, from ``start`` to ``stop``.

    Args:
        limit: Seconds that the loop may be blocked before it is told.

    Attributes:
        blocked: How often it was.
    """

    def __init__(self, system: ActorSystem, limit: float) -> None:
        if limit <= 0:
            raise ValueError(f"a watchdog's limit must be over 0 s, got {limit}")
        self.blocked = 0
        self._system = system
        self._limit = limit
        self._beat = time.monotonic()
        self._ended = threading.Event()
        self._handle: asyncio.TimerHandle | None = None
        self._loop_thread = 0
        self._thread = threading.Thread(target=self._watch, name="antiphon-watchdog", daemon=True)

    def start(self) -> None:
        """Begin; call it on the loop."""
        self._loop_thread = threading.get_ident()
        self._pulse()
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for the thread, which is idle."""
        self._ended.set()
        if self._handle is not None:
            self._handle.cancel()
        self._thread.join()

    def _pulse(self) -> None:
        self._beat = time.monotonic()
        self._handle = self._system.loop.call_later(self._limit / BEATS, self._pulse)

    def _watch(self) -> None:
        told = 0.0
        while not self._ended.wait(self._limit / BEATS):
            beat = self._beat
            late = time.monotonic() - beat
            if late > self._limit and beat != told:
                told = beat
                self.blocked += 1
                self._tell(late)

    def _tell(self, late: float) -> None:
        frame = sys._current_frames().get(self._loop_thread)
        stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
        logger.warning("the loop is blocked for %.2f s by %s:\n%s", late, self._who(), stack)

    def _who(self) -> str:
        task = asyncio.tasks.current_task(self._system.loop)
        life = None if task is None else self._system.bodies.get(task)
        if life is None:
            return "no actor" if task is None else f"the task {task.get_name()}"
        return f"{life.path}, handling {life.doing() or 'no message'}"
