"""What ``call`` returns to an actor, and how a circle of waiting actors is seen before it closes.

Each cell points at the ref that its own body waits for: the answer to a call, or
room in a full mailbox. Following the pointers from there tells whether the wait
could ever end (the wait-for graph of one-resource deadlocks, Holt 1972). Tasks that
a body started wait on their own account and end by their timeouts.
"""

from __future__ import annotations

import asyncio
from asyncio import current_task
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from antiphon.errors import CallCycle

if TYPE_CHECKING:
    from antiphon.actors.cell import Cell
    from antiphon.actors.life import Life
    from antiphon.actors.ref import ActorRef

R = TypeVar("R")

_wait = asyncio.Future.__await__

FARTHEST = 10_000
"""Pointers followed at most; a longer chain is let pass and ends by its timeouts."""


class Call(asyncio.Future[R]):
    """The answer to come to a body, or room; others that call get a plain future."""

    __slots__ = ("target",)

    target: ActorRef[Any]
    """Whose answer; set by whoever makes it, because ``__init__`` would double the cost."""

    def __await__(self) -> Generator[Any, None, R]:
        if not self.done():
            # by the future's own loop: to find the running one asks the kernel, on 3.11
            life = self.target._system.bodies.get(current_task(self.get_loop()))
            if life is not None:
                return self._await_in(life)
        return _wait(self)

    __iter__ = __await__

    def _await_in(self, life: Life) -> Generator[Any, None, R]:
        cell = life.cell
        try:
            refuse_circle(cell, self.target)
        except CallCycle:
            self.cancel()  # whoever is asked needs not answer
            raise
        before, cell.waiting_on = cell.waiting_on, self.target
        try:
            return (yield from _wait(self))
        finally:
            cell.waiting_on = before


def refuse_circle(cell: Cell, target: ActorRef[Any]) -> None:
    """Let the body of *cell* wait for *target*, unless that could never end.

    Raises:
        CallCycle: *target* waits, by however many steps, for *cell*'s actor.
    """
    at: ActorRef[Any] | None = target
    for _ in range(FARTHEST):
        if at is None or at._cell is None:
            return
        if at._cell is cell:
            path = " -> ".join(_path(cell, target))
            raise CallCycle(f"cannot wait for {target.path}: {path} waits in a circle")
        at = at._cell.waiting_on


def _path(cell: Cell, target: ActorRef[Any]) -> Iterator[str]:
    """Name each step of a circle that has been found."""
    yield cell.path
    at: ActorRef[Any] | None = target
    while at is not None and at._cell is not None:
        yield at.path
        at = None if at._cell is cell else at._cell.waiting_on
