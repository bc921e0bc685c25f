"""What stays of an actor through restarts: mailbox, feeds, place in the tree.

The generations it goes through are ``life.py``'s. Whether one more follows is
decided by the keeper, its supervisor; without one, it has a single life.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from antiphon.actors.deadletters import DeadLetterReason
from antiphon.actors.feed import EventSource, Feed
from antiphon.actors.life import Life
from antiphon.actors.mailbox import Mailbox, Overflow
from antiphon.actors.reasons import Reason, Status
from antiphon.errors import SpawnFailed
from antiphon.messages import ActorInfo

if TYPE_CHECKING:
    from antiphon.actors.actor import Actor
    from antiphon.actors.ref import ActorRef
    from antiphon.actors.system import ActorSystem

logger = logging.getLogger(__name__)


class Keeper(Protocol):
    """Who decides about another generation."""

    def expects_restart(self, cell: Cell, reason: Reason) -> bool:
        """Guess, while a generation that ended by *reason* is still stopping."""
        ...

    def decide(self, cell: Cell, life: Life, reason: Reason) -> float | None:
        """Seconds until the next generation starts, or None: the ref ends.

        Infinity: the keeper starts it itself, by ``start_held``.
        """
        ...


class Cell:
    """One incarnation of a ref, from registration to the ref's end.

    Args:
        parent: The generation it is a child of; None for the root.
        ref: Is pointed here.
        shutdown: Seconds that it may take to stop before it is killed.

    Attributes:
        final: Its parent ends it: no generation follows.
        waiting_on: Whom its body waits for: an answer, or room in a mailbox.
    """

    __slots__ = (
        "__weakref__",
        "_end_reason",
        "_ended",
        "box",
        "factory",
        "failed",
        "feeds",
        "final",
        "keeper",
        "life",
        "parent",
        "path",
        "processed",
        "ready",
        "ref",
        "restarts",
        "shutdown",
        "system",
        "waiting_on",
        "was_running",
    )

    def __init__(
        self,
        system: ActorSystem,
        parent: Life | None,
        ref: ActorRef[Any],
        factory: Callable[[], Actor[Any]],
        *,
        capacity: int,
        overflow: Overflow,
        shutdown: float,
        keeper: Keeper | None = None,
    ) -> None:
        self.system = system
        self.parent = parent
        self.ref = ref
        self.path = ref.path
        self.factory = factory
        self.shutdown = shutdown
        self.keeper = keeper
        make_box: Callable[..., Mailbox] = getattr(factory, "_make_mailbox", Mailbox)
        self.box = make_box(
            self.path,
            self._bury,
            capacity=capacity,
            overflow=overflow,
            guard=system.check_loop if system.debug else None,
        )
        known = getattr(factory, "_accepts", None)  # of a class; else at the first start
        if known is not None:
            self.box.speak(known)
        self.feeds: dict[Feed, None] = {}
        self.ready: list[Feed] = []  # a few at most; an empty deque takes 700 bytes more
        self.final = False
        self.was_running = False
        self.waiting_on: ActorRef[Any] | None = None
        self.restarts = 0
        self.processed = 0
        self.failed = 0
        self._ended: asyncio.Future[Reason] | None = None
        self._end_reason: Reason | None = None
        system.register(self)
        if parent is not None:
            parent.children[self] = None
        ref._cell = self
        ref._box = self.box
        self.life = self._next_life()

    def _bury(self, message: Any, reason: DeadLetterReason) -> None:
        self.system.bury(self.path, message, reason)

    def __repr__(self) -> str:
        return f"<Cell {self.path} {self.life.status.value}>"

    # --- beginning ---

    async def spawn(self) -> None:
        """Start the first generation; return once it is running.

        Raises:
            SpawnFailed: Its ``pre_start`` raised; nothing stayed behind.
        """
        started = self.life.started = self.system.create_future()
        self.life.start()
        try:
            await started
        except asyncio.CancelledError:
            self.final = True
            self.life.kill("spawn was cancelled")
            await self.wait()
            raise

    def _next_life(self) -> Life:
        self.ref._lives += 1
        return Life(self, self.ref._lives)

    # --- one generation has ended ---

    def life_over(self, life: Life, reason: Reason) -> float | None:
        """Ask whether another generation follows, and in how many seconds."""
        if self.final or self.keeper is None:
            return None
        return self.keeper.decide(self, life, reason)

    def renew(self, reason: Reason, delay: float) -> None:
        """Begin the next generation in *delay* seconds; the mailbox has stayed."""
        self.restarts += 1
        self.box.reopen()
        for feed in self.feeds:
            feed.wake()  # whatever it was in the middle of
        self.life = life = self._next_life()
        held = delay == float("inf")
        self.system.observe("restarted", self.ref, life.number, reason, 0.0 if held else delay)
        if held:
            return
        if delay > 0:
            life.wait_to_start(delay)
        else:
            life.start()

    async def start_held(self) -> bool:
        """Start the generation that ``renew`` held back; False if its start failed."""
        life = self.life
        started = life.started = self.system.create_future()
        life.start()
        try:
            await started
        except SpawnFailed as error:
            logger.error("%s", error, exc_info=error.__cause__)
            return False
        return True

    def end(self, reason: Reason) -> None:
        """The ref ends: nobody is there from now on."""
        self.stop_admission()
        self._end_reason = reason
        self.box.flush()
        self.box.closed = DeadLetterReason.NOPROC
        self._close_feeds()
        self.system.unregister(self)
        self.system.observe("stopped", self.ref, self.life.number, reason)
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(reason)
        if self.parent is not None:
            self.parent.child_gone(self)

    def stop_admission(self) -> None:
        """Refuse what is sent from now on: the ref is ending."""
        if self.box.closed is None:
            self.box.close(DeadLetterReason.STOPPED)

    def expects_restart(self, reason: Reason) -> bool:
        """Guess whether a generation that is stopping will be followed by another."""
        return (
            not self.final and self.keeper is not None and self.keeper.expects_restart(self, reason)
        )

    @property
    def ending(self) -> bool:
        """The ref has ended, or will when its present generation has stopped."""
        return self.final or self.box.closed is not None

    @property
    def ended(self) -> bool:
        """The ref has ended."""
        return self._end_reason is not None

    async def wait(self) -> Reason:
        """Wait for the ref's end."""
        if self._end_reason is not None:
            return self._end_reason
        if self._ended is None:
            self._ended = self.system.create_future()
        return await asyncio.shield(self._ended)

    async def end_as_child(self, why: str, *, drain: bool = False) -> None:
        """Stop or drain it for good, within its ``shutdown`` seconds, else kill it."""
        self.final = True
        self._ask_to_end(why, drain)
        if not self.ended:
            await self._in_time(self.wait(), self.life)

    async def end_generation(self, why: str) -> None:
        """Stop its present generation, within its ``shutdown`` seconds, else kill it."""
        life = self.life
        life.stop(why)
        if not life.over:
            await self._in_time(life.wait(), life)

    def _ask_to_end(self, why: str, drain: bool) -> None:
        if drain:
            self.life.drain(why)
        else:
            self.life.stop(why)

    async def _in_time(self, end: Coroutine[Any, Any, Reason], life: Life) -> None:
        limit = None
        if self.shutdown != float("inf"):
            limit = self.system.clock.call_later(self.shutdown, self._out_of_time, life)
        try:
            await end
        finally:
            if limit is not None:
                limit.cancel()

    def _out_of_time(self, life: Life) -> None:
        logger.warning("%s did not stop within %g s, killed", self.path, self.shutdown)
        life.kill(f"did not stop within {self.shutdown:g} s")

    # --- the event port ---

    def add_feed(self, source: EventSource) -> Feed:
        """Attach *source*; it is asked at the next turn."""
        feed = Feed(self, source)
        self.feeds[feed] = None
        feed.wake()
        return feed

    def drop_feed(self, feed: Feed) -> None:
        """Forget *feed*, and interrupt the slice in hand: it may be this one's."""
        self.feeds.pop(feed, None)
        if feed.ready:
            feed.ready = False
            self.ready.remove(feed)
        self.life.interrupt = True

    def _close_feeds(self) -> None:
        feeds, self.feeds = self.feeds, {}
        self.ready.clear()
        for feed in feeds:
            feed.attached = False
            try:
                feed.source.closed()
            except Exception:
                logger.exception("a source of %s failed to close", self.path)

    # --- being looked at ---

    def info(self) -> ActorInfo:
        """Show it as it is now."""
        life = self.life
        waits = life.status is Status.NEW and self.restarts > 0
        return ActorInfo(
            key=self.path,
            parent=None if self.parent is None else self.parent.cell.path,
            state="restarting" if waits else life.status.value,
            generation=life.number,
            restarts=self.restarts,
            depth=len(self.box.queue) + self.box.held,
            capacity=self.box.capacity,
            processed=self.processed,
            failed=self.failed,
            age_s=life.age(),
            current=life.doing(),
        )
