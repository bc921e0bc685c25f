"""``GET /v1/stream``: server-sent events, as the WHATWG's HTML standard has them.

A stream belongs to its request: whichever ends first ends the other. It pulls from its
subscription only when the socket has taken what came before, so that a slow reader
leaves its cursor behind and fills no memory; one that takes nothing for 30 s is cut off
(``protocols.py``).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from antiphon.bus import Bus, BusNotice, Gap, Lag, Live, Principal, Reset
from antiphon.bus.batch import Slice
from antiphon.gateway.flusher import FLUSH_S
from antiphon.gateway.limits import COMMENT_S, CUT_S, FLUSH_BYTES, FLUSH_EVENTS
from antiphon.gateway.protocols import ABORT, CUT_UNWRITTEN
from antiphon.gateway.register import Register, subscription_info
from antiphon.gateway.seats import Seats
from antiphon.messages import SubscriptionInfo

logger = logging.getLogger(__name__)

RETRY_MS = 2000
HEADERS = {
    "content-type": "text/event-stream",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
}
COMMENT = b":\n\n"

Hold = Callable[[Request, Callable[[str], None]], Callable[[], None]]
"""Has a function called when the request's token ends; returns what undoes that."""

_encode = msgspec.json.Encoder().encode


class EventStreams:
    """All of them.

    Args:
        hold: Counts each among its token's connections, and ends it with the token.
    """

    def __init__(self, bus: Bus, seats: Seats, register: Register, hold: Hold) -> None:
        self._bus = bus
        self._seats = seats
        self._register = register
        self._hold = hold
        self._numbers = itertools.count(1)
        self._open: dict[EventStream, None] = {}

    def open(
        self, request: Request, principal: Principal, patterns: list[str], start: str | int
    ) -> EventStream:
        """The answer to *request*: what the principal may see of *patterns*.

        Raises:
            Overloaded, Unauthorized: There are too many; its token has ended meanwhile.
            InvalidPattern, Forbidden, BadRequest: As ``Bus.open_subscription``.
        """
        seat = self._seats.take()
        undo: list[Callable[[], None]] = [lambda: self._seats.leave(seat)]
        try:
            stream = EventStream(f"stream/{next(self._numbers)}", self._bus, undo)
            undo.append(self._hold(request, stream.token_ended))
            stream.subscribe(patterns, start, principal)
        except BaseException:
            for step in reversed(undo):
                step()
            raise
        self._open[stream] = None
        undo += [self._register.add(stream.infos), lambda: self._forget(stream)]
        return stream

    def end(self, why: str) -> None:
        """End every stream."""
        for stream in list(self._open):
            stream.end(why)

    def _forget(self, stream: EventStream) -> None:
        del self._open[stream]


class EventStream(StreamingResponse):
    """One of them: an answer that ends with its client, its token or the server.

    Args:
        undo: What is to be done at the end, the last first.
    """

    def __init__(self, name: str, bus: Bus, undo: list[Callable[[], None]]) -> None:
        super().__init__(self._chunks(), headers=HEADERS)
        self.name = name
        self._bus = bus
        self._undo = undo
        self._wake = asyncio.Event()
        self._ended = False
        self._done = False
        self._abort: Callable[[], None] = self._wake.set
        self._cut_unwritten: Callable[[], None] = self._wake.set
        self._told = ""

    def subscribe(self, patterns: list[str], start: str | int, principal: Principal) -> None:
        """Begin to follow *patterns*; see ``EventStreams.open``."""
        self._subscription = self._bus.open_subscription(
            patterns,
            start=start,
            principal=principal,
            on_ready=self._wake.set,
            sid=self.name,
            narrow=True,
        )
        self._undo.append(self._subscription.close)
        self._is_new = start in ("now", "earliest")

    def end(self, why: str) -> None:
        """Bring nothing more, and be gone soon, whether the client reads or not."""
        if self._ended:
            return
        logger.info("%s ends: %s", self.name, why)
        self._ended = True
        self._wake.set()
        asyncio.get_running_loop().call_later(CUT_S, self._cut)

    def token_ended(self, why: str) -> None:
        """Deliver nothing more, not even what was written and not taken."""
        self.end(why)
        self._cut_unwritten()

    def infos(self) -> Iterable[SubscriptionInfo]:
        """What ``GET /v1/subscriptions`` says of it."""
        yield subscription_info(self.name, self._subscription, self._bus.head)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._abort = scope["extensions"][ABORT]
        self._cut_unwritten = scope["extensions"][CUT_UNWRITTEN]
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ended = self._done = True
            for step in reversed(self._undo):
                step()

    def _cut(self) -> None:
        if not self._done:
            self._abort()

    async def _chunks(self) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        yield self._opening()
        while not self._ended:
            self._wake.clear()
            part, is_full = self._part()
            if part:
                next_flush = loop.time() + (0.0 if is_full else FLUSH_S)
                yield part
                await asyncio.sleep(max(0.0, next_flush - loop.time()))
            elif not await self._woken():
                yield self._position() + COMMENT

    async def _woken(self) -> bool:
        """Wait for events or the end; False: neither came for a while."""
        try:
            async with asyncio.timeout(COMMENT_S):
                await self._wake.wait()
        except TimeoutError:
            return False
        return True

    # --- what is written --------------------------------------------------------------------

    def _opening(self) -> bytes:
        """When to come back, and where to go on then if nothing comes before."""
        first = b"retry: %d\n" % RETRY_MS
        return first + (self._position() if self._is_new else b"\n")

    def _position(self) -> bytes:
        """An id without data: browsers keep it and hand out nothing; empty, if it is told."""
        cursor = self._subscription.cursor
        if cursor == self._told:
            return b""
        self._told = cursor
        return b"id: %s\n\n" % cursor.encode()

    def _part(self) -> tuple[bytes, bool]:
        """What there is now, and whether it is all that goes into one write."""
        parts: list[bytes] = []
        count = size = 0
        while count < FLUSH_EVENTS and size < FLUSH_BYTES:
            taken = self._subscription.take(FLUSH_EVENTS - count, FLUSH_BYTES - size)
            if taken is None:
                break
            if isinstance(taken, Slice):
                parts.append(self._events(taken))
                count += len(taken)
            else:
                parts.append(self._notice(taken))
            size += len(parts[-1])
        return b"".join(parts), count >= FLUSH_EVENTS or size >= FLUSH_BYTES

    def _events(self, taken: Slice) -> bytes:
        if taken.ephemeral:
            return b"".join([b"data: %s\n\n" % data for data in taken.data])
        cursors = [self._bus.cursor(seq) for seq in taken.seqs]
        self._told = cursors[-1]
        found = zip(cursors, taken.data, strict=True)
        return b"".join([b"id: %s\ndata: %s\n\n" % (at.encode(), data) for at, data in found])

    def _notice(self, notice: BusNotice) -> bytes:
        match notice:
            case Live():
                return self._position()
            case Lag(_, dropped):
                return _named("lag", {"dropped": dropped})
            case Gap(_, first, last, cursor):
                return _named("gap", {"from": first, "to": last, "cursor": cursor})
            case Reset(_, message, cursor):
                self._told = cursor
                return _named("reset", {"message": message, "cursor": cursor})
            case _:
                raise AssertionError(f"unknown notice {notice!r}")


def _named(event: str, data: dict[str, Any]) -> bytes:
    at = data.get("cursor")
    where = b"" if at is None else b"id: %s\n" % at.encode()
    return b"event: %s\n%sdata: %s\n\n" % (event.encode(), where, _encode(data))
