"""Blocking code beside the loop: a bounded pool of threads that nothing waits for at the end.

``concurrent.futures`` would have the interpreter join its threads at exit, so one hung
call could keep a program from ending; these are daemons, and what is abandoned is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from antiphon.actors.request import answer, refuse

THREADS = min(32, (os.cpu_count() or 1) + 4)
IDLE_S = 10.0
"""A thread without work ends after so long."""


class _Job:
    __slots__ = ("future", "run", "running")

    def __init__(self, run: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        self.run = run
        self.future = future
        self.running = False


class Offload:
    """Runs functions in at most *threads* threads, first come, first served.

    Attributes:
        orphans: Calls that were still running when nobody wanted their result any more.
    """

    def __init__(self, threads: int = THREADS) -> None:
        if threads < 1:
            raise ValueError(f"offload needs at least 1 thread, got {threads}")
        self.threads = threads
        self.orphans = 0
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._alive = 0
        self._idle = 0
        self._closed = False
        self._under_way: set[_Job] = set()

    def __len__(self) -> int:
        """How many calls wait or run whose result somebody wants."""
        return len(self._under_way)

    def submit(
        self, loop: asyncio.AbstractEventLoop, work: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Run ``work(*args)`` in a thread, in the caller's context; the result by the future.

        Cancelled before its turn it never runs; cancelled later it becomes an orphan.
        """
        context = contextvars.copy_context()
        future = loop.create_future()
        job = _Job(lambda: context.run(work, *args), future)
        self._under_way.add(job)
        future.add_done_callback(lambda _: self._settled(job))
        with self._changed:
            self._jobs.append(job)
            if self._idle:
                self._changed.notify()
            elif self._alive < self.threads:
                self._alive += 1
                name = f"antiphon-offload-{self._alive}"
                threading.Thread(target=self._work, args=(loop,), name=name, daemon=True).start()
        return future

    def close(self) -> None:
        """Run nothing more; what runs is left to itself."""
        with self._changed:
            self._closed = True
            self._jobs.clear()
            self._changed.notify_all()

    def _settled(self, job: _Job) -> None:
        self._under_way.discard(job)
        if job.future.cancelled():
            with self._changed:
                if job.running:
                    self.orphans += 1
                elif job in self._jobs:
                    self._jobs.remove(job)

    # --- the threads ---

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while (job := self._next()) is not None:
            try:
                result = job.run()
            except BaseException as error:
                self._tell(loop, job, refuse, error)
            else:
                self._tell(loop, job, answer, result)

    def _next(self) -> _Job | None:
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._jobs or self._closed, IDLE_S)
            self._idle -= 1
            if self._jobs and not self._closed:
                job = self._jobs.popleft()
                job.running = True
                return job
            self._alive -= 1
            return None

    def _tell(
        self, loop: asyncio.AbstractEventLoop, job: _Job, how: Callable[..., Any], what: Any
    ) -> None:
        with self._changed:
            job.running = False
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody is to be told
            loop.call_soon_threadsafe(how, job.future, what)
