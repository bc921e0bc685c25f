"""Tasks: one piece of asynchronous work as an actor of its own, its result a message.

In comparison to ``ctx.pipe_to_self`` it stands in the tree, can be killed and monitored,
and its supervisor starts it again when it failed. It takes no messages.

Promises: docs/semantics/actors.md#pools-and-tasks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, Never, TypeVar, TypeVarTuple

from antiphon.actors.actor import Actor
from antiphon.actors.request import Envelope
from antiphon.actors.trace import current_trace, set_trace
from antiphon.errors import ActorDead

if TYPE_CHECKING:
    from antiphon.actors.context import ActorContext
    from antiphon.actors.life import Life
    from antiphon.actors.ref import ActorRef

T = TypeVar("T")
N = TypeVar("N")
Ts = TypeVarTuple("Ts")


class Task(Generic[T, N]):
    """A task to be: a factory, as ``Supervisor`` is.

    Each generation runs ``await work(*args)`` once, sends *to* the message made of the
    result, waiting for room if need be, and ends normally. As a ``Child`` it is
    ``Restart.TRANSIENT``: again after a failure or a kill, not after its end. In an actor
    there is ``ctx.spawn_task``.

    Args:
        on_error: Makes a message of what the work raised, and that ends the task normally
            too. Without it the task fails.
    """

    def __init__(
        self,
        work: Callable[[*Ts], Awaitable[T]],
        *args: *Ts,
        to: ActorRef[N],
        to_message: Callable[[T], N],
        on_error: Callable[[Exception], N] | None = None,
    ) -> None:
        self.work: Callable[[], Awaitable[T]] = lambda: work(*args)
        self.to = to
        self.to_message = to_message
        self.on_error = on_error
        self.trace = current_trace()
        self.__name__ = getattr(work, "__name__", "task")

    def __call__(self) -> Actor[Never]:
        """Make one generation of it."""
        return TaskActor(self)

    async def outcome(self) -> N:
        """Do the work; the message about it."""
        try:
            value = await self.work()
        except Exception as error:
            if self.on_error is None:
                raise
            return self.on_error(error)
        return self.to_message(value)

    async def deliver(self, message: N) -> None:
        """Send *message*; if nobody is there it is a dead letter."""
        try:
            await self.to.send(message, timeout=None)
        except ActorDead:
            self.to.cast(message)


class OwnTask(Task[T, N]):
    """A task of one generation: its result is for that one only, as a pipe's is."""

    def __init__(
        self,
        life: Life,
        work: Callable[[*Ts], Awaitable[T]],
        *args: *Ts,
        to_message: Callable[[T], N],
        on_error: Callable[[Exception], N] | None,
    ) -> None:
        super().__init__(work, *args, to=life.ref, to_message=to_message, on_error=on_error)
        self._life = life

    async def deliver(self, message: N) -> None:
        box = self._life.cell.box
        box.check(message)
        envelope = Envelope(message, None, current_trace())
        envelope.life = self._life
        box.put_own(envelope)


class TaskActor(Actor[Never]):
    """One generation of a task."""

    def __init__(self, task: Task[Any, Any]) -> None:
        self._task = task

    async def post_start(self, ctx: ActorContext[Never]) -> None:
        """Work, in this hook: a kill cancels it and its end is waited for."""
        set_trace(self._task.trace)
        message = await self._task.outcome()
        await self._task.deliver(message)
        ctx.stop("done")
