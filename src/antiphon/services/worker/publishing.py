"""How a worker's events get into the log, and wait while it can't take them.

``Publisher`` is what is asked of the bus. Nothing is given up: while the log refuses,
the same event with the same id is tried again, and whoever waits for it waits on, which
is how a slow log slows a command down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from antiphon.actors import Clock
from antiphon.errors import Overloaded, StorageUnavailable
from antiphon.ids import new_id
from antiphon.messages import EventType, Published

TYPES = {
    "spawned": EventType.WORKER_SPAWNED,
    "progress": EventType.WORKER_PROGRESS,
    "complete": EventType.WORKER_COMPLETE,
    "failed": EventType.WORKER_FAILED,
    "cancelled": EventType.WORKER_CANCELLED,
}
ENDS = ("complete", "failed", "cancelled")


class Page(Protocol):
    """A page of stored events."""

    @property
    def data(self) -> Sequence[bytes]: ...


class Publisher(Protocol):
    """The part of the bus that workers use."""

    def publish_event(
        self,
        topic: str,
        payload: Any = None,
        *,
        type: str = ...,
        source: str | None = None,
        id: str | None = None,
        correlation_id: str | None = None,
    ) -> asyncio.Future[Published]: ...

    async def query(
        self,
        patterns: Sequence[str] = ...,
        *,
        order: str = ...,
        correlation_id: str | None = None,
        limit: int = ...,
    ) -> Page: ...


class Outbox:
    """Publishes the events of one stay of one worker.

    Args:
        run: The correlation id of them all.
    """

    def __init__(self, publisher: Publisher, clock: Clock, worker: str, run: str) -> None:
        self._publisher = publisher
        self._clock = clock
        self._worker = worker
        self._run = run

    async def say(self, what: str, payload: dict[str, Any], *, id: str | None = None) -> None:
        """Publish ``worker.ID.`` + *what*, and wait until it is in the log, however long."""
        given = id or new_id()
        while True:
            try:
                await self._publisher.publish_event(
                    f"worker.{self._worker}.{what}",
                    payload,
                    type=TYPES.get(what, f"worker_{what}"),
                    source=f"/workers/{self._worker}",
                    id=given,
                    correlation_id=self._run,
                )
            except (StorageUnavailable, Overloaded) as error:
                await pause(self._clock, error.retry_after_ms / 1000)
            else:
                return

    async def has_ended(self) -> bool:
        """Whether the log holds the end of this stay."""
        topics = [f"worker.{self._worker}.{end}" for end in ENDS]
        while True:
            try:
                page = await self._publisher.query(topics, correlation_id=self._run, limit=1)
            except (StorageUnavailable, Overloaded) as error:
                await pause(self._clock, error.retry_after_ms / 1000)
            else:
                return bool(page.data)


async def pause(clock: Clock, seconds: float) -> None:
    """Wait by *clock*."""
    woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    timer = clock.call_later(seconds, _wake, woken)
    try:
        await woken
    finally:
        timer.cancel()


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
