"""The event port: how a source of events, such as a subscription, feeds an actor.

The actor's loop pulls. A feed belongs to the ref: restarts of its
generations leave it, and its source keeps the position. Actors know nothing
of buses; the bus implements ``EventSource``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from antiphon.actors.notices import Notice

if TYPE_CHECKING:
    from antiphon.actors.cell import Cell
    from antiphon.actors.trace import Trace


class TracedEvents(list[Any]):
    """Events of which some carry a trace; their handlers run in it.

    Args:
        trace_of: Tells the trace of one of them; None: it has none.
    """

    __slots__ = ("trace_of",)

    def __init__(self, events: Sequence[Any], trace_of: Callable[[Any], Trace | None]) -> None:
        super().__init__(events)
        self.trace_of = trace_of


class EventSource(Protocol):
    """Somewhere to pull events from, in order."""

    def take(self, limit: int) -> Sequence[Any] | Notice | None:
        """Give the next slice after the position (never empty), or a notice, or None.

        After None the source calls ``feed.wake()`` when there is something again.
        """
        ...

    def advance(self, count: int) -> bool:
        """Move the position: the handlers of the next *count* events of the slice returned.

        False: there is nothing more now, as by a ``take`` that gave None.
        """
        ...

    def failed(self, count: int, error: BaseException) -> None:
        """Move the position: one of the next *count* events raised *error*, or was killed."""
        ...

    def closed(self) -> None:
        """The ref has ended: let go. Called once."""
        ...


class Feed:
    """One source attached to one ref."""

    __slots__ = ("_cell", "attached", "ready", "source")

    def __init__(self, cell: Cell, source: EventSource) -> None:
        self._cell = cell
        self.source = source
        self.ready = False
        self.attached = True

    def wake(self) -> None:
        """Say that the source may have something."""
        if not self.ready and self.attached:
            self.ready = True
            cell = self._cell
            cell.ready.append(self)
            if cell.box.waker is not None:
                cell.box.wake()

    def detach(self) -> None:
        """Stop pulling, after the event now being handled; ``closed`` is not called."""
        if self.attached:
            self.attached = False
            self._cell.drop_feed(self)
