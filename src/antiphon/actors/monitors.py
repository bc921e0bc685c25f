"""Monitors: one-way, each ends with exactly one Down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from antiphon.actors.life import Life
    from antiphon.actors.ref import ActorRef


class MonitorRef:
    """One monitor, as made by ``ctx.monitor``; hand it to ``ctx.demonitor``.

    Attributes:
        active: Its Down is still to come; ``demonitor`` clears it.
    """

    __slots__ = ("active", "ref", "target", "watcher")

    def __init__(self, watcher: Life, ref: ActorRef[Any], target: Life | None) -> None:
        self.watcher = watcher
        self.ref = ref
        self.target = target
        self.active = True

    def release(self) -> None:
        """Deliver nothing any more."""
        self.active = False
        self.watcher.own.monitors.discard(self)
        if self.target is not None:
            self.target.watchers.pop(self, None)
