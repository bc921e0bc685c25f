"""``/v1/ws``: moves frames between a socket and its actor, and nothing else."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import Protocol

from starlette.types import Message, Receive, Scope
from starlette.types import Send as AsgiSend

from antiphon.actors import ActorRef
from antiphon.errors import ActorError, BadRequest, Overloaded
from antiphon.gateway.closing import CloseCode, bye
from antiphon.gateway.connection import ClientLeft, ConnectionMessage, FrameIn
from antiphon.gateway.holds import Pass
from antiphon.gateway.problems import encode, reject_socket
from antiphon.gateway.protocols import FRAMES
from antiphon.gateway.seats import Seats
from antiphon.gateway.sessions import Accept, SessionsMessage
from antiphon.gateway.stream import Parts
from antiphon.gateway.traffic import Traffic
from antiphon.messages.frames import SUBPROTOCOL

GONE = (OSError, RuntimeError)
"""How uvicorn says that a socket is gone: ClientDisconnected, or, between its own close
frame and the loss of the connection, a RuntimeError."""
UNSAID = (CloseCode.CRASHED, CloseCode.TOKEN_ENDED)
CLOSE_S = 5.0
"""Seconds to write the last frames to a socket whose actor is gone."""


class FrameSocket(Protocol):
    """What our WebSocket protocol offers beside ASGI, as the extension ``FRAMES``."""

    on_room: Callable[[], None]

    @property
    def has_room(self) -> bool: ...

    @property
    def is_gone(self) -> bool: ...

    def write_text(self, parts: Sequence[bytes]) -> int: ...

    def cut_unwritten(self) -> bool: ...

    def cut(self) -> None: ...


class SocketTransport:
    """The socket, as its actor sees it.

    Args:
        admitted: Called once it is known whose it is.
    """

    def __init__(self, frames: FrameSocket, traffic: Traffic, admitted: Callable[[], None]) -> None:
        self._frames = frames
        self.admitted = admitted
        self._traffic = traffic
        self.ended: asyncio.Future[tuple[CloseCode, str]] = (
            asyncio.get_running_loop().create_future()
        )

    @property
    def gone(self) -> bool:
        return self._frames.is_gone

    @property
    def has_room(self) -> bool:
        return self._frames.has_room

    def write(self, parts: Parts) -> None:
        """Send a text frame."""
        traffic = self._traffic
        traffic.frames_out += 1
        traffic.bytes_out += self._frames.write_text(parts)

    def cut_unwritten(self) -> bool:
        """End the connection if something lies unwritten in this process; whether it did."""
        return self._frames.cut_unwritten()

    def watch(self, on_room: Callable[[], None]) -> None:
        """Call *on_room* when it takes frames again, or never will."""
        self._frames.on_room = on_room

    def end(self, code: CloseCode, reason: str) -> None:
        """Let ``SocketEndpoint`` close the socket."""
        if not self.ended.done():
            self.ended.set_result((code, reason))


class SocketEndpoint:
    """The ASGI side of every WebSocket.

    Args:
        sessions: Starts the actors.
        guest: What a handshake's cookie opens, if that may be used.
        seats: How many may be open.
        traffic: Where they are counted.
    """

    def __init__(
        self,
        sessions: ActorRef[SessionsMessage],
        *,
        guest: Callable[[Scope], Pass | None],
        seats: Seats,
        traffic: Traffic,
    ) -> None:
        self._sessions = sessions
        self._guest = guest
        self._seats = seats
        self._numbers = itertools.count(1)
        self.living: set[ActorRef[ConnectionMessage]] = set()
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: AsgiSend) -> None:
        frames: FrameSocket = scope["extensions"][FRAMES]
        try:
            seat = self._seats.take(frames.cut)
        except Overloaded as error:
            await reject_socket(send, error)
            return
        try:
            transport = SocketTransport(frames, self._traffic, lambda: self._seats.keep(seat))
            await self._sit(transport, scope, receive, send)
        finally:
            self._seats.leave(seat)

    async def _sit(
        self, transport: SocketTransport, scope: Scope, receive: Receive, send: AsgiSend
    ) -> None:
        if SUBPROTOCOL not in scope.get("subprotocols", ()):
            await reject_socket(send, BadRequest(f"ask for the subprotocol {SUBPROTOCOL}"))
            return
        self._traffic.sockets += 1
        try:
            await self._serve(transport, scope, receive, send)
        finally:
            self._traffic.sockets -= 1

    async def _serve(
        self, transport: SocketTransport, scope: Scope, receive: Receive, send: AsgiSend
    ) -> None:
        await receive()  # websocket.connect
        await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
        self._traffic.accepted += 1
        try:
            ref = await self._sessions.call(
                Accept(next(self._numbers), transport, self._guest(scope))
            )
        except ActorError:
            self._traffic.closes[int(CloseCode.CRASHED)] += 1
            await _close(transport, send, CloseCode.CRASHED, "no actor could be started")
            return
        self.living.add(ref)
        reader = asyncio.create_task(_read(receive, ref, transport, self._traffic))
        try:
            await asyncio.wait((reader, transport.ended), return_when=asyncio.FIRST_COMPLETED)
            if transport.ended.done():
                code, reason = transport.ended.result()
                self._traffic.closes[int(code)] += 1
                await _close(transport, send, code, reason)
            else:
                await ref.send(ClientLeft(), timeout=None)
                await transport.ended
        except ActorError:
            pass  # it has ended meanwhile, which is all that was wanted
        finally:
            self.living.discard(ref)
            reader.cancel()
            ref.stop("the socket is closed")


async def _read(
    receive: Receive, ref: ActorRef[ConnectionMessage], transport: SocketTransport, traffic: Traffic
) -> None:
    """Hand frames to the actor until the client leaves; at most its mailbox ahead of it."""
    while True:
        message: Message = await receive()
        if message["type"] != "websocket.receive":
            return
        traffic.frames_in += 1
        text = message.get("text")
        try:
            await ref.send(FrameIn(message["bytes"] if text is None else text), timeout=None)
        except ActorError:
            await asyncio.wait((transport.ended,))  # it ends, and says goodbye before
            return


async def _close(transport: SocketTransport, send: AsgiSend, code: CloseCode, reason: str) -> None:
    if code is CloseCode.TOKEN_ENDED:
        await asyncio.sleep(0)  # what was written in this turn is on its way
        if transport.cut_unwritten():  # the rest must not be delivered any more
            return
    try:
        async with asyncio.timeout(CLOSE_S):
            if code in UNSAID:  # nobody was left to say it
                await send({"type": "websocket.send", "text": encode(bye(code, reason)).decode()})
            await send({"type": "websocket.close", "code": int(code), "reason": _short(reason)})
    except (TimeoutError, *GONE):
        pass  # it has left meanwhile


def _short(reason: str) -> str:
    """A close frame has room for 123 bytes."""
    return reason.encode()[:120].decode(errors="ignore")
