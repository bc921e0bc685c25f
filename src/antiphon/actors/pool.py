"""Pools: several workers of one kind, reached by one ref that is typed as one of them.

The pool's mailbox is the queue of jobs (``jobs.py``), with the capacity and the overflow
policy that its ``Child`` or ``spawn`` says. The pool actor keeps the workers and handles
control messages. Model: ractor's factory.

Promises: docs/semantics/actors.md#pools-and-tasks.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar, assert_never, cast

from antiphon.actors.actor import Actor
from antiphon.actors.cell import Cell
from antiphon.actors.context import ActorContext
from antiphon.actors.jobs import Hand, Jobs
from antiphon.actors.life import Life
from antiphon.actors.mailbox import Mailbox
from antiphon.actors.reasons import Reason
from antiphon.actors.ref import ActorRef, Key
from antiphon.actors.request import Request
from antiphon.actors.routing import JobKey, Lanes, Routing
from antiphon.actors.supervision import DEFAULT_BACKOFF, Backoff
from antiphon.actors.supervisor import Child, Overseer, Supervisor, SupervisorActor
from antiphon.errors import ActorError

M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Resize(Request[int]):
    """Have *size* workers from now on; answered with the number there was before.

    More are started, in order, before the answer; of fewer, the surplus ones finish the job
    in hand and end, and what waited for them goes to the others. A restart of the pool has
    the size of its beginning again. Errors: ``SpawnFailed``, the size is what was reached.

    Raises:
        ValueError: *size* is below 1.
    """

    size: int

    def __post_init__(self) -> None:
        _check_size(self.size)


@dataclass(frozen=True, slots=True)
class PoolInfo:
    """A pool as it is now.

    Attributes:
        size: How many workers it has, those included that wait to be restarted.
        draining: How many more have to go and are at their last job.
        waiting: Jobs that wait for a worker; at most *capacity*.
        shed: Jobs that found no room, or were dropped to make some, since the ref began.
    """

    size: int
    draining: int
    waiting: int
    capacity: int
    shed: int


@dataclass(frozen=True, slots=True)
class PoolStatus(Request[PoolInfo]):
    """Answered with how the pool is, however busy its workers are."""


PoolMessage: TypeAlias = Resize | PoolStatus
_CONTROL = (Resize, PoolStatus)


class Pool(Overseer, Generic[M]):
    """A pool to be: *size* permanent workers of one *factory*, a factory as ``Supervisor`` is.

    What is sent to the pool's ref is handled by one of the workers as if it had been sent
    there; ``Pool.control(ref)`` takes ``Resize`` and ``PoolStatus``.

    Args:
        routing: LEAST_LOADED: to whoever is free first. ROUND_ROBIN: in turn, free or not.
            BY_KEY: equal keys to the same worker while the size is unchanged, so they are
            handled one after the other.
        key: Of a message, for BY_KEY and only there. It runs at the sender, and has to say the
            same each time.
        intensity, period: As for ``Supervisor``; a pool that gives up keeps its queue
            if it is restarted.
        shutdown: Seconds that a worker may take to stop before it is killed.

    Raises:
        ValueError: *size* is below 1, or *key* and *routing* don't go together.
        TypeError: The factory is a supervisor or a pool.
    """

    def __init__(
        self,
        factory: Callable[[], Actor[M]],
        size: int,
        *,
        routing: Routing = Routing.LEAST_LOADED,
        key: Callable[[M], JobKey] | None = None,
        intensity: int = 3,
        period: float = 5.0,
        backoff: Backoff = DEFAULT_BACKOFF,
        shutdown: float = 5.0,
    ) -> None:
        if isinstance(factory, Overseer):
            raise TypeError(f"a pool's workers can't be made by a {type(factory).__name__}")
        _check_size(size)
        Lanes[Any](routing, size, key)
        self.factory = factory
        self.size = size
        self.routing = routing
        self.key = key
        self.backoff = backoff
        self.shutdown = shutdown
        self.supervisor = Supervisor(intensity=intensity, period=period)

    def __call__(self) -> Actor[M]:
        """Make one generation of it."""
        return cast(Actor[M], PoolActor(self))

    @staticmethod
    def control(ref: ActorRef[Any]) -> ActorRef[PoolMessage]:
        """The pool's ref, typed for what the pool itself handles."""
        return ref

    def _make_mailbox(self, *args: Any, **options: Any) -> Mailbox:
        lanes = Lanes[Any](self.routing, self.size, self.key)
        jobs = Jobs(*args, lanes=lanes, control=_CONTROL, **options)
        known = getattr(self.factory, "_accepts", None)
        if known is not None:
            jobs.learn(known)
        return jobs


class PoolActor(Actor[PoolMessage]):
    """One generation of a pool."""

    ends_children_at_once = True

    def __init__(self, spec: Pool[Any]) -> None:
        self._spec = spec
        self._numbers = itertools.count()

    async def pre_start(self, ctx: ActorContext[PoolMessage]) -> None:
        """Start the workers in order; one that can't start ends the others."""
        self._life = ctx._life
        jobs = ctx._life.cell.box
        if not isinstance(jobs, Jobs):
            raise TypeError("a pool is started by its Pool, not by a function that calls it")
        self._jobs = jobs
        self._workers = Workers(self._spec.supervisor, ctx._life, jobs)
        jobs.employ([])
        await self._grow(self._spec.size)

    async def handle(self, msg: PoolMessage, ctx: ActorContext[PoolMessage]) -> None:
        match msg:
            case Resize(size):
                before = len(self._jobs.hands)
                try:
                    await self._resize(size)
                except ActorError as error:
                    ctx.reply_error(msg, error)
                else:
                    ctx.reply(msg, before)
            case PoolStatus():
                ctx.reply(msg, self._info())
            case _:
                assert_never(msg)

    async def _resize(self, size: int) -> None:
        hands = self._jobs.hands
        if size >= len(hands):
            await self._grow(size)
            return
        self._jobs.employ(hands[:size])
        for hand in hands[size:]:
            self._workers.dismiss(hand.ref)

    async def _grow(self, size: int) -> None:
        hands = list(self._jobs.hands)
        try:
            while len(hands) < size:
                hands.append(await self._start_worker())
        finally:
            self._jobs.employ(hands)

    async def _start_worker(self) -> Hand:
        spec = self._spec
        hand = Hand(self._jobs, spec.factory)
        key: Key[Any] = Key(f"{self._life.path}/{next(self._numbers)}")
        child = Child(key, hand, shutdown=spec.shutdown, backoff=spec.backoff)
        hand.ref = await self._workers.start(child)
        self._jobs.learn(hand.box.accepts)
        return hand

    def _info(self) -> PoolInfo:
        jobs = self._jobs
        size = len(jobs.hands)
        draining = len(self._life.children) - size
        return PoolInfo(size, draining, jobs.waiting, jobs.capacity, jobs.shed)


class Workers(SupervisorActor):
    """Restarts a pool's workers as a supervisor would; the pool runs in its stead."""

    def __init__(self, spec: Supervisor, life: Life, jobs: Jobs) -> None:
        super().__init__(spec)
        self._life = life
        self._jobs = jobs

    def dismiss(self, ref: ActorRef[Any]) -> None:
        """Let *ref* end after its job in hand; unknown here, it is not restarted."""
        cell = ref._cell
        assert cell is not None
        self._kept.pop(cell, None)
        cell.life.drain("the pool has shrunk")

    def decide(self, cell: Cell, life: Life, reason: Reason) -> float | None:
        """Tell the jobs of it too."""
        delay = super().decide(cell, life, reason)
        assert isinstance(cell.factory, Hand)
        self._jobs.lost(cell.factory)
        return delay


def _check_size(size: int) -> None:
    if size < 1:
        raise ValueError(f"a pool has at least 1 worker, got {size}")
