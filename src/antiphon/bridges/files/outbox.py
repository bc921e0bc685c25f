"""Publishes changes, each once in the log, whatever happens in between.

Written down, published, crossed off: ``journal.py`` says why in this order. What may
pass by itself (overload, a full disk, a server that is gone) is tried again, with the
same ids; anything else is raised.

Promises: docs/semantics/files.md#once-in-the-log.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from antiphon.bridges.files.events import to_event
from antiphon.bridges.files.journal import Journal
from antiphon.bridges.files.problems import Problems
from antiphon.bridges.files.publisher import Publisher
from antiphon.bridges.files.tree import Change
from antiphon.errors import IdConflict, Overloaded, StorageUnavailable
from antiphon.messages import EventIn

T = TypeVar("T")

CHUNK = 500
"""Most events in flight."""
FIRST_PAUSE_S = 0.1
LAST_PAUSE_S = 5.0
PATIENCE_S = 1.0
"""Trying again is worth a word after so long."""


class Stopped(Exception):
    """The watcher was asked to stop while something was being tried again."""


class Outbox:
    """Tells a publisher of changes, one batch after another.

    Args:
        source: The events' ``source``.
        stop: Set: no further tries.
    """

    def __init__(
        self,
        journal: Journal,
        publisher: Publisher,
        *,
        source: str,
        problems: Problems,
        stop: asyncio.Event,
    ) -> None:
        self._journal = journal
        self._publisher = publisher
        self._source = source
        self._problems = problems
        self._stop = stop

    async def replay(self) -> None:
        """Publish what an earlier run wrote down and may not have published."""
        events = await asyncio.to_thread(self._journal.pending)
        if events:
            await self._deliver(events)

    async def tell(self, changes: Sequence[Change]) -> None:
        """Publish *changes*, in order, and return when all are taken and crossed off.

        Raises:
            Stopped: Before that.
        """
        for start in range(0, len(changes), CHUNK):
            if self._stop.is_set():
                raise Stopped
            chunk = changes[start : start + CHUNK]
            stage = partial(self._journal.stage, chunk, self._event)
            events = await self._persist("write down", partial(asyncio.to_thread, stage))
            await self._deliver(events)

    async def _deliver(self, events: list[EventIn]) -> None:
        try:
            await self._persist("publish", lambda: self._publisher.publish_batch(events))
        except IdConflict:
            self._problems.report("ids", "ids of file events were taken; giving new ones")
            renamed = await asyncio.to_thread(self._journal.renumber)
            await self._persist("publish", lambda: self._publisher.publish_batch(renamed))
        await self._persist("cross off", lambda: asyncio.to_thread(self._journal.settle))

    async def _persist(self, verb: str, step: Callable[[], Awaitable[T]]) -> T:
        pause, waited = FIRST_PAUSE_S, 0.0
        while True:
            try:
                result = await step()
            except (Overloaded, StorageUnavailable) as error:
                least, reason = error.retry_after_ms / 1000, str(error)
            except (OSError, sqlite3.OperationalError) as error:
                least, reason = 0.0, str(error) or type(error).__name__
            else:
                self._problems.over(verb)
                return result
            if waited >= PATIENCE_S:
                self._problems.report(verb, f"cannot {verb} file events, trying on: {reason}")
            await self._pause(max(pause, least))
            waited += max(pause, least)
            pause = min(2 * pause, LAST_PAUSE_S)

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return
        raise Stopped

    def _event(self, change: Change, event_id: str) -> EventIn:
        return to_event(change, source=self._source, time=datetime.now(UTC), event_id=event_id)
