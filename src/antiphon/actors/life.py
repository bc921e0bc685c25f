"""One generation of an actor: its task, its hooks in order, its control ports.

Ports are served in this order: signal (kill, failure), stop, notice, then in turn
one slice of events and one group of messages. Only a signal interrupts a
running hook; the others set ``interrupt`` and act between hooks. Everything
that a generation made for itself ends in ``_finalize``, which runs once, synchronously,
from the task's done-callback (a task cancelled before its first step never runs a
``finally``), or after ``kill_grace`` if the task survives its cancelling: a zombie.

What outlives a generation is in ``cell.py``. Promises: docs/semantics/actors.md.
"""

from __future__ import annotations

import asyncio
import logging
import types
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Sequence
from functools import partial
from itertools import islice
from operator import length_hint
from time import perf_counter
from typing import TYPE_CHECKING, Any

from antiphon.actors.belongings import Belongings, is_suspended
from antiphon.actors.context import ActorContext
from antiphon.actors.deadletters import DeadLetterReason
from antiphon.actors.feed import TracedEvents
from antiphon.actors.notices import Down, Exit, Notice
from antiphon.actors.pipes import pipe
from antiphon.actors.reasons import Failed, Killed, Reason, Status, Stopped
from antiphon.actors.request import Envelope, callee_failed, refuse
from antiphon.actors.spans import begin_span, recording
from antiphon.actors.trace import Trace, current_trace, set_trace
from antiphon.errors import ActorError, ActorStopped, NoReply, SpawnFailed

if TYPE_CHECKING:
    from antiphon.actors.actor import Actor
    from antiphon.actors.cell import Cell
    from antiphon.actors.clock import Clock, TimerHandle
    from antiphon.actors.feed import Feed
    from antiphon.actors.monitors import MonitorRef
    from antiphon.actors.ref import ActorRef

logger = logging.getLogger(__name__)

GROUP = 64
"""Messages between two looks at the clock."""
TURN = 256
"""Messages or events before the loop gives way, and the most events of a slice."""
TURN_S = 0.005
"""Seconds of real time before the loop gives way."""

_TAKING_CHILDREN = (Status.STARTING, Status.RUNNING, Status.DRAINING)

NOTHING: Any = object()
"""Stands for "no message": None is a message."""


@types.coroutine
def give_way() -> Generator[None, None, None]:
    """Let everything else on the loop run once."""
    yield


class Life:
    """One generation.

    Attributes:
        interrupt: Something waits at a control port; looked at after each hook.
        over: It has ended; what it handed out is revoked.
        killed: It was killed: hooks end, ``post_stop`` doesn't run.
        failure: Raised by the loop between hooks: something of its own went wrong outside.
        watchers: Monitors on it.
        links: The generations that its abnormal end would end too, and theirs it.
        traps_exits: It hears of such an end by a notice instead.
    """

    __slots__ = (
        "_asked",
        "_delay",
        "_drained",
        "_grace",
        "_own",
        "_posted",
        "_reason",
        "_since",
        "_slice_in_hand",
        "_task_over",
        "_waiters",
        "actor",
        "cell",
        "children",
        "clock",
        "ctx",
        "current",
        "envelope",
        "failure",
        "interrupt",
        "killed",
        "links",
        "notices",
        "number",
        "over",
        "ran_from",
        "started",
        "status",
        "task",
        "traps_exits",
        "watchers",
        "zombie",
    )

    def __init__(self, cell: Cell, number: int) -> None:
        self.cell = cell
        self.number = number
        self.clock: Clock = cell.system.clock
        self.status = Status.NEW
        self.actor: Actor[Any] | None = None
        self.ctx: ActorContext[Any] = ActorContext(self)
        self.task: asyncio.Task[None] | None = None
        self.started: asyncio.Future[None] | None = None
        self.current: Any = NOTHING
        self.envelope: Envelope | None = None
        self.interrupt = False
        self.killed = False
        self.over = False
        self.failure: BaseException | None = None
        self.zombie = False
        self.notices: deque[Notice] | None = None
        self.children: dict[Cell, None] = {}
        self.watchers: dict[MonitorRef, None] = {}
        self.links: dict[Life, None] = {}
        self.traps_exits = False
        self.ran_from: float | None = None
        self._since = self.clock.now()
        self._own: Belongings | None = None
        self._asked: Stopped | None = None
        self._drained: Stopped | None = None
        self._reason: Reason | None = None
        self._delay: TimerHandle | None = None
        self._grace: TimerHandle | None = None
        self._posted = False
        self._task_over = False
        self._slice_in_hand: tuple[Feed, Sequence[Any], Iterator[Any] | None] | None = None
        self._waiters: asyncio.Future[Reason] | None = None

    @property
    def path(self) -> str:
        return self.cell.path

    @property
    def ref(self) -> ActorRef[Any]:
        return self.cell.ref

    @property
    def own(self) -> Belongings:
        """What it has made for itself; made at the first use."""
        if self._own is None:
            self._own = Belongings()
        return self._own

    @property
    def is_held(self) -> bool:
        """Not begun, and nothing will begin it by itself."""
        return self.status is Status.NEW and self._delay is None and self.task is None

    @property
    def takes_children(self) -> bool:
        return self.status in _TAKING_CHILDREN

    # --- asked from outside ---

    def wait_to_start(self, delay: float) -> None:
        """Start in *delay* seconds; stop and kill end the wait."""
        self._delay = self.clock.call_later(delay, self.start)

    def start(self) -> None:
        """Create the task."""
        self._delay = None
        self.status = Status.STARTING
        system = self.cell.system
        # a task factory may run it at once: whatever it looks at is set before
        task = system.loop.create_task(self._run(), name=self.path)
        self.task = task
        system.tasks.add(task)
        task.add_done_callback(self._task_done)

    def stop(self, why: str | None = None) -> None:
        """End after the present hook."""
        if self._asked is not None or self.status is Status.DEAD:
            return
        if self.status is Status.STOPPING and self._drained is None:
            return
        self._asked = Stopped(why)
        if self.status is Status.NEW:
            self._finalize()
            return
        self._signal()
        if self.status is Status.STOPPING:  # its children drain, and need not any more
            for child in tuple(self.children):
                child.life.stop(why)

    def drain(self, why: str | None = None) -> None:
        """End when all that was admitted until now is handled; admit nothing more."""
        if self.status is Status.NEW:
            self.stop(why)
        if self._asked is not None or self._drained is not None or not self.takes_children:
            return
        self._drained = Stopped(why)
        if self.status is Status.RUNNING:
            self.status = Status.DRAINING
        self.cell.stop_admission()
        self.cell.box.turn_away()
        self._signal()

    def kill(self, why: str | None = None) -> None:
        """End now: cancel the hook, kill the children, skip ``post_stop``."""
        if self.killed or self.status is Status.DEAD:
            return
        unborn = self.status is Status.NEW
        self._doom(why)
        if unborn:
            self._finalize()
        elif self.task is not None and not self.task.done():
            self._grace = self.clock.call_later(self.cell.system.kill_grace, self._outlived)
            self.task.cancel()

    def fail(self, error: BaseException) -> None:
        """Fail between two hooks, because of something outside them."""
        if self.failure is None and self.takes_children:
            self.failure = error
            self._signal()

    def notify(self, notice: Notice) -> None:
        """Put *notice* into the notice port."""
        if self.status is not Status.DEAD:
            if self.notices is None:
                self.notices = deque()
            self.notices.append(notice)
            self._signal()

    async def wait(self) -> Reason:
        """Wait for the end of this generation."""
        if self.over and self._reason is not None:
            return self._reason
        if self._waiters is None:
            self._waiters = self.cell.system.create_future()
        return await asyncio.shield(self._waiters)

    def _signal(self) -> None:
        self.interrupt = True
        self.cell.box.wake()

    def _doom(self, why: str | None) -> None:
        self.killed = True
        self.interrupt = True
        if not isinstance(self._reason, Failed):
            self._reason = Killed(why)
        self._set_stopping()
        for cell in reversed(tuple(self.children)):
            cell.final = True
            cell.life.kill("its parent was killed")

    # --- the task ---

    async def _run(self) -> None:
        self.task = asyncio.current_task()
        assert self.task is not None
        self.cell.system.bodies[self.task] = self
        if current_trace() is not None:  # of whoever started it
            set_trace(None)
        try:
            await self._start()
            await self._work()
        except BaseException as error:
            self._fall(error)
        await self._finish()

    async def _start(self) -> None:
        cell = self.cell
        self.actor = actor = cell.factory()
        cell.box.speak(actor._accepts)
        await actor.pre_start(self.ctx)
        self._posted = True
        if self.killed:
            raise asyncio.CancelledError
        self.status = Status.RUNNING if self._drained is None else Status.DRAINING
        self.ran_from = self.clock.now()
        cell.was_running = True
        cell.system.observe("started", self.ref, self.number)
        if self.started is not None and not self.started.done():
            self.started.set_result(None)
        self.started = None

    async def _work(self) -> None:
        """Serve the ports until a stop; a failure or a kill is raised."""
        assert self.actor is not None
        if self._asked is None and self.failure is None:
            await self.actor.post_start(self.ctx)
        cell, box, queue, ready = self.cell, self.cell.box, self.cell.box.queue, self.cell.ready
        handle, ctx = self.actor.handle, self.ctx
        create_future = cell.system.create_future
        popleft = queue.popleft
        waiters = box.waiters
        refill = box.refill
        dice = cell.system.dice
        turn, spent, most = perf_counter(), 0, GROUP
        while True:
            if self.interrupt and await self._control():
                return
            if refill is not None and not queue and self._drained is None:
                refill()
            if ready:
                spent += await self._slice(ready.pop(0), turn)
            elif not queue:
                if self._drained is not None and not box.held:
                    return
                waker = box.waker = create_future()
                await waker
                turn, spent = perf_counter(), 0
                continue
            if dice is not None:
                most = dice.randint(1, GROUP)
            # one group of messages
            count, begun = len(queue), 0
            if count > most:
                count = most
            if self.interrupt:  # by the slice
                count = 0
            try:
                for begun in range(1, count + 1):  # noqa: B007 - used after the loop
                    item = popleft()
                    if waiters:
                        box.admit()
                    if item.__class__ is not Envelope:
                        self.current = item
                        await handle(item, ctx)
                    elif (future := item.future) is None or future.done() or item.trace is not None:
                        await self._rarer(item, handle)
                    else:  # a call
                        self.envelope = item
                        self.current = message = item.message
                        await handle(message, ctx)
                        self.envelope = None
                        if not (future.done() or item.deferred):
                            future.set_exception(NoReply(f"{self.path} gave no answer"))
                    if self.interrupt:
                        break
            finally:
                spent += begun
                cell.processed += begun
            self.current = NOTHING
            if (queue or ready or refill is not None) and (
                spent >= TURN or perf_counter() - turn >= TURN_S or dice is not None
            ):
                await give_way()
                turn, spent = perf_counter(), 0

    async def _control(self) -> bool:
        """Serve the control ports; True means: stop."""
        assert self.actor is not None
        served = 0
        while True:
            if self.killed:
                raise asyncio.CancelledError
            if self.failure is not None:
                raise self.failure
            if self._asked is not None:
                return True
            if not self.notices:
                self.interrupt = False
                return False
            await self._notice(self.notices.popleft())
            served += 1
            if served % TURN == 0:
                await give_way()

    async def _notice(self, notice: Notice) -> None:
        assert self.actor is not None
        if isinstance(notice, Down):
            if not notice.monitor.active:
                return
            notice.monitor.active = False
        await self.actor.handle_notice(notice, self.ctx)

    async def _rarer(self, envelope: Envelope, handle: Callable[..., Awaitable[None]]) -> None:
        """Handle a tick, a pipe's result, what is traced, or a call that nobody may want."""
        if not self._open(envelope):
            return
        if envelope.trace is None:
            await handle(envelope.message, self.ctx)
        else:
            await self._in_trace(envelope.trace, handle, envelope.message)
        self.envelope = None
        unanswered = envelope.unanswered()
        if unanswered is not None:
            unanswered.set_exception(NoReply(f"{self.path} gave no answer"))

    def _open(self, envelope: Envelope) -> bool:
        """Take a call, a tick or a pipe's result in hand, unless nobody wants it any more."""
        future = envelope.future
        if future is None:
            if envelope.life is not None and not self._is_due(envelope):
                return False
        elif future.done() and self._skips_abandoned():
            self.cell.box.bury(envelope.message, DeadLetterReason.EXPIRED)
            return False
        else:
            self.envelope = envelope
        self.current = envelope.message
        return True

    async def _in_trace(
        self, trace: Trace, handle: Callable[..., Awaitable[None]], message: Any
    ) -> None:
        """Handle *message* as a step of *trace*."""
        name, topic = type(message).__name__, getattr(message, "topic", None)
        told = {
            "messaging.operation.type": "process",
            "messaging.operation.name": "handle",
            "messaging.destination.name": topic if isinstance(topic, str) else self.path,
            "antiphon.actor.key": self.path,
            "antiphon.message.type": name,
        }
        span = begin_span(f"handle {name}", "consumer", trace, told) if recording() else None
        set_trace(trace.step() if span is None else span.trace)
        try:
            await handle(message, self.ctx)
        except BaseException as error:
            if span is not None:
                span.end(type(error).__name__)
            raise
        set_trace(None)
        if span is not None:
            span.end()

    def _is_due(self, envelope: Envelope) -> bool:
        """Whether a tick or a pipe's result is this generation's, and not cancelled."""
        timer = envelope.timer
        if timer is not None:
            timer.queued = False
        return envelope.life is self and (timer is None or timer.active)

    def _skips_abandoned(self) -> bool:
        return self.actor is not None and self.actor.skip_abandoned

    async def _slice(self, feed: Feed, turn: float) -> int:
        """Handle the next events of *feed*; how many."""
        actor = self.actor
        assert actor is not None
        feed.ready = False
        taken = None if self._drained is not None else feed.source.take(TURN)
        if taken is None:
            return 0
        if isinstance(taken, Notice):
            feed.wake()
            await self._notice(taken)
            return 1
        if self.cell.system.takes_slices(type(actor)):
            return await self._whole(actor, feed, taken)
        return await self._one_by_one(actor, feed, taken, turn)

    async def _one_by_one(
        self, actor: Actor[Any], feed: Feed, events: Sequence[Any], turn: float
    ) -> int:
        """Handle *events* until one raises, a control port calls or the turn is over.

        The loop is as tight as can be: how far it came is read off the iterator.
        """
        handle, ctx = actor.handle_event, self.ctx
        if isinstance(events, TracedEvents):
            handle = partial(self._event_in_trace, events.trace_of, handle)
        rest = iter(events if type(events) is list else list(events))
        self.current = events[0]
        self._slice_in_hand = feed, events, rest
        try:
            while length_hint(rest):
                for event in islice(rest, GROUP):
                    await handle(event, ctx)
                    if self.interrupt:
                        break
                if self.interrupt or perf_counter() - turn >= TURN_S:
                    break
        except BaseException as error:
            self._end_slice(error)
            raise
        count = self._end_slice()
        self.current = NOTHING
        return count

    async def _event_in_trace(
        self,
        trace_of: Callable[[Any], Trace | None],
        handle: Callable[..., Awaitable[None]],
        event: Any,
        ctx: Any,
    ) -> None:
        """Handle *event* in the trace that it carries, if it does."""
        trace = trace_of(event)
        if trace is None:
            await handle(event, ctx)
        else:
            await self._in_trace(trace, handle, event)

    async def _whole(self, actor: Actor[Any], feed: Feed, events: Sequence[Any]) -> int:
        self.current = events
        self._slice_in_hand = feed, events, None
        try:
            await actor.handle_events(events, self.ctx)
        except BaseException as error:
            self._end_slice(error)
            raise
        self._end_slice()
        self.current = NOTHING
        return len(events)

    def _end_slice(self, error: BaseException | None = None) -> int:
        """Move the source's position past what was begun; a zombie's was moved for it.

        Args:
            error: What the last event raised, or somewhere the whole slice.
        """
        if self._slice_in_hand is None:
            return 0
        feed, events, rest = self._slice_in_hand
        self._slice_in_hand = None
        count = len(events)
        failed = 0 if error is None else count
        if rest is not None:
            count -= length_hint(rest)
            failed = min(failed, 1)
            self.current = events[count - 1]
        self.cell.processed += count
        more = error is not None
        if count > failed:
            more = feed.source.advance(count - failed) or more
        if error is not None:
            feed.source.failed(failed, error)
        if more:
            feed.wake()  # until it says that nothing is left; behind the other feeds
        return count

    # --- its end ---

    def _fall(self, error: BaseException) -> None:
        """Decide what an exception out of a hook means."""
        if self.killed or self.over:
            pass
        elif isinstance(error, asyncio.CancelledError) and self._was_cancelled():
            self._doom("cancelled")
        else:
            self._reason = Failed(error)
            self.cell.failed += 1
        if isinstance(error, SystemExit | KeyboardInterrupt):
            self.cell.system.interrupted(error)
        self._abandon(error)

    def _was_cancelled(self) -> bool:
        """Tell whether somebody asked for the CancelledError that came."""
        return self.task is not None and self.task.cancelling() > 0

    def _abandon(self, error: BaseException) -> None:
        """Give up the message in hand: it is never delivered again."""
        current, self.current = self.current, NOTHING
        envelope, self.envelope = self.envelope, None
        if current is NOTHING:
            return
        future = None if envelope is None else envelope.future
        if future is None or future.cancelled():  # nobody else is told
            self.cell.system.bury(self.path, current, DeadLetterReason.FAILED, error)
        else:
            refuse(future, callee_failed(self.path, error))

    def _set_stopping(self) -> None:
        if self.status is not Status.DEAD:
            self.status = Status.STOPPING
        assert self._reason is not None
        if not self.cell.expects_restart(self._reason):
            self.cell.stop_admission()

    async def _finish(self) -> None:
        """Stop the children, then run ``post_stop``, unless killed."""
        if self.over:
            return  # a zombie that came to its senses
        if self._reason is None:
            self._reason = self._asked or self._drained or Stopped()
        self._set_stopping()
        try:
            await self._end_children()
            if self._posted and not self.killed:
                await self._post_stop(self._reason)
        except BaseException as error:
            self._fall_in_post_stop(error)

    async def _end_children(self) -> None:
        """The last one started ends first; of a dynamic supervisor, all at once."""
        why = "its parent stops"
        if self.actor is not None and self.actor.ends_children_at_once:
            ends = [c.end_as_child(why, drain=self._is_draining()) for c in self.children]
            await asyncio.gather(*ends)
        while self.children and not self.killed:
            last = next(reversed(self.children))
            await last.end_as_child(why, drain=self._is_draining())

    def _is_draining(self) -> bool:
        return self._drained is not None and self._asked is None

    async def _post_stop(self, reason: Reason) -> None:
        assert self.actor is not None
        limit, shutdown = None, self.cell.shutdown
        if shutdown != float("inf"):
            limit = self.clock.call_later(
                shutdown, self.kill, f"post_stop took longer than {shutdown:g} s"
            )
        try:
            await self.actor.post_stop(reason, self.ctx)
        finally:
            if limit is not None:
                limit.cancel()

    def _fall_in_post_stop(self, error: BaseException) -> None:
        if self.killed:
            return
        if isinstance(error, asyncio.CancelledError) and self._was_cancelled():
            self._doom("cancelled")
        elif isinstance(self._reason, Stopped):
            self._reason = Failed(error)
            self.cell.failed += 1
        else:
            logger.error("post_stop of %s failed", self.path, exc_info=error)
        if isinstance(error, SystemExit | KeyboardInterrupt):
            self.cell.system.interrupted(error)

    def _outlived(self) -> None:
        """The task has survived its cancelling: go on without it."""
        self._grace = None
        if self._task_over:
            return
        self.zombie = True
        if self.task is not None:
            self.cell.system.zombies.add(self.task)
        error = ActorError(f"{self.path} survived its cancelling and is left behind as a zombie")
        logger.error("%s", error)
        self.cell.system.observe("failed", self.ref, self.number, error)
        self._end_of_task()

    def _task_done(self, task: asyncio.Task[None]) -> None:
        system = self.cell.system
        system.tasks.discard(task)
        system.bodies.pop(task, None)
        system.zombies.discard(task)
        if not task.cancelled():
            task.exception()
        if not self._task_over:
            self._end_of_task()

    def _end_of_task(self) -> None:
        self._task_over = True
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        if not self.killed and (self._reason is None or self.children):
            self._doom("cancelled")  # before its first step, or while it stopped its children
        self._finalize_alone()

    def child_gone(self, cell: Cell) -> None:
        """Forget a child that has ended."""
        self.children.pop(cell, None)
        if self._task_over:
            self._finalize_alone()

    def _finalize_alone(self) -> None:
        if not self.children:
            self._finalize()

    def _finalize(self) -> None:
        """End: once, synchronously; the subtree is dead already."""
        if self.over:
            return
        self.status = Status.DEAD
        self.over = True
        reason = self._reason = self._reason or self._asked or self._drained or Stopped()
        if self._delay is not None:
            self._delay.cancel()
        self._end_slice(_why(reason))
        self._abandon(_why(reason))
        self._release(reason)
        told = self._refuse_start(reason)
        self._unlink(None if told else reason)
        if isinstance(reason, Failed):
            if not told:
                logger.error("%s failed", self.path, exc_info=reason.error)
            self.cell.system.observe("failed", self.ref, self.number, reason.error)
        delay = self.cell.life_over(self, reason)
        self._tell(reason, restarting=delay is not None)
        if delay is None:
            self.cell.end(reason)
        else:
            self.cell.renew(reason, delay)

    def _release(self, reason: Reason) -> None:
        """Let go of everything that this generation made for itself."""
        groups = self.cell.system.groups
        groups.release_all(self.ref, self)
        groups.unwatch(self)
        self.cell.waiting_on = None
        self.notices = None
        own = self._own
        if own is None:
            return
        for timer in tuple(own.timers):
            timer.cancel()
        for monitor in tuple(own.monitors):
            monitor.release()
        for task in (*own.pipes, *own.errands):
            task.cancel()
        for job in tuple(own.jobs):
            job.cancel()
        for envelope in own.deferred:
            if envelope.future is not None:
                refuse(envelope.future, self._lost(reason))
        own.deferred.clear()
        callbacks, own.at_end = own.at_end, []
        for callback in reversed(callbacks):
            try:
                callback()
            except Exception:
                logger.exception("an at_end callback of %s failed", self.path)

    def _lost(self, reason: Reason) -> Exception:
        if isinstance(reason, Stopped):
            return ActorStopped(f"{self.path} ended before it answered")
        return callee_failed(self.path, _why(reason))

    def _refuse_start(self, reason: Reason) -> bool:
        """Tell whoever still waits for the start; True if somebody did."""
        if self.started is None or self.started.done():
            return False
        error = SpawnFailed(f"cannot start {self.path}: {reason}")
        error.__cause__ = reason.error if isinstance(reason, Failed) else None
        self.started.set_exception(error)
        return True

    def _unlink(self, reason: Reason | None) -> None:
        """End all links; an abnormal end reaches the peers."""
        peers, self.links = self.links, {}
        for peer in peers:
            peer.links.pop(self, None)
            if isinstance(reason, Failed | Killed):
                peer.linked_end(self.ref, reason)

    def linked_end(self, ref: ActorRef[Any], reason: Reason) -> None:
        """A linked actor has ended abnormally: end too, or hear of it."""
        if self.traps_exits:
            self.notify(Exit(ref, reason))
        else:
            self.kill(f"linked to {ref.path}: {reason}")

    def _tell(self, reason: Reason, *, restarting: bool) -> None:
        for monitor in tuple(self.watchers):
            monitor.target = None
            monitor.watcher.own.monitors.discard(monitor)
            monitor.watcher.notify(Down(monitor.ref, monitor, reason, restarting))
        self.watchers.clear()
        if self._waiters is not None and not self._waiters.done():
            self._waiters.set_result(reason)

    # --- helpers of the context ---

    def beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Run *work* beside the hooks; what it raises fails the actor. Ends with the generation."""
        task = self.cell.system.loop.create_task(self._guard(work))
        self.own.errands.add(task)
        self.cell.system.tasks.add(task)
        task.add_done_callback(lambda t: self._pipe_done(t, work))

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            self.fail(error)

    def pipe(
        self,
        awaitable: Awaitable[Any],
        to_message: Callable[[Any], Any],
        on_error: Callable[[BaseException], Any] | None,
    ) -> None:
        """Run *awaitable* beside the hooks."""
        task = self.cell.system.loop.create_task(pipe(self, awaitable, to_message, on_error))
        self.own.pipes.add(task)
        self.cell.system.tasks.add(task)
        task.add_done_callback(lambda t: self._pipe_done(t, awaitable))

    def _pipe_done(self, task: asyncio.Task[None], awaitable: Awaitable[Any]) -> None:
        self.own.pipes.discard(task)
        self.own.errands.discard(task)
        self.cell.system.tasks.discard(task)
        if asyncio.iscoroutine(awaitable):
            awaitable.close()  # cancelled before its first step
        if not task.cancelled():
            task.exception()

    def offload(self, work: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Run blocking code in a thread; abandoned with this generation."""
        system = self.cell.system
        job = system.offload.submit(system.loop, work, *args)
        self.own.jobs.add(job)
        job.add_done_callback(self.own.jobs.discard)
        return job

    # --- being looked at ---

    def age(self) -> float:
        """Seconds since this generation was made."""
        return max(0.0, self.clock.now() - self._since)

    def doing(self) -> str | None:
        """The type of what it handles now."""
        return None if self.current is NOTHING else type(self.current).__name__

    def busy(self) -> str | None:
        """Say what keeps it from being quiet; None if nothing does."""
        waiting = len(self.cell.box.queue)  # a pool's workers speak for themselves
        work = None if self._own is None else self._own.under_way()
        if work is not None:
            return work
        if self.task is None or (self._task_over and self.children):
            return None  # waits for its backoff, or for children that speak for themselves
        if is_suspended(self.task) and not waiting:
            return None
        return f"{self.status.value}, {self.doing() or 'nothing'} in hand, {waiting} waiting"


def _why(reason: Reason) -> BaseException:
    return reason.error if isinstance(reason, Failed) else asyncio.CancelledError(str(reason))
