"""One run of a command: from its launch until its exit and the end of its output.

Its end needs both facts, but a process that it left behind may hold the pipes open: so
after the exit at most 250 ms, and then what lies in the pipes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from antiphon.actors import Clock
from antiphon.messages import WorkerStart
from antiphon.services.worker.keeper import Refused, Session
from antiphon.services.worker.outcome import Outcome, of_exit, of_refusal
from antiphon.services.worker.output import Output
from antiphon.services.worker.publishing import pause

DRAIN_S = 0.25


class Run:
    """Owns the session's pipes and the task that follows them.

    Args:
        on_started: Awaited with the process id, before the first output is read.
    """

    def __init__(
        self,
        session: Session,
        start: WorkerStart,
        output: Output,
        clock: Clock,
        on_started: Callable[[int], Awaitable[None]],
    ) -> None:
        self.session = session
        self._start = start
        self._output = output
        self._clock = clock
        self._on_started = on_started
        self.task: asyncio.Task[Outcome] = asyncio.create_task(self._main())
        # not in a finally: a task that is cancelled before its first step never runs
        self.task.add_done_callback(lambda _: session.close())

    def abandon(self) -> None:
        """Follow it no longer, and end it by the ladder."""
        self.session.stop()
        self.task.cancel()

    async def _main(self) -> Outcome:
        session = self.session
        await asyncio.wait([session.started])
        started = session.started.result()
        if isinstance(started, Refused):
            return of_refusal(started, self._start)
        began = exited_at = self._clock.now()

        def note(_: object) -> None:
            nonlocal exited_at
            exited_at = self._clock.now()

        session.exited.add_done_callback(note)
        await self._on_started(started.pid)
        last_call: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        follow = asyncio.create_task(self._output.follow(session.stdout, session.stderr, last_call))
        try:
            await self._until_exit(follow)
            await self._wait_at_most(DRAIN_S, follow, session.empty)
            background = not session.empty.done()
            last_call.set_result(None)
            await follow
        finally:
            follow.cancel()
            await asyncio.wait([follow])
        return of_exit(
            session.exited.result() if session.exited.done() else None,
            ran_s=exited_at - began,
            background=background,
            stuck=session.stuck,
        )

    async def _until_exit(self, follow: asyncio.Task[None]) -> None:
        """Wait until the command has exited, or is given up."""
        over: list[asyncio.Future[Any]] = [self.session.exited, self.session.empty]
        while not any(future.done() for future in over):
            watched = [*over, follow] if not follow.done() else over
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            if follow.done() and not follow.cancelled() and follow.exception() is not None:
                break  # a bug of ours: don't sit on it until the command exits

    async def _wait_at_most(self, seconds: float, *things: asyncio.Future[Any]) -> None:
        timer = asyncio.ensure_future(pause(self._clock, seconds))
        everything = asyncio.gather(*map(_end_of, things))
        either: list[asyncio.Future[Any]] = [timer, everything]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            everything.cancel()
            await asyncio.gather(timer, everything, return_exceptions=True)


async def _end_of(thing: asyncio.Future[Any]) -> None:
    await asyncio.wait([thing])
