"""The durable subscriptions of one connection: opened, worked on, and given back at its end.

Opening one waits for the disk, so it has a task of its own, and the connection goes on
meanwhile. What may be asked when is ``session.py``'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from antiphon.bus import Bus, Lease, Principal
from antiphon.errors import BusError
from antiphon.gateway.held import HeldStream
from antiphon.gateway.limits import LEASE_S
from antiphon.gateway.session import Fail, Hold, Settle


class Holdings:
    """Opens, finds and closes them.

    Args:
        conn: The connection's name, of which a holder's is made that gives none.
        opened: Told of each that is open; returns its stream.
        declined: Told of each that can't be opened.
        ready: Told when a stream may have something.
        failed: Told of a fault in a task of this.
    """

    def __init__(
        self,
        bus: Bus,
        conn: str,
        *,
        opened: Callable[[Hold, Lease], HeldStream],
        declined: Callable[[Hold, BusError], None],
        ready: Callable[[HeldStream], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._bus = bus
        self._conn = conn
        self._opened = opened
        self._declined = declined
        self._ready = ready
        self._failed = failed
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._held: dict[str, HeldStream] = {}

    def __iter__(self) -> Iterator[HeldStream]:
        return iter(list(self._held.values()))

    def open(self, ask: Hold, principal: Callable[[], Principal]) -> None:
        """Begin to open it; ``opened`` or ``declined`` follows, unless it is closed before.

        Args:
            principal: Asked when it is opened: rights may change until then.
        """
        task = asyncio.get_running_loop().create_task(self._open(ask, principal))
        self._opening[ask.sid] = task
        task.add_done_callback(self._task_ended)

    async def _open(self, ask: Hold, principal: Callable[[], Principal]) -> None:
        try:
            lease = await self._bus.open_lease(
                ask.name,
                *ask.patterns,
                on_ready=lambda: self._wake(ask.sid),
                start=ask.start,
                principal=principal(),
                member=ask.member or f"{self._conn}/{ask.sid}",
                lease=LEASE_S,
                **ask.terms,
            )
        except BusError as error:
            del self._opening[ask.sid]
            self._declined(ask, error)
            return
        del self._opening[ask.sid]
        stream = self._held[ask.sid] = self._opened(ask, lease)
        self._ready(stream)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)

    def _wake(self, sid: str) -> None:
        stream = self._held.get(sid)
        if stream is not None:
            self._ready(stream)

    def close(self, sid: str) -> HeldStream | None:
        """Close *sid*, or call off its opening; the stream, if there was one by that name."""
        opening = self._opening.pop(sid, None)
        if opening is not None:
            opening.cancel()
        stream = self._held.pop(sid, None)
        if stream is not None:
            stream.close()
        return stream

    def settle(self, ask: Settle) -> None:
        """Settle one event."""
        self._held[ask.sid].ack(ask.seq)

    def fail(self, ask: Fail) -> None:
        """Have one event come again."""
        self._held[ask.sid].nack(ask.seq, ask.delay, ask.reason)

    def renew(self) -> None:
        """The client was heard of."""
        for stream in self:
            stream.renew()

    def end(self) -> None:
        """Close all of them. Idempotent."""
        for sid in [*self._opening, *self._held]:
            self.close(sid)
