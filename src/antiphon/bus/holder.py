"""A durable subscription for code that is no actor: an async iterator that acknowledges."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType

from antiphon.bus.durable import Lease
from antiphon.bus.notices import Gap, Reset
from antiphon.errors import StorageUnavailable, SubscriptionGap, SubscriptionReset, cut
from antiphon.messages import Event


class Holder:
    """Yields events one at a time, each again until it was acknowledged; at least once.

    After ``SubscriptionGap`` or ``SubscriptionReset`` the iteration may go on. It raises
    ``LeaseLost`` or ``DurableStopped`` when the lease has ended, and ends after ``release``.

    A holder that waits for the next event is alive. One that works on an event must be
    heard of within the lease, by any call; ``renew`` does nothing else.

    Attributes:
        token: The fencing token: it grows with every lease, so what is guarded by it can
            refuse a holder that was replaced and doesn't know it yet.
    """

    def __init__(self, save: Callable[[], Awaitable[None]]) -> None:
        self._save = save
        self._ready = asyncio.Event()
        self._released = False
        self._lease: Lease | None = None

    def hold(self, lease: Lease) -> None:
        """Begin; called once, by the bus."""
        self._lease = lease

    def wake(self) -> None:
        """There may be something to take; called by the lease."""
        self._ready.set()

    @property
    def lease(self) -> Lease:
        assert self._lease is not None
        return self._lease

    @property
    def name(self) -> str:
        """The subscription's."""
        return self.lease.name

    @property
    def token(self) -> int:
        return self.lease.token

    def __aiter__(self) -> Holder:
        return self

    async def __anext__(self) -> Event:
        while True:
            if self._released:
                raise StopAsyncIteration
            taken = self.lease.take(1)
            if isinstance(taken, list):
                return taken[0].event
            if isinstance(taken, Gap):
                raise SubscriptionGap(taken.first, taken.last, taken.cursor)
            if isinstance(taken, Reset):
                raise SubscriptionReset(taken.message, taken.cursor)
            await self._ready.wait()
            self._ready.clear()

    def ack(self, seq: int) -> int:
        """Be done with *seq* and with all that was yielded before it; how many that were.

        What is not in hand (any more) is no error: 0.

        Raises:
            BadRequest: Nothing that far was yielded yet.
            LeaseLost, DurableStopped: The lease has ended; the events come to another holder.
        """
        return self.lease.ack(seq)

    def nack(self, seq: int, *, reason: str = "refused", delay: float | None = None) -> bool:
        """Count *seq* as failed: it comes again, or is parked; False if it isn't in hand.

        Events of its lane come after it, those already yielded too.

        Args:
            reason: Kept with it, should it be parked.
            delay: Seconds until then; None for 1 s, doubled with each failure, 60 s at most.

        Raises:
            BadRequest, LeaseLost, DurableStopped: See ``ack``.
        """
        return self.lease.nack(seq, reason=reason, delay=delay)

    def renew(self) -> None:
        """Keep the lease alive."""
        self.lease.renew()

    async def release(self, *, failed: str | None = None) -> None:
        """Give back what is in hand and end the lease. Idempotent.

        Returns when the acknowledgements are kept; while the disk refuses, they are kept
        later.

        Args:
            failed: Why, if the oldest event in hand is to blame; it counts as failed.
        """
        self._released = True
        self.lease.release(failed=failed)
        self._ready.set()
        try:
            await self._save()
        except StorageUnavailable:
            return  # the table tries again

    async def aclose(self) -> None:
        """Release it, for ``contextlib.aclosing``."""
        await self.release()

    async def __aenter__(self) -> Holder:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release it; an Exception out of the block counts for the oldest event in hand."""
        told = isinstance(error, SubscriptionGap | SubscriptionReset)
        is_blamed = isinstance(error, Exception) and not told
        why = f"{type(error).__name__}: {cut(str(error))}" if is_blamed else None
        await self.release(failed=why)
