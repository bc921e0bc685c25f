"""Supervisors: actors that keep their children running.

A single restart happens in the child's finalize, not in the supervisor's own loop, so a
supervisor is responsive while one of them waits for its backoff. A group's restart
is a piece of work beside it. What is decided, is in ``supervision.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, assert_never

from antiphon.actors.actor import Actor
from antiphon.actors.context import ActorContext
from antiphon.actors.mailbox import DEFAULT_CAPACITY, Overflow
from antiphon.actors.reasons import Failed, Reason
from antiphon.actors.ref import ActorRef, Key
from antiphon.actors.request import ReplyTo, Request, answer
from antiphon.actors.supervision import (
    DEFAULT_BACKOFF,
    Backoff,
    Intensity,
    Pulse,
    Restart,
    Strategy,
)
from antiphon.errors import ActorError, TooManyChildren

if TYPE_CHECKING:
    from antiphon.actors.cell import Cell
    from antiphon.actors.life import Life

M = TypeVar("M")

HELD = float("inf")
"""The delay of a restart that waits for its group."""


@dataclass(frozen=True)  # no slots, as for Key
class Child(Generic[M]):
    """How one child is started and kept.

    Attributes:
        factory: Called for each generation; a ``Supervisor`` or a ``Pool`` is one too.
        shutdown: Seconds to stop in before it is killed. A supervisor or a pool is given
            as long as its children need.
        capacity, overflow: Of its mailbox, which stays through restarts.
    """

    key: Key[M]
    factory: Callable[[], Actor[M]]
    restart: Restart = Restart.PERMANENT
    shutdown: float = 5.0
    capacity: int = DEFAULT_CAPACITY
    overflow: Overflow = Overflow.DROP_NEWEST
    backoff: Backoff = DEFAULT_BACKOFF


@dataclass(frozen=True)
class StartChild(Request[ActorRef[M]], Generic[M]):
    """Start one more child; answered with its ref.

    Errors: ``SpawnFailed``, ``NameTaken``, ``TooManyChildren``.
    """

    child: Child[M]


@dataclass(frozen=True, slots=True)
class RemoveChild(Request[bool]):
    """Stop a child for good, whatever its restart type; answered when its ref has ended.

    False: this supervisor has no child of that key.
    """

    key: Key[Any]


SupervisorMessage: TypeAlias = StartChild[Any] | RemoveChild


class Overseer:
    """A factory of actors whose children end first: they take as long as those need."""


class Supervisor(Overseer):
    """A supervisor to be; its children are started in order.

    Args:
        strategy: Who is restarted together with a child that ended.
        intensity, period: So many restarts within *period* seconds are allowed;
            one more ends the children and then the supervisor, which fails upward.

    Raises:
        ValueError: Two children have the same key.
    """

    max_children: int | None = None
    ends_children_at_once = False

    def __init__(
        self,
        children: Iterable[Child[Any]] = (),
        *,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        intensity: int = 3,
        period: float = 5.0,
    ) -> None:
        self.children = tuple(children)
        self.strategy = strategy
        self.intensity = intensity
        self.period = period
        Intensity(intensity, period)
        if len({child.key.name for child in self.children}) < len(self.children):
            raise ValueError("two children of one supervisor have the same key")

    def __call__(self) -> SupervisorActor:
        """Make one generation of it."""
        return SupervisorActor(self)


class DynamicSupervisor(Supervisor):
    """A ``one_for_one`` supervisor whose children come by ``StartChild`` and end all at once.

    Args:
        max_children: Most at a time, those that wait to be restarted included.

    Raises:
        ValueError: If *max_children* is below 1.
    """

    ends_children_at_once = True

    def __init__(
        self, *, max_children: int | None = None, intensity: int = 3, period: float = 5.0
    ) -> None:
        if max_children is not None and max_children < 1:
            raise ValueError(f"max_children must be at least 1, got {max_children}")
        super().__init__(intensity=intensity, period=period)
        self.max_children = max_children


class SupervisorActor(Actor[SupervisorMessage]):
    """One generation of a supervisor."""

    accepts = (StartChild, RemoveChild)

    def __init__(self, spec: Supervisor) -> None:
        self._spec = spec
        self._intensity = Intensity(spec.intensity, spec.period)
        self._kept: dict[Cell, tuple[Child[Any], Pulse]] = {}
        self._life: Life | None = None
        self._regroup: Regroup | None = None
        self.ends_children_at_once = spec.ends_children_at_once

    async def pre_start(self, ctx: ActorContext[SupervisorMessage]) -> None:
        """Start the children in order; one that can't start ends the others."""
        self._life = ctx._life
        for child in self._spec.children:
            await self.start(child)

    async def handle(self, msg: SupervisorMessage, ctx: ActorContext[SupervisorMessage]) -> None:
        """Start or remove a child, beside the mailbox: neither holds up the other."""
        match msg:
            case StartChild(child):
                ctx._life.beside(self._start_for(child, ctx.defer(msg)))
            case RemoveChild(key):
                ctx._life.beside(self._remove_for(key, ctx.defer(msg)))
            case _:
                assert_never(msg)

    async def _start_for(self, child: Child[Any], caller: ReplyTo[Any]) -> None:
        try:
            caller.reply(await self.start(child))
        except Exception as error:  # a bad child is its asker's fault, not this supervisor's
            caller.reply_error(error)

    async def _remove_for(self, key: Key[Any], caller: ReplyTo[bool]) -> None:
        cell = next((cell for cell in self._kept if cell.path == key.name), None)
        if cell is not None:
            await cell.end_as_child("removed")
            self._kept.pop(cell, None)
        caller.reply(cell is not None)

    async def start(self, child: Child[M]) -> ActorRef[M]:
        """Start one child; it is kept from then on.

        Raises:
            SpawnFailed, NameTaken, TooManyChildren: Nothing was started.
        """
        assert self._life is not None
        most = self._spec.max_children
        if most is not None and len(self._kept) >= most:
            raise TooManyChildren(
                f"cannot start {child.key.name}: {self._life.path} has {most} children, "
                "no room for more"
            )
        system = self._life.cell.system
        cell = system.new_cell(
            self._life,
            system.ref(child.key),
            child.factory,
            capacity=child.capacity,
            overflow=child.overflow,
            shutdown=float("inf") if isinstance(child.factory, Overseer) else child.shutdown,
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

    # --- a child's generation has ended ---

    def expects_restart(self, cell: Cell, reason: Reason) -> bool:
        """Guess from the child's restart type; its group's restart counts for all but temporary."""
        if (
            self._life is None
            or not self._life.takes_children
            or self._life.failure is not None
            or not cell.was_running
            or cell not in self._kept
        ):
            return False
        restart = self._kept[cell][0].restart
        if self._is_ended_by_group(cell):
            return restart is not Restart.TEMPORARY
        return restart.wanted(reason)

    def _is_ended_by_group(self, cell: Cell) -> bool:
        return self._regroup is not None and cell in self._regroup.ending

    def decide(self, cell: Cell, life: Life, reason: Reason) -> float | None:
        """Count a restart and say when it comes; too many end the supervisor."""
        assert self._life is not None
        if not self.expects_restart(cell, reason):
            self._kept.pop(cell, None)
            return None
        if self._is_ended_by_group(cell):
            return HELD  # counted once, for the whole group
        now = self._life.clock.now()
        if not self._intensity.admit(now):
            self._trip(cell, reason)
            return None
        ran_for = 0.0 if life.ran_from is None else now - life.ran_from
        delay = self._kept[cell][1].next_delay(ran_for)
        if self._spec.strategy is Strategy.ONE_FOR_ONE:
            return delay
        self._restart_group(cell, now + delay)
        return HELD

    def _restart_group(self, ended: Cell, due: float) -> None:
        """Let the ended child's group end and start again, not before *due*."""
        assert self._life is not None
        group = self._spec.strategy.group(list(self._kept), ended)
        if self._regroup is None:
            self._regroup = Regroup(self._life, self._kept)
            self._regroup.add(group, due)
            self._life.beside(self._run_regroup(self._regroup))
        else:
            self._regroup.add(group, due)

    async def _run_regroup(self, regroup: Regroup) -> None:
        try:
            await regroup.run()
        finally:
            self._regroup = None

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


class Regroup:
    """The restart of a group: end the rest of it, wait, start all of it in order.

    A child that fails meanwhile, or whose start fails, has its own group added, and all of
    it begins again.

    Attributes:
        ending: Those whose present generation is being ended for the group's sake.
    """

    def __init__(self, life: Life, kept: dict[Cell, tuple[Child[Any], Pulse]]) -> None:
        self.ending: set[Cell] = set()
        self._life = life
        self._kept = kept
        self._group: dict[Cell, None] = {}
        self._due = 0.0
        self._again = False

    def add(self, group: Iterable[Cell], due: float) -> None:
        """Restart these too, not before *due*."""
        self._group.update(dict.fromkeys(group))
        self._due = max(self._due, due)
        self._again = True

    async def run(self) -> None:
        """Until the group runs, or the supervisor ends."""
        while self._again and self._life.takes_children:
            self._again = False
            await self._end_all()
            await self._wait()
            await self._start_all()

    async def _end_all(self) -> None:
        for cell in reversed([cell for cell in self._kept if cell in self._group]):
            if self._life.takes_children and not cell.life.is_held:
                self.ending.add(cell)
                try:
                    await cell.end_generation("its group is restarted")
                finally:
                    self.ending.discard(cell)

    async def _wait(self) -> None:
        while (left := self._due - self._life.clock.now()) > 0:
            woken: asyncio.Future[None] = self._life.cell.system.create_future()
            timer = self._life.clock.call_later(left, answer, woken, None)
            try:
                await woken
            finally:
                timer.cancel()

    async def _start_all(self) -> None:
        for cell in [cell for cell in self._kept if cell in self._group]:
            if self._again or not self._life.takes_children:
                return
            if cell in self._kept and cell.life.is_held and not await cell.start_held():
                return
        if not self._again:
            self._group.clear()
