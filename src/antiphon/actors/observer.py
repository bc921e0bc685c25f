"""What the runtime tells about itself, synchronously, while it happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from antiphon.actors.deadletters import DeadLetter
    from antiphon.actors.reasons import Reason
    from antiphon.actors.ref import ActorRef


class Observer(Protocol):
    """Told of every change; must be quick. What it raises is logged and goes no further."""

    def started(self, ref: ActorRef[Any], generation: int) -> None:
        """A generation is running, the first under its ref or a later one."""
        ...

    def restarted(self, ref: ActorRef[Any], generation: int, reason: Reason, delay: float) -> None:
        """Generation *generation* will start in *delay* seconds: the last ended by *reason*."""
        ...

    def stopped(self, ref: ActorRef[Any], generation: int, reason: Reason) -> None:
        """The ref has ended, with its last generation."""
        ...

    def failed(self, ref: ActorRef[Any], generation: int, error: BaseException) -> None:
        """A hook raised, or survived its killing; ``restarted`` or ``stopped`` follows."""
        ...

    def tripped(self, ref: ActorRef[Any], error: BaseException) -> None:
        """A supervisor gave up: too many restarts in its period."""
        ...

    def dead_letter(self, letter: DeadLetter, count: int) -> None:
        """The *count*-th dead letter of its kind."""
        ...
