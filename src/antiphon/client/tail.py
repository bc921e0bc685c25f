"""Following events across lost connections and restarts of the server.

A tail keeps the position after what its reader has consumed, and comes back
to it: each stored event arrives once and in order, or a notice says what is
missing. Publishing is ``HttpClient``'s.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, TypeVar

from antiphon.client.endpoint import Endpoint, NoServer
from antiphon.client.frames import Frame, RawEv, RawOk, SocketClosed
from antiphon.client.problems import error_from
from antiphon.errors import BusError
from antiphon.ids import Cursor
from antiphon.messages import (
    Ack,
    Bye,
    Err,
    Gap,
    Hello,
    Lag,
    Live,
    Ping,
    Pong,
    Pos,
    Reset,
    StartWord,
    Sub,
    Welcome,
)

if TYPE_CHECKING:
    from antiphon.client.socket import FrameSocket

SID = "tail"
HANDSHAKE_S = 10.0
GRACE_S = 10.0
FIRST_DELAY_S = 0.05
MOST_DELAY_S = 1.0


class Batch(NamedTuple):
    """Events as the server wrote them, and the position after them."""

    events: list[bytes]
    cursor: str


class TailNotice(NamedTuple):
    """Something that is no event: what is missing, or how the connection stands."""

    kind: Literal["ahead", "gap", "reset", "lag", "live", "lost", "back"]
    message: str


Item: TypeAlias = Batch | TailNotice


class Tail:
    """Yields batches and notices, for ever; one reader.

    Args:
        find: Says where the server is, asked at every connect: it may have moved.
        patterns: What to follow; at least one.
        start: Where to begin when *after* is None: ``now``, ``earliest`` or ``last``.
        after: A cursor or a bare seq to go on from.
        window: Most events that the server sends ahead of the reader.

    Raises:
        NoServer: While iterating, if the very first connect fails; later ones are repeated.
        BusError: While iterating: the server refused, and to ask again would not help.
    """

    def __init__(
        self,
        find: Callable[[], Endpoint],
        patterns: Sequence[str],
        *,
        start: StartWord = "now",
        after: str | int | None = None,
        window: int = 1000,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._find = find
        self._patterns = list(patterns)
        self._start: StartWord = start
        self._after = after
        self._window = window
        self._sleep = sleep
        self._socket: FrameSocket | None = None
        self._silence_s = 35.0
        self._connected = False

    @property
    def cursor(self) -> str | None:
        """The position after what the reader has consumed; None before the first connect."""
        return self._after if self._connected and isinstance(self._after, str) else None

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __iter__(self) -> Iterator[Item]:
        asked = self._after
        self._open()
        if isinstance(asked, int) and self.cursor is not None:
            head = Cursor.parse(self.cursor).seq
            if asked > head:
                yield TailNotice("ahead", f"there is no seq {asked} yet, going on after {head}")
        while True:
            lost = yield from self._until_lost()
            yield TailNotice("lost", lost)
            self._reopen()
            yield TailNotice("back", f"connected again, going on after {self._after}")

    # --- connecting --------------------------------------------------------------------------

    def _reopen(self) -> None:
        for attempt in count():
            self._sleep(backoff_s(attempt, random.random()))
            try:
                self._open()
            except NoServer:
                continue
            return

    def _open(self) -> None:
        """Connect, say hello and subscribe; the position is known afterwards."""
        # Not at the top: websockets takes a tenth of the time that a short command may take.
        from antiphon.client.socket import FrameSocket

        endpoint = self._find()
        socket = FrameSocket(endpoint, timeout=HANDSHAKE_S)
        try:
            self._greet(socket, endpoint)
        except (SocketClosed, TimeoutError) as error:
            socket.close()
            if isinstance(error, SocketClosed) and error.final:
                raise BusError(f"the server closed the connection: {error}") from error
            raise NoServer(f"lost the server at {endpoint.url}: {error}") from error
        except BaseException:
            socket.close()
            raise
        self._socket = socket

    def _greet(self, socket: FrameSocket, endpoint: Endpoint) -> None:
        socket.send(Hello(v=1, token=endpoint.token))
        welcome = _expect(Welcome, socket)
        self._silence_s = welcome.ping_ms / 1000 + GRACE_S
        socket.send(self._subscription())
        position = _expect(RawOk, socket).pos
        self._connected = True
        # A position that the server names stands for "now" from here on: what is published
        # while this client is away is not lost to it.
        if position is not None and not isinstance(self._after, str):
            self._after = position

    def _subscription(self) -> Sub:
        start: StartWord | None = self._start if self._after is None else None
        return Sub(
            id=1,
            sid=SID,
            patterns=self._patterns,
            after=self._after,
            start=start,
            window=self._window,
        )

    # --- receiving ---------------------------------------------------------------------------

    def _until_lost(self) -> Generator[Item, None, str]:
        """Yield what comes; return why the connection ended."""
        socket = self._socket
        assert socket is not None
        try:
            while True:
                yield from self._take(socket, socket.recv(self._silence_s))
        except SocketClosed as error:
            if error.final:
                raise BusError(f"the server closed the connection: {error}") from error
            return f"lost the server: {error}"
        except TimeoutError:
            return f"lost the server: silent for {self._silence_s:.0f} s"
        finally:
            self.close()

    def _take(self, socket: FrameSocket, frame: Frame) -> Iterator[Item]:
        match frame:
            case RawEv():
                yield Batch([bytes(raw) for raw in frame.events], frame.cursor)
                # The reader is back, so it has consumed them: only now do they count.
                self._after = frame.cursor
                socket.send(Ack(sid=SID, seq=Cursor.parse(frame.cursor).seq))
            case Ping():
                socket.send(Pong())
            case Pos():
                self._after = frame.cursor
            case Live():
                yield TailNotice("live", "caught up")
            case Lag():
                yield TailNotice("lag", f"{frame.dropped} ephemeral events were dropped")
            case Gap():
                self._after = frame.cursor
                yield TailNotice("gap", f"events {frame.first} to {frame.last} were trimmed")
            case Reset():
                self._after = frame.cursor
                yield TailNotice("reset", frame.message)
            case _:
                _refuse(frame)


F = TypeVar("F", Welcome, RawOk)


def _expect(kind: type[F], socket: FrameSocket) -> F:
    """Wait for the answer of this kind; only a ping may come before it."""
    while True:
        frame = socket.recv(HANDSHAKE_S)
        if isinstance(frame, kind):
            return frame
        if isinstance(frame, Ping):
            socket.send(Pong())
        else:
            _refuse(frame)
            raise BusError(f"expected {kind.__name__}, the server sent {type(frame).__name__}")


def _refuse(frame: Frame) -> None:
    """Raise what an ``err`` says, or a ``bye`` that means it; let others pass."""
    if isinstance(frame, Err):
        raise error_from(
            frame.code,
            frame.message,
            value=frame.value,
            limit=frame.limit,
            retry_after_ms=frame.retry_after_ms,
        )
    if isinstance(frame, Bye):
        raise SocketClosed(frame.code, frame.reason)


def backoff_s(attempt: int, luck: float) -> float:
    """Seconds to wait before connect *attempt* (from 0); *luck*, 0 to 1, spreads the clients."""
    bound = min(MOST_DELAY_S, FIRST_DELAY_S * (1 << min(attempt, 16)))
    return bound * (0.5 + luck / 2)
