"""Events for code that is no actor: an async iterator over one subscription."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from antiphon.bus.access import Principal
from antiphon.bus.batch import Slice
from antiphon.bus.ephemeral import EphemeralPolicy
from antiphon.bus.notices import Gap, Reset
from antiphon.errors import SubscriptionGap, SubscriptionReset
from antiphon.messages import Event

if TYPE_CHECKING:
    from antiphon.bus.log import Log


class EventIterator:
    """Yields each event once, in order, for as long as it is asked.

    After ``SubscriptionGap`` or ``SubscriptionReset`` the iteration may go on: the
    next event is the first one after what is missing.
    """

    def __init__(
        self,
        log: Log,
        patterns: tuple[str, ...],
        principal: Principal,
        start: str | int,
        ephemeral: EphemeralPolicy = "drop_oldest",
    ) -> None:
        self._log = log
        self._ready = asyncio.Event()
        self._subscription = log.subscribe(
            "",
            patterns,
            principal.access,
            start,
            self._ready.set,
            ephemeral,
            owner=principal.name,
        )
        self._events: deque[Event] = deque()
        self._last = self._subscription.position

    @property
    def cursor(self) -> str:
        """The position after the last event that was yielded."""
        return self._log.cursor(self._last)

    def __aiter__(self) -> EventIterator:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self._subscription.closed:
                raise StopAsyncIteration
            taken = self._subscription.take()
            if taken is None:
                await self._ready.wait()
                self._ready.clear()
            elif isinstance(taken, Slice):
                self._events.extend(taken.events)
            elif isinstance(taken, Gap):
                raise SubscriptionGap(taken.first, taken.last, taken.cursor)
            elif isinstance(taken, Reset):
                raise SubscriptionReset(taken.message, taken.cursor)
        event = self._events.popleft()
        if event.seq is not None:
            self._last = event.seq
        return event

    def close(self) -> None:
        """End the subscription; whoever waits for the next event stops iterating."""
        self._subscription.close()
        self._ready.set()

    async def aclose(self) -> None:
        """The same, for ``contextlib.aclosing``."""
        self.close()

    async def __aenter__(self) -> EventIterator:
        return self

    async def __aexit__(self, *why: object) -> None:
        self.close()
