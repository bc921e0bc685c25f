"""``services/workers/ID``: one worker; starts its command, again if its policy says so.

Recording the end is the parent's work (``workers_actor.py``), so that a killed
WorkerActor gets one too. Leaves out how a run goes (``run.py``).
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, replace
from typing import TypeAlias

from antiphon.actors import Actor, ActorContext, ActorRef, Reason, Timer
from antiphon.errors import ActorError
from antiphon.services.worker.keeper import KeeperLost, Session
from antiphon.services.worker.life import Life
from antiphon.services.worker.outcome import Outcome, keeper_lost, not_started
from antiphon.services.worker.protocol import KeeperMessage, Launch, Nudge, WorkersMessage
from antiphon.services.worker.publishing import pause
from antiphon.services.worker.request import environment, shown
from antiphon.services.worker.restarts import RestartPolicy
from antiphon.services.worker.run import Run

LAUNCH_WITHIN = 30.0


@dataclass(frozen=True, slots=True)
class Cancel:
    """Somebody wants it to end."""


@dataclass(frozen=True, slots=True)
class Begin:
    """Start the command."""


@dataclass(frozen=True, slots=True)
class RunOver:
    """The command has ended and its output is in the log."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Settled:
    """Of the last run no process is left."""


WorkerMessage: TypeAlias = Cancel | Begin | RunOver | Settled


class WorkerActor(Actor[WorkerMessage]):
    """One worker. Ends by itself when its command has ended for good.

    Args:
        resumed: It lived before; then a command that can't be started is tried again.
    """

    def __init__(
        self,
        life: Life,
        *,
        keeper: ActorRef[KeeperMessage],
        parent: ActorRef[WorkersMessage],
        resumed: bool = False,
    ) -> None:
        self._life = life
        self._keeper = keeper
        self._parent = parent
        self._policy = RestartPolicy(life.record.start.restart)
        self._has_run = resumed
        self._run: Run | None = None
        self._timer: Timer | None = None
        self._delay = 0.0
        self._stuck: tuple[int, ...] = ()
        self._cancelled = False
        self._over = False

    async def pre_start(self, ctx: ActorContext[WorkerMessage]) -> None:
        ctx.at_end(self._let_go)

    async def post_start(self, ctx: ActorContext[WorkerMessage]) -> None:
        self._begin(ctx)

    async def handle(self, msg: WorkerMessage, ctx: ActorContext[WorkerMessage]) -> None:
        match msg:
            case Begin():
                self._timer = None
                self._begin(ctx)
            case RunOver(outcome):
                self._after(outcome, ctx)
            case Settled():
                self._settled(ctx)
            case Cancel():
                self._cancel(ctx)

    async def post_stop(self, reason: Reason, ctx: ActorContext[WorkerMessage]) -> None:
        """Stopped from outside: the parent sees the run off, for all workers at once."""
        if self._run is not None and self._life.end is None:
            self._run.session.stop()
            self._life.leaving, self._run = self._run, None

    def _let_go(self) -> None:
        """On every end, a kill included: what still runs is ended by the ladder."""
        self._over = True
        self._life.state = "ended"
        if self._run is not None:
            self._run.abandon()

    # one run

    def _begin(self, ctx: ActorContext[WorkerMessage]) -> None:
        self._life.state = "starting"
        self._life.starts = (self._life.starts or 0) + 1
        ctx.pipe_to_self(self._run_once(), RunOver)

    async def _run_once(self) -> Outcome:
        start = self._life.record.start
        cwd, env = start.cwd or "/", environment(start.env, os.environ)
        try:
            await self._launch(Launch(start.argv, cwd, env, self._adopt))
        except ActorError:
            return keeper_lost()
        except OSError as error:
            return not_started(start, error)
        run = self._run
        assert run is not None
        await asyncio.wait([run.task])  # not its result: it may go on without this actor
        return run.task.result()

    async def _launch(self, launch: Launch) -> None:
        """Have it started; between two keepers, by the next one."""
        while True:
            try:
                await self._keeper.call(launch, timeout=LAUNCH_WITHIN)
            except KeeperLost:
                await pause(self._life.clock, 0.05)
            else:
                return

    def _adopt(self, session: Session) -> None:
        life = self._life
        self._run = Run(session, life.record.start, life.output, life.clock, self._started)
        if self._over:
            self._run.abandon()
        elif self._cancelled:
            session.stop()

    async def _started(self, pid: int) -> None:
        life, start = self._life, self._life.record.start
        self._has_run = True
        life.pid = pid
        if not self._cancelled:
            life.state = "running"
        payload = {
            "argv": shown(start.argv),
            "cwd": start.cwd,
            "pid": pid,
            "start": life.starts,
            "restart": start.restart,
        }
        if start.correlation_id is not None:
            payload["correlation_id"] = start.correlation_id
        await life.outbox.say("spawned", payload)

    # between runs

    def _after(self, outcome: Outcome, ctx: ActorContext[WorkerMessage]) -> None:
        life = self._life
        life.last, life.pid = outcome, None
        if self._cancelled:  # told once nothing is left of it
            ctx.pipe_to_self(self._end_session(), lambda _: Settled())
            return
        delay = self._next_delay(outcome)
        if delay is None:
            life.finish("failed" if outcome.failed else "complete", outcome.payload())
        else:
            self._delay = delay
            ctx.pipe_to_self(self._tell_restart(outcome, delay), lambda _: Settled())
            return
        self._ended()
        ctx.pipe_to_self(self._end_session(), lambda _: Settled())

    def _next_delay(self, outcome: Outcome) -> float | None:
        if outcome.lost or outcome.pids:
            return None
        return self._policy.next_delay(
            failed=outcome.failed, ran_s=outcome.ran_s, never_ran=not self._has_run
        )

    async def _tell_restart(self, outcome: Outcome, delay: float) -> None:
        """Say how it ended, then end what that run left: no two runs at the same time."""
        number = self._life.starts or 0
        told = {"start": number, "next_start": number + 1, "delay_ms": round(delay * 1000)}
        await self._life.outbox.say("restarting", outcome.payload() | told)
        await self._end_session()

    async def _end_session(self) -> None:
        if self._run is not None:
            session = self._run.session
            session.stop()
            await asyncio.wait([session.empty])
            self._stuck = session.stuck
            self._run = None

    def _settled(self, ctx: ActorContext[WorkerMessage]) -> None:
        if self._life.end is not None:
            ctx.stop()
        elif self._cancelled:
            self._finish_cancelled(ctx)
        else:
            self._life.state = "waiting"
            self._timer = ctx.send_after(self._delay, Begin())

    def _cancel(self, ctx: ActorContext[WorkerMessage]) -> None:
        if self._cancelled or self._life.end is not None:
            return
        self._cancelled = True
        self._life.state = "stopping"
        if self._timer is not None:
            self._timer.cancel()
            self._finish_cancelled(ctx)
        elif self._run is not None:
            self._run.session.stop()

    def _finish_cancelled(self, ctx: ActorContext[WorkerMessage]) -> None:
        last = self._life.last
        payload = (
            {} if last is None else replace(last, background=False, pids=self._stuck).payload()
        )
        self._life.finish("cancelled", payload)
        self._ended()
        ctx.stop()

    def _ended(self) -> None:
        self._life.state = "stopping"
        # only to have it recorded before the ladder is through: Down tells it in any case
        self._parent.try_cast(Nudge(self._life.record.run))
