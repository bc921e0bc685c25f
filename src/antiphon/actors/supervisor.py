"""Supervisors: actors that keep their children running.

Restarts happen in the child's finalize, not in the supervisor's own loop, so a
supervisor is responsive while one of them waits for its backoff. What is
decided, is in ``supervision.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Generic, Never, TypeVar

from antiphon.actors.actor import Actor
from antiphon.actors.context import ActorContext
from antiphon.actors.mailbox import DEFAULT_CAPACITY, Overflow
from antiphon.actors.reasons import Failed, Reason
from antiphon.actors.ref import ActorRef, Key
from antiphon.actors.supervision import DEFAULT_BACKOFF, Backoff, Intensity, Pulse, Restart
from antiphon.errors import ActorError

if TYPE_CHECKING:
    from antiphon.actors.cell import Cell
    from antiphon.actors.life import Life

M = TypeVar("M")


@dataclass(frozen=True)  # no slots, as for Key
class Child(Generic[M]):
    """How one child is started and kept.

    Attributes:
        factory: Called for each generation; a ``Supervisor`` is one too.
        shutdown: Seconds to stop in before it is killed. A supervisor is given as
            long as its children need.
        capacity, overflow: Of its mailbox, which stays through restarts.
    """

    key: Key[M]
    factory: Callable[[], Actor[M]]
    restart: Restart = Restart.PERMANENT
    shutdown: float = 5.0
    capacity: int = DEFAULT_CAPACITY
    overflow: Overflow = Overflow.DROP_NEWEST
    backoff: Backoff = DEFAULT_BACKOFF


class Supervisor:
    """A supervisor to be: ``one_for_one``, its children started in order.

    Args:
        intensity, period: So many restarts within *period* seconds are allowed;
            one more ends the children and then the supervisor, which fails upward.

    Raises:
        ValueError: Two children have the same key.
    """

    def __init__(
        self, children: Iterable[Child[Any]] = (), *, intensity: int = 3, period: float = 5.0
    ) -> None:
        self.children = tuple(children)
        self.intensity = intensity
        self.period = period
        Intensity(intensity, period)
        if len({child.key.name for child in self.children}) < len(self.children):
            raise ValueError("two children of one supervisor have the same key")

    def __call__(self) -> SupervisorActor:
        """Make one generation of it."""
        return SupervisorActor(self)


class SupervisorActor(Actor[Never]):
    """One generation of a supervisor."""

    def __init__(self, spec: Supervisor) -> None:
        self._spec = spec
        self._intensity = Intensity(spec.intensity, spec.period)
        self._kept: dict[Cell, tuple[Child[Any], Pulse]] = {}
        self._life: Life | None = None

    async def pre_start(self, ctx: ActorContext[Never]) -> None:
        """Start the children in order; one that can't start ends the others."""
        self._life = ctx._life
        for child in self._spec.children:
            await self.start(child)

    async def start(self, child: Child[M]) -> ActorRef[M]:
        """Start one child; it is kept from then on."""
        assert self._life is not None
        system = self._life.cell.system
        cell = system.new_cell(
            self._life,
            system.ref(child.key),
            child.factory,
            capacity=child.capacity,
            overflow=child.overflow,
            shutdown=float("inf") if isinstance(child.factory, Supervisor) else child.shutdown,
            keeper=self,
        )
        pulse = Pulse(child.backoff, Random(f"{system.seed}:{cell.path}"))
        self._kept[cell] = (child, pulse)
        try:
            await cell.spawn()
        except BaseException:
            self._kept.pop(cell, None)
            raise
        return cell.ref

    def expects_restart(self, cell: Cell, reason: Reason) -> bool:
        """Guess from the child's restart type alone."""
        return (
            self._life is not None
            and self._life.takes_children
            and self._life.failure is None
            and cell.was_running
            and cell in self._kept
            and self._kept[cell][0].restart.wanted(reason)
        )

    def decide(self, cell: Cell, life: Life, reason: Reason) -> float | None:
        """Count a restart and say when it comes; too many end the supervisor."""
        assert self._life is not None
        if not self.expects_restart(cell, reason):
            self._kept.pop(cell, None)
            return None
        now = self._life.clock.now()
        if not self._intensity.admit(now):
            self._trip(cell, reason)
            return None
        ran_for = 0.0 if life.ran_from is None else now - life.ran_from
        return self._kept[cell][1].next_delay(ran_for)

    def _trip(self, cell: Cell, reason: Reason) -> None:
        assert self._life is not None
        spec = self._spec
        error = ActorError(
            f"{self._life.path} gave up: {cell.path} {reason}, after {spec.intensity} restarts "
            f"within {spec.period:g} s"
        )
        error.__cause__ = reason.error if isinstance(reason, Failed) else None
        self._life.cell.system.observe("tripped", self._life.ref, error)
        self._life.fail(error)
