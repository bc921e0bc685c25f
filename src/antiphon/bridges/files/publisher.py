"""Where a watcher's events go."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from antiphon.bus import SYSTEM, Bus, Principal
from antiphon.messages import EventIn


class Publisher(Protocol):
    """Takes events in order.

    ``publish_batch`` returns when all are durably taken; the same ids may come again and
    count once. It raises ``Overloaded``, ``StorageUnavailable`` or an ``OSError`` where
    trying again may help, ``IdConflict`` where an id is taken, else any other error;
    a part of the batch may then have been taken.
    """

    async def publish_batch(self, events: Sequence[EventIn], /) -> None: ...


class BusPublisher:
    """Publishes on a bus of the same process."""

    def __init__(self, bus: Bus, principal: Principal = SYSTEM) -> None:
        self._bus = bus
        self._principal = principal

    async def publish_batch(self, events: Sequence[EventIn], /) -> None:
        """Publish *events*, and wait until they are on disk."""
        futures = [self._bus.publish(event, principal=self._principal) for event in events]
        results = await asyncio.gather(*futures, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
