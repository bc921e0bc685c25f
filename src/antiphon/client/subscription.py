"""Events of a server, as whoever follows them sees them; what they mean is ``following.py``'s."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import TYPE_CHECKING, Self

from antiphon.client.following import Following
from antiphon.errors import BusClosed, BusError
from antiphon.messages import Event

if TYPE_CHECKING:
    from antiphon.client.remote import RemoteBus


class RemoteSubscription:
    """Events of a server, as an async iterator; also a context manager that ends it.

    With ``durable`` or ``group`` an event counts as handled when the next one is asked for
    (unless ``auto_ack`` is off: then only ``ack`` says so). An error that leaves an
    ``async with`` block gives the last one back, and so does a cancellation, which does not
    count as a failure; ``nack`` does so by hand. A subscription that is forgotten ends, too.

    Raises:
        SubscriptionGap, SubscriptionReset: While iterating: events are missing, the position
            is of another history. Iterating may go on.
        BusError: While iterating, the server refused or ended it.
    """

    _closed = True  # until it is made: what was never open is not ended

    def __init__(self, bus: RemoteBus, following: Following, *, auto_ack: bool = True) -> None:
        self._bus = bus
        self._following = following
        self._auto_ack = auto_ack or not following.is_durable
        self._loop = asyncio.get_running_loop()
        self._closed = False

    @property
    def cursor(self) -> str | None:
        """The position after the last event that was handed out."""
        return self._following.cursor

    @property
    def attempt(self) -> int:
        """Which try the last event that was handed out is: its failures, and one."""
        return self._following.attempt

    @property
    def dropped(self) -> int:
        """Ephemeral events that the server dropped for this reader, in all."""
        return self._following.dropped

    def __aiter__(self) -> RemoteSubscription:
        return self

    async def __anext__(self) -> Event:
        ready = self._bus._readers.get(self._following)
        if self._auto_ack:
            self.ack()
        while True:
            if self._closed or ready is None:
                raise StopAsyncIteration
            ready.clear()
            found = self._following.next()
            if isinstance(found, Event):
                return found
            if isinstance(found, BusClosed):
                raise StopAsyncIteration
            if isinstance(found, BusError):
                raise found
            await ready.wait()

    def ack(self, event: Event | None = None) -> None:
        """*event*, or the last one, was handled; asking for the next says so, too.

        Of an event that is not in hand any more, since the connection was lost meanwhile, it
        says nothing: it comes again.
        """
        self._bus._handled(self._following, self._following.handled(event))

    def nack(
        self, event: Event | None = None, *, delay: float | None = None, reason: str = "refused"
    ) -> None:
        """*event*, or the last one, of a durable subscription failed: it comes again.

        Args:
            delay: Seconds until then; None: 1, doubled with each failure, 60 at most.
            reason: Kept with it, should it be given up.
        """
        if self._bus._session.failed(self._following, event, delay, reason):
            self._bus._more.set()

    def close(self) -> None:
        """End it. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._bus._leave(self._following)

    async def aclose(self) -> None:
        """The same, for ``contextlib.aclosing``."""
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception):
            self.nack(reason=str(error)[:200] or type(error).__name__)
        elif error is None and self._auto_ack:
            self.ack()
        self.close()  # interrupted: it was neither handled, nor has it failed; it goes back

    def __del__(self) -> None:
        # A loop that was left by ``break`` says nothing more; without this the server would
        # keep the subscription, and a durable one's lease, as long as the client lives.
        if not self._closed:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._bus._leave, self._following)
