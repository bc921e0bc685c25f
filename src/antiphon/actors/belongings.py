"""What one generation has made for itself, let go of when it ends.

Most generations make none of it, and seven empty collections are a third of an idle
actor's memory: so this is made when the first thing is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from antiphon.actors.monitors import MonitorRef
    from antiphon.actors.request import Envelope
    from antiphon.actors.timers import Timer


class Belongings:
    """Timers, monitors and work of one generation.

    Attributes:
        monitors: Made by it.
        errands: Its other work beside the hooks, see ``Life.beside``.
        jobs: Its blocking calls under way, see ``offload.py``.
        deferred: Requests that it will answer later.
        at_end: What it wants to be called at its end.
    """

    __slots__ = ("at_end", "deferred", "errands", "jobs", "monitors", "pipes", "timers")

    def __init__(self) -> None:
        self.timers: set[Timer] = set()
        self.monitors: set[MonitorRef] = set()
        self.pipes: set[asyncio.Task[None]] = set()
        self.errands: set[asyncio.Task[None]] = set()
        self.jobs: set[asyncio.Future[Any]] = set()
        self.deferred: set[Envelope] = set()
        self.at_end: list[Callable[[], object]] = []

    def under_way(self) -> str | None:
        """Say which of its work is not finished; None if none, or none that is not waiting."""
        if self.jobs:
            return f"{len(self.jobs)} blocking calls under way"
        if self.pipes:
            return f"{len(self.pipes)} pipes under way"
        if not all(is_suspended(task) for task in self.errands):
            return "an errand under way"
        return None


def is_suspended(task: asyncio.Task[Any]) -> bool:
    """Tell whether *task* waits for something that has not happened yet."""
    waits_for = getattr(task, "_fut_waiter", None)
    return waits_for is not None and not waits_for.done()
