"""The mailbox of a pool, which its workers empty, and a worker's place at it.

A job goes from the sender into a lane of the pool's mailbox and, when its worker has
nothing to do, into that worker's: the caller's future goes with it, so the answer, the
failure or the timeout is that of a direct call. The pool's own loop has no part in it; it
takes only its control messages. As the mailbox belongs to the ref, jobs outlive restarts
of workers and pool alike. What is decided, is in ``routing.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from antiphon.actors.deadletters import DeadLetterReason
from antiphon.actors.mailbox import Mailbox
from antiphon.actors.protocol import Accepts
from antiphon.actors.request import Envelope, message_of
from antiphon.actors.routing import Lanes
from antiphon.errors import ActorDead, ActorStopped, MailboxFull

if TYPE_CHECKING:
    from antiphon.actors.actor import Actor
    from antiphon.actors.ref import ActorRef

_NONE: frozenset[type] = frozenset()  # no cast takes the short way past the lanes


class Jobs(Mailbox):
    """Holds the jobs of a pool, at most *capacity* beside those that free workers wake up to.

    Calls are shed as casts are: where an ordinary mailbox lets them wait for room, this
    one fails them with MailboxFull, or drops the oldest job for them. Only ``send`` waits.

    Args:
        control: Messages of these classes are the pool's own, and never shed.

    Attributes:
        hands: Its workers, by number.
        shed: How many jobs found no room, or were dropped to make some.
    """

    __slots__ = ("_control", "_idle", "_woken", "hands", "lanes", "shed")

    def __init__(
        self, *args: Any, lanes: Lanes[Any], control: tuple[type, ...], **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self.lanes = lanes
        self.hands: list[Hand] = []
        self.shed = 0
        self.types = _NONE
        self._control = control
        self._idle: dict[Hand, None] = {}
        self._woken: set[Hand] = set()

    @property
    def held(self) -> int:
        return len(self.lanes)

    @property
    def waiting(self) -> int:
        """How many jobs no free worker is waking up to."""
        return max(0, len(self.lanes) - len(self._woken))

    def speak(self, accepts: Accepts) -> None:
        """Leave the pool actor's word; workers speak for it, by ``learn``."""

    def learn(self, accepts: Accepts) -> None:
        """Take only *accepts*, which workers do, and control messages from now on."""
        self.accepts = Accepts((*accepts.classes, *self._control))

    # --- sending ---

    def has_room(self) -> bool:
        return self.limit > 0 and self._has_slot()

    def put_call(self, envelope: Envelope) -> None:
        if self.closed is not None or not self._is_own(envelope):
            super().put_call(envelope)
            return
        self.check(envelope.message)
        self._put(envelope)

    def _put_off(self, envelope: Envelope, future: asyncio.Future[Any]) -> None:
        future.set_exception(MailboxFull(f"{self.path} has {self.capacity} jobs waiting"))

    def cast(self, message: Any) -> bool:
        if self.closed is not None or not self._is_own(message):
            return super().cast(message)
        self.check(message)
        self._put(message)
        return True

    def wait_for_room(self, message: Any, future: asyncio.Future[None]) -> None:
        if self._is_own(message):
            self.cast(message)
            future.set_result(None)
            return
        try:
            self.lanes.check(message)
        except BaseException:
            future.cancel()  # nobody is to wait for it
            raise
        super().wait_for_room(message, future)

    def _is_own(self, item: Any) -> bool:
        return isinstance(message_of(item), self._control)

    def _has_slot(self) -> bool:
        return self.waiting < self.capacity

    def _put(self, item: Any) -> None:
        if self._is_own(item):
            super()._put(item)
            return
        lane = self.lanes.put(item, self.lanes.mark(message_of(item)))
        if not self.lanes.is_shared:
            if lane < len(self.hands):
                self._wake(self.hands[lane])
            return
        while self._idle:  # who has slept longest; some don't any more
            hand = next(iter(self._idle))
            del self._idle[hand]
            if self._wake(hand):
                return

    def _wake(self, hand: Hand) -> bool:
        if not hand.is_asleep:
            return False
        hand.box.wake()
        self._woken.add(hand)
        return True

    def _make_room(self, message: Any) -> bool:
        self.shed += 1
        return super()._make_room(message)

    def _sheds_for_call(self) -> bool:
        self.shed += 1
        return self.overflow is self.overflow.DROP_OLDEST and self._evict()

    def _evict(self) -> bool:
        if not self.lanes:
            return False
        self._discard(self.lanes.take_oldest(), DeadLetterReason.OVERFLOW, MailboxFull)
        return True

    # --- taking ---

    def employ(self, hands: list[Hand]) -> None:
        """Let these workers share the jobs, those that wait included."""
        for hand in self.hands:
            hand.number = None
        self.hands = hands
        for number, hand in enumerate(hands):
            hand.number = number
        self._idle = {hand: None for hand in self._idle if hand.number is not None}
        self._woken.intersection_update(hands)
        if hands:
            self.lanes.resize(len(hands))
        self._stir()

    def lost(self, hand: Hand) -> None:
        """A generation of *hand* has ended: let others see to what it was woken for."""
        self._woken.discard(hand)
        self._stir()

    def _stir(self) -> None:
        for hand in self.hands:
            hand.box.wake()

    def serve(self, hand: Hand) -> None:
        """Put the next job of *hand* into its mailbox, if there is one."""
        self._woken.discard(hand)
        while hand.number is not None:
            if not self.lanes.has_job(hand.number):
                self._idle.pop(hand, None)
                self._idle[hand] = None
                return
            job = self.lanes.take(hand.number)
            self._one_less()
            if hand.box.accepts.admits(message_of(job)):
                hand.box.queue.append(job)
                return
            self._discard(job, DeadLetterReason.UNHANDLED, ActorDead)

    def _one_less(self) -> None:
        if self.waiters:
            self.admit()
        if self.closed is not None and not self.lanes:
            self.wake()  # the pool drains, and that was the last one

    def flush(self) -> None:
        while self.lanes:
            self._discard(self.lanes.take_oldest(), DeadLetterReason.STOPPED, ActorStopped)
        super().flush()


class Hand:
    """One worker of a pool, as a factory of its generations.

    Attributes:
        number: Whose lane it serves; None before it is employed and when it has to go.
    """

    def __init__(self, jobs: Jobs, factory: Callable[[], Actor[Any]]) -> None:
        self.number: int | None = None
        self.box: Mailbox
        self.ref: ActorRef[Any]
        self._jobs = jobs
        self._factory = factory

    def __call__(self) -> Actor[Any]:
        return self._factory()

    def _make_mailbox(self, *args: Any, **options: Any) -> Mailbox:
        self.box = Mailbox(*args, **options)
        self.box.refill = partial(self._jobs.serve, self)
        return self.box

    @property
    def is_asleep(self) -> bool:
        """It waits for something to do, and nothing has woken it."""
        return self.box.waker is not None and not self.box.waker.done()
