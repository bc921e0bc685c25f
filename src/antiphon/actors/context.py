"""What a hook is given: the actor's own handle on itself and on the runtime."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, Never, TypeVar, TypeVarTuple

from antiphon.actors.deadletters import DeadLetterReason
from antiphon.actors.mailbox import DEFAULT_CAPACITY, Overflow
from antiphon.actors.monitors import MonitorRef
from antiphon.actors.notices import Down
from antiphon.actors.reasons import NoProc, Status
from antiphon.actors.request import ReplyTo, Request, refuse
from antiphon.actors.task import OwnTask
from antiphon.actors.timers import Interval, Timer
from antiphon.errors import ActorDead

if TYPE_CHECKING:
    from antiphon.actors.actor import Actor
    from antiphon.actors.life import Life
    from antiphon.actors.ref import ActorRef
    from antiphon.actors.request import Envelope
    from antiphon.actors.system import ActorSystem

M = TypeVar("M")
N = TypeVar("N")
R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class ActorContext(Generic[M]):
    """One generation's context; ends with it.

    Raises:
        ActorDead: By any use after the generation's end.
    """

    __slots__ = ("_life",)

    def __init__(self, life: Life) -> None:
        self._life = life

    # --- who and where ---

    @property
    def myself(self) -> ActorRef[M]:
        """The ref to this actor."""
        return self._living().cell.ref

    @property
    def system(self) -> ActorSystem:
        return self._living().cell.system

    @property
    def generation(self) -> int:
        """The number of this generation, from 1."""
        return self._living().number

    # --- answering ---

    def reply(self, msg: Request[R], reply: R) -> bool:
        """Answer the message that is being handled; False if nobody waits for it.

        Raises:
            ValueError: *msg* is another message.
        """
        life = self._life
        envelope = life.envelope
        if envelope is None or life.over or msg is not life.current:
            self._current(msg)  # raises, unless it is a cast
            return False
        future = envelope.future  # as envelope.unanswered(), without a call
        if future is None or envelope.deferred or future.done():
            return False
        future.set_result(reply)
        return True

    def reply_error(self, msg: Request[Any], error: BaseException) -> bool:
        """Answer with an error; this actor lives on."""
        envelope = self._current(msg)
        future = None if envelope is None else envelope.unanswered()
        return future is not None and refuse(future, error)

    def defer(self, msg: Request[R]) -> ReplyTo[R]:
        """Answer later, after this handler has ended; only the first call gets the right."""
        envelope = self._current(msg)
        life = self._life
        if envelope is None or envelope.deferred:
            return ReplyTo(life, None, None)
        envelope.deferred = True
        life.own.deferred.add(envelope)
        return ReplyTo(life, envelope, envelope.future)

    @property
    def caller_gone(self) -> bool:
        """Nobody waits for an answer to the message being handled."""
        envelope = self._living().envelope
        return envelope is None or envelope.future is None or envelope.future.done()

    def unhandled(self, msg: object) -> None:
        """Make *msg* a dead letter UNHANDLED; its caller, if any, gets NoReply."""
        life = self._living()
        life.cell.box.bury(msg, DeadLetterReason.UNHANDLED)

    # --- others ---

    def stop(self, reason: str | None = None) -> None:
        """End after this hook."""
        self._living().stop(reason)

    async def spawn(
        self,
        factory: Callable[[], Actor[N]],
        name: str | None = None,
        *,
        capacity: int = DEFAULT_CAPACITY,
        overflow: Overflow = Overflow.DROP_NEWEST,
        shutdown: float = 5.0,
        link: bool = False,
    ) -> ActorRef[N]:
        """Start a child that ends with this actor; its failure is not this actor's.

        Args:
            link: Link it before its ``pre_start``; a failed start only raises.

        Raises:
            SpawnFailed: Its ``pre_start`` raised.
            NameTaken: A child of that name is there.
        """
        life = self._living()
        return await life.cell.system.spawn_under(
            life,
            factory,
            name,
            capacity=capacity,
            overflow=overflow,
            shutdown=shutdown,
            link=link,
        )

    async def spawn_task(
        self,
        work: Callable[[*Ts], Awaitable[T]],
        *args: *Ts,
        to_message: Callable[[T], M],
        on_error: Callable[[Exception], M] | None = None,
        name: str | None = None,
        shutdown: float = 5.0,
        link: bool = False,
    ) -> ActorRef[Never]:
        """Run ``await work(*args)`` as a child, then handle the message made of the result.

        Unlike what ``pipe_to_self`` awaits, the work is an actor: it stands in the tree,
        and can be killed, monitored and linked. A monitor made as soon as this returns
        sees its end, however quick it is. The message passes a full mailbox.

        Without *on_error*, what it raises fails the child alone. A stop lets it finish
        within *shutdown* seconds.

        Raises:
            NameTaken: A child of that name is there.
        """
        life = self._living()
        task = OwnTask(life, work, *args, to_message=to_message, on_error=on_error)
        return await self.spawn(task, name, shutdown=shutdown, link=link)

    def monitor(self, ref: ActorRef[Any]) -> MonitorRef:
        """Get one Down when the present (or, between two, the next) generation of *ref* ends."""
        life = self._living()
        cell = ref._cell
        if cell is None or cell.ended:
            monitor = MonitorRef(life, ref, None)
            life.notify(Down(ref, monitor, NoProc(), restarting=False))
            return monitor
        monitor = MonitorRef(life, ref, cell.life)
        cell.life.watchers[monitor] = None
        life.own.monitors.add(monitor)
        return monitor

    def demonitor(self, monitor: MonitorRef) -> None:
        """End a monitor: no Down comes any more, even if it is queued."""
        self._living()
        monitor.release()

    def link(self, ref: ActorRef[Any]) -> None:
        """Tie this generation's end to *ref*'s present one: an abnormal end of one kills the other.

        Symmetric; again is no-op. Who traps exits gets an ``Exit`` instead. If nobody is
        there, that is such an end.
        """
        life = self._living()
        cell = ref._cell
        if cell is None or cell.ended:
            life.linked_end(ref, NoProc())
        elif cell.life is not life:
            life.links[cell.life] = None
            cell.life.links[life] = None

    def unlink(self, ref: ActorRef[Any]) -> None:
        """End the link to *ref*'s present generation; no-op if there is none."""
        life = self._living()
        if ref._cell is not None:
            life.links.pop(ref._cell.life, None)
            ref._cell.life.links.pop(life, None)

    def trap_exits(self, on: bool = True) -> None:
        """Hear of linked actors' abnormal ends by ``Exit`` notices, instead of ending too."""
        self._living().traps_exits = on

    # --- groups ---

    def join(self, scope: str, group: str) -> None:
        """Be a member until ``leave`` or the end of this generation; again is no-op.

        Raises:
            ActorDead: This actor is stopping.
        """
        life = self._living()
        if life.cell.ending or life.status is Status.STOPPING:
            raise ActorDead(f"cannot join {scope}/{group}: {life.path} is stopping")
        life.cell.system.groups.hold(scope, group, life.cell.ref, life)

    def leave(self, scope: str, group: str) -> None:
        """End what ``join`` began; no-op for a stranger."""
        life = self._living()
        life.cell.system.groups.release(scope, group, life.cell.ref, life)

    def monitor_group(self, scope: str, group: str | None = None) -> dict[str, list[ActorRef[Any]]]:
        """Get Joined and Left for a group, or for all of *scope*; returns the members now."""
        life = self._living()
        return life.cell.system.groups.watch(scope, group, life)

    # --- later ---

    def send_after(self, delay: float, msg: M) -> Timer:
        """Send *msg* to this generation in *delay* seconds.

        Raises:
            ValueError: *delay* is negative.
        """
        life = self._living()
        if not delay >= 0:
            raise ValueError(f"a delay is a number of seconds from 0, got {delay}")
        life.cell.box.check(msg)
        return Timer(life, delay, msg)

    def send_interval(self, period: float, msg: M) -> Interval:
        """Send *msg* to this generation every *period* seconds, at a fixed rate.

        The first comes after one period. At most one waits in the mailbox.

        Raises:
            ValueError: *period* is not over 0.
        """
        life = self._living()
        if not period > 0:
            raise ValueError(f"a period is a number of seconds over 0, got {period}")
        life.cell.box.check(msg)
        return Interval(life, period, msg)

    def offload(self, work: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Run blocking ``work(*args)`` in one of the system's threads; await the result.

        A handler that awaits it handles nothing else meanwhile; give it to ``pipe_to_self``
        for that. When this generation ends the result is abandoned, not the call.
        """
        return self._living().offload(work, *args)

    def pipe_to_self(
        self,
        awaitable: Awaitable[T],
        to_message: Callable[[T], M],
        on_error: Callable[[BaseException], M] | None = None,
    ) -> None:
        """Await beside the hooks, then handle the message made of the result.

        Without *on_error* an exception fails this actor. Cancelled with this generation.
        """
        self._living().pipe(awaitable, to_message, on_error)

    def at_end(self, callback: Callable[[], object]) -> None:
        """Run *callback*, synchronously, when this generation ends, however it does.

        The last one registered runs first.
        """
        self._living().own.at_end.append(callback)

    # --- inside ---

    def _living(self) -> Life:
        life = self._life
        if life.over:
            raise ActorDead(f"generation {life.number} of {life.path} has ended")
        return life

    def _current(self, msg: object) -> Envelope | None:
        life = self._life
        if life.over or msg is not life.current:
            self._living()
            raise ValueError(
                f"cannot answer {type(msg).__name__}: it is not the message being handled, "
                "later answers go by ctx.defer"
            )
        return life.envelope
