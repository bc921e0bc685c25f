"""The handle by which everyone else reaches an actor.

A ref from ``system.ref(KEY)`` follows its key: over restarts, and over a new
actor under the same key. A ref from ``spawn`` ends with its actor.
"""

from __future__ import annotations

import asyncio
from asyncio import current_task
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from antiphon.actors.calls import Call
from antiphon.actors.feed import EventSource, Feed
from antiphon.actors.mailbox import Mailbox
from antiphon.actors.reasons import NoProc, Reason, Status
from antiphon.actors.request import Envelope, RequestOf
from antiphon.actors.threadsafe import CALL_TIMEOUT, ThreadsafeRef
from antiphon.actors.trace import current_trace
from antiphon.errors import ActorDead, CallTimeout, MailboxFull

if TYPE_CHECKING:
    from antiphon.actors.cell import Cell
    from antiphon.actors.system import ActorSystem

M = TypeVar("M")
M_contra = TypeVar("M_contra", contravariant=True)
R = TypeVar("R")


@dataclass(frozen=True)  # no slots: with them Key[M]("…") raises in typing on 3.11
class Key(Generic[M]):
    """The name of an actor in its system, with the type of its messages.

    The name is also the actor's path: an actor under the supervisor ``log`` is
    named ``log/store`` by custom.
    """

    name: str

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a key needs a name")


class ActorRef(Generic[M_contra]):
    """Sends to one actor. Belongs to the loop of its system.

    All times are in seconds; a timeout of None, to be written out, waits for ever.

    Raises:
        TypeError: By every kind of sending: the message is outside the protocol.
    """

    __slots__ = ("__weakref__", "_box", "_cell", "_lives", "_system", "path")

    def __init__(self, system: ActorSystem, path: str) -> None:
        self.path = path
        self._system = system
        self._cell: Cell | None = None
        self._box: Mailbox = system.nobody(path)
        self._lives = 0

    def __repr__(self) -> str:
        return f"<ActorRef {self.path} {self.status.value}>"

    def cast(self, msg: M_contra) -> None:
        """Send and forget; never waits.

        To the dead it is a dead letter; to a full mailbox, what its policy says.

        Raises:
            MailboxFull: There is no room, under ``Overflow.REJECT``.
        """
        box = self._box
        queue = box.queue
        if len(queue) < box.limit and type(msg) in box.types and current_trace() is None:
            queue.append(msg)
            if box.waker is not None:
                box.wake()
        else:
            box.cast(msg)

    def try_cast(self, msg: M_contra) -> bool:
        """Send if it can be queued now; False, and no dead letter, if not."""
        box = self._box
        box.check(msg)
        return box.has_room() and box.cast(msg)

    async def send(self, msg: M_contra, timeout: float | None = CALL_TIMEOUT) -> None:
        """Send, waiting for room in arrival order; cancelled, it leaves nothing queued.

        Raises:
            ActorDead: Nobody is there, or it ended meanwhile.
            CallTimeout: No room in time.
            MailboxFull: No room now, and *timeout* is 0.
            CallCycle: Its actor waits, by however many steps, for the one that sends.
            ValueError: *timeout* is negative.
        """
        box = self._box
        box.check(msg)
        if box.closed is not None:
            raise box.gone()
        if box.has_room():
            box.cast(msg)
            return
        if timeout == 0:
            raise MailboxFull(f"cannot send to {self.path}: {box.capacity} messages waiting")
        room: Call[None] = self._system.create_call()
        room.target = self
        if timeout is not None:
            self._system.deadlines.add(timeout, room)
        box.wait_for_room(msg, room)
        try:
            await room
        except CallTimeout:
            raise CallTimeout(f"no room at {self.path} within {timeout:g} s") from None

    def call(
        self, msg: RequestOf[M_contra, R], timeout: float | None = CALL_TIMEOUT
    ) -> asyncio.Future[R]:
        """Send a request; await what this returns for the answer.

        Cancelling the wait doesn't cancel the handler.

        Raises:
            ActorDead: (by the future, as those below) Nobody is there.
            ActorStopped: It ended before it came to this message.
            CalleeFailed: The handler raised, or was killed.
            NoReply: The handler ended without an answer.
            CallTimeout: Neither room nor an answer in time.
            CallCycle: At the await: the callee waits, by however many steps, for the caller.
            ValueError: At once: *timeout* is negative.
        """
        system = self._system
        future: asyncio.Future[R]
        if current_task(system.loop) in system.bodies:
            future = call = system.create_call()
            call.target = self
        else:  # it can be in no circle; asyncio awaits its own class faster than any other
            future = system.create_future()
        envelope = Envelope(msg, future, current_trace())
        if timeout is not None:
            system.deadlines.add(timeout, future)
        box = self._box
        queue = box.queue
        if len(queue) < box.limit and type(msg) in box.types:
            queue.append(envelope)
            if box.waker is not None:
                box.wake()
            return future
        try:
            box.put_call(envelope)
        except BaseException:
            future.cancel()  # nobody is to wait for it
            raise
        return future

    def stop(self, reason: str | None = None) -> None:
        """Let it end after its present handler; no-op if it is ending."""
        if self._cell is not None:
            self._cell.life.stop(reason)

    def drain(self, reason: str | None = None) -> None:
        """Let it end when all that it was sent before is handled; admit nothing more.

        Its children then drain too. A stop cuts it short, a kill both.
        """
        if self._cell is not None:
            self._cell.life.drain(reason)

    def kill(self, reason: str | None = None) -> None:
        """Cancel what it does and end it without ``post_stop``; no-op if it is dead."""
        if self._cell is not None:
            self._cell.life.kill(reason)

    async def wait(self) -> Reason:
        """Wait until the ref has ended; restarts don't count. May be called again."""
        return NoProc() if self._cell is None else await self._cell.wait()

    async def wait_generation(self) -> Reason:
        """Wait until the present generation has ended, restarted or not."""
        return NoProc() if self._cell is None else await self._cell.life.wait()

    def feed(self, source: EventSource) -> Feed:
        """Let the actor pull events from *source*, until the ref ends.

        Raises:
            ActorDead: Nobody is there.
        """
        if self._cell is None or self._cell.ending:
            raise ActorDead(f"cannot feed {self.path}: nobody is there")
        return self._cell.add_feed(source)

    @property
    def threadsafe(self) -> ThreadsafeRef[M_contra]:
        """The way here from other threads and other loops."""
        return ThreadsafeRef(self, self._system.loop)

    @property
    def status(self) -> Status:
        """Of the present generation; NEW while it waits to be restarted."""
        return Status.DEAD if self._cell is None else self._cell.life.status

    @property
    def is_supervised(self) -> bool:
        """A supervisor decides about its end, or it is the root; False where nobody is there."""
        cell = self._cell
        return cell is not None and (cell.keeper is not None or cell.parent is None)

    @property
    def generation(self) -> int:
        """The number of the present generation, from 1; 0 before the first."""
        return self._lives

    @property
    def is_alive(self) -> bool:
        """The ref has not ended and is not about to."""
        return self._cell is not None and not self._cell.ending
