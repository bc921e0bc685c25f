"""The message port of a ref: a bounded queue, its waiters and its policy when full.

It belongs to the ref and stays through restarts. The control ports belong to
a generation (``life.py``). Notices, ticks and results of pipes are not
bounded here: they are as many as the actor itself asked for.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Set
from enum import StrEnum
from typing import Any

from antiphon.actors.deadletters import DeadLetterReason
from antiphon.actors.protocol import ANYTHING, Accepts
from antiphon.actors.request import Envelope, message_of, refuse
from antiphon.actors.trace import current_trace
from antiphon.errors import ActorDead, ActorStopped, MailboxFull

DEFAULT_CAPACITY = 1024
_NONE: frozenset[type] = frozenset()  # with a guard no cast takes the short way past it


class Overflow(StrEnum):
    """What becomes of a cast that meets a full mailbox."""

    DROP_NEWEST = "drop_newest"
    DROP_OLDEST = "drop_oldest"
    REJECT = "reject"


class Mailbox:
    """Messages waiting for one actor.

    Args:
        path: Named in errors.
        bury: Takes what is not delivered: message and reason.
        capacity: Most messages waiting at once.
        guard: Called at each sending, in debug mode; may raise.

    Attributes:
        limit: The capacity while a cast may simply be appended, else 0: somebody
            waits for room, or the mailbox is closed. One comparison asks it all.
        waker: Set while the actor sleeps.
        refill: Called when the actor's loop finds the queue empty; may append to it.
        closed: Why nothing is taken any more, or None.

    Raises:
        ValueError: If *capacity* is below 1.
    """

    __slots__ = (
        "accepts",
        "bury",
        "capacity",
        "closed",
        "guard",
        "limit",
        "overflow",
        "path",
        "queue",
        "refill",
        "types",
        "waiters",
        "waker",
    )

    def __init__(
        self,
        path: str,
        bury: Callable[[Any, DeadLetterReason], None],
        *,
        capacity: int = DEFAULT_CAPACITY,
        overflow: Overflow = Overflow.DROP_NEWEST,
        guard: Callable[[], None] | None = None,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        self.path = path
        self.bury = bury
        self.capacity = capacity
        self.overflow = overflow
        self.queue: deque[Any] = deque()
        self.limit = capacity
        self.guard = guard
        self.accepts: Accepts = ANYTHING
        self.types: Set[type] = ANYTHING.exact if guard is None else _NONE
        self.waker: asyncio.Future[None] | None = None
        self.refill: Callable[[], object] | None = None
        # in order of arrival; the value is told when its message is in (send), or None (call)
        self.waiters: OrderedDict[Envelope, asyncio.Future[None] | None] = OrderedDict()
        self.closed: DeadLetterReason | None = None

    @property
    def held(self) -> int:
        """How many messages wait that the actor itself will not take (``jobs.py``)."""
        return 0

    # --- sending ---

    def wake(self) -> None:
        """Let the actor's loop look at its ports."""
        waker = self.waker
        if waker is not None:
            self.waker = None
            if not waker.done():
                waker.set_result(None)

    def cast(self, message: Any) -> bool:
        """Take *message*, or do what the policy says; True if it was taken.

        Raises:
            TypeError: It is outside the protocol.
            MailboxFull: There is no room, under REJECT.
        """
        self.check(message)
        if self.closed is not None:
            self.bury(message, self.closed)
            return False
        if not self.has_room() and not self._make_room(message):
            return False
        trace = current_trace()
        self._put(message if trace is None else Envelope(message, None, trace))
        return True

    def has_room(self) -> bool:
        """Tell whether a message would simply be queued."""
        return len(self.queue) < self.limit

    def check(self, message: Any) -> None:
        """Raise TypeError if *message* is outside the protocol."""
        if self.guard is not None:
            self.guard()
        if type(message) not in self.types and not self.accepts.admits(message):
            raise TypeError(
                f"cannot send {type(message).__name__} to {self.path}: it takes {self.accepts}"
            )

    def put_call(self, envelope: Envelope) -> None:
        """Queue a call, or let it wait for room; a closed mailbox fails it at once."""
        future = envelope.future
        assert future is not None
        self.check(envelope.message)
        if self.closed is not None:
            future.set_exception(self.gone())
        elif self.has_room() or self._sheds_for_call():
            self._put(envelope)
        else:
            self._put_off(envelope, future)

    def put_own(self, envelope: Envelope) -> None:
        """Queue a tick or a pipe's result, beyond the bound if need be; closed, drop it."""
        if self.closed is not None:
            return
        self.queue.append(envelope)
        self.wake()

    def wait_for_room(self, message: Any, future: asyncio.Future[None]) -> None:
        """Queue *message* once there is room, then resolve *future*; first come, first served."""
        self._wait(Envelope(message, None, current_trace()), future, future)

    def gone(self) -> ActorDead:
        """Make the error of somebody who asks a closed mailbox."""
        if self.closed is DeadLetterReason.STOPPED:
            return ActorStopped(f"cannot reach {self.path}: it is ending")
        return ActorDead(f"cannot reach {self.path}: nobody is there")

    def _sheds_for_call(self) -> bool:
        """Whether a call that meets a full mailbox has had room made for it."""
        return False

    def _put_off(self, envelope: Envelope, future: asyncio.Future[Any]) -> None:
        """Do with a call what is done when there is no room: it waits."""
        self._wait(envelope, None, future)

    def _put(self, item: Any) -> None:
        self.queue.append(item)
        self.wake()

    def _has_slot(self) -> bool:
        return len(self.queue) < self.capacity

    def _wait(
        self,
        envelope: Envelope,
        admitted: asyncio.Future[None] | None,
        future: asyncio.Future[Any],
    ) -> None:
        self.waiters[envelope] = admitted
        self.limit = 0
        future.add_done_callback(lambda _: self._leave(envelope))

    def _leave(self, envelope: Envelope) -> None:
        if envelope in self.waiters:
            del self.waiters[envelope]
            self._set_limit()

    def _set_limit(self) -> None:
        self.limit = self.capacity if self.closed is None and not self.waiters else 0

    def _make_room(self, message: Any) -> bool:
        if self.overflow is Overflow.REJECT:
            raise MailboxFull(f"cannot cast to {self.path}: {self.capacity} messages waiting")
        if self.overflow is Overflow.DROP_OLDEST and self._evict():
            return True
        self.bury(message, DeadLetterReason.OVERFLOW)
        return False

    def _evict(self) -> bool:
        for index, item in enumerate(self.queue):
            if type(item) is not Envelope or item.life is None:
                del self.queue[index]
                self._discard(item, DeadLetterReason.OVERFLOW, MailboxFull)
                return True
        return False

    # --- taking ---

    def admit(self) -> None:
        """Hand free slots to those who wait for one, oldest first."""
        waiters = self.waiters
        while waiters and self._has_slot():
            envelope, admitted = waiters.popitem(last=False)
            if admitted is None:
                if envelope.future is not None and not envelope.future.done():
                    self._put(envelope)
            elif not admitted.done():
                self._put(envelope.message if envelope.trace is None else envelope)
                admitted.set_result(None)
        self._set_limit()

    def speak(self, accepts: Accepts) -> None:
        """Take only *accepts* from now on; what waits and doesn't fit is buried."""
        self.accepts = accepts
        if self.guard is None:
            self.types = accepts.exact
        for item in [i for i in self.queue if not self._fits(i)]:
            self.queue.remove(item)
            self._discard(item, DeadLetterReason.UNHANDLED, ActorDead)

    def _fits(self, item: Any) -> bool:
        message = message_of(item)
        return type(message) in self.types or self.accepts.admits(message)

    # --- ending ---

    def close(self, reason: DeadLetterReason) -> None:
        """Take nothing more; later casts are buried for *reason*."""
        self.closed = reason
        self.limit = 0

    def reopen(self) -> None:
        """Take messages again: the ref goes on after all."""
        self.closed = None
        self._set_limit()

    def flush(self) -> None:
        """Bury what waits: its ref has ended."""
        queued = list(self.queue)
        self.queue.clear()
        for item in queued:
            self._discard(item, DeadLetterReason.STOPPED, ActorStopped)
        self.turn_away()

    def turn_away(self) -> None:
        """Refuse those who wait for room."""
        waiting = list(self.waiters.items())
        self.waiters.clear()
        for envelope, admitted in waiting:
            future = envelope.future if admitted is None else admitted
            if future is not None:
                refuse(future, ActorStopped(f"{self.path} ended before it had room"))

    def _discard(
        self, item: Any, reason: DeadLetterReason, error: type[ActorDead] | type[MailboxFull]
    ) -> None:
        if type(item) is not Envelope:
            self.bury(item, reason)
        elif item.future is None and item.life is None:
            self.bury(item.message, reason)
        elif item.future is not None and not refuse(
            item.future, error(f"{self.path} did not come to this message")
        ):
            self.bury(item.message, DeadLetterReason.EXPIRED)
