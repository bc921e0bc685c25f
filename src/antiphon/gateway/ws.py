"""``/v1/ws``: moves frames between a socket and its actor, and nothing else."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

from starlette.types import Message, Receive, Scope
from starlette.types import Send as AsgiSend

from antiphon.actors import ActorRef
from antiphon.bus import Principal
from antiphon.errors import ActorError, BadRequest, Overloaded
from antiphon.gateway.closing import CloseCode, bye
from antiphon.gateway.connection import ClientLeft, ConnectionMessage, FrameIn, SocketGone
from antiphon.gateway.limits import SOCKETS
from antiphon.gateway.problems import encode, reject_socket
from antiphon.gateway.sessions import Accept, SessionsMessage
from antiphon.gateway.traffic import Traffic
from antiphon.messages.frames import SUBPROTOCOL

GONE = (OSError, RuntimeError)
"""How uvicorn says that a socket is gone: ClientDisconnected, or, between its own close
frame and the loss of the connection, a RuntimeError."""
CLOSE_S = 5.0
"""Seconds to write the last frames to a socket whose actor is gone."""


class AsgiTransport:
    """The socket, as its actor sees it."""

    def __init__(self, send: AsgiSend, traffic: Traffic) -> None:
        self._send = send
        self._traffic = traffic
        self.gone = False
        self.ended: asyncio.Future[tuple[CloseCode, str]] = (
            asyncio.get_running_loop().create_future()
        )

    async def write(self, text: str) -> None:
        """Send a text frame; waits while the socket's buffer is full."""
        if self.gone:
            raise SocketGone
        try:
            await self._send({"type": "websocket.send", "text": text})
        except GONE as error:
            self.gone = True
            raise SocketGone from error
        self._traffic.frames_out += 1
        self._traffic.bytes_out += len(text)

    def end(self, code: CloseCode, reason: str) -> None:
        """Let ``SocketEndpoint`` close the socket."""
        if not self.ended.done():
            self.ended.set_result((code, reason))


class SocketEndpoint:
    """The ASGI side of every WebSocket.

    Args:
        sessions: Starts the actors.
        guest: Who a handshake's cookie belongs to, if that may be used.
        going: Whether the server is shutting down: then none is accepted.
        limit: Most sockets at a time.
    """

    def __init__(
        self,
        sessions: ActorRef[SessionsMessage],
        *,
        guest: Callable[[Scope], Principal | None],
        going: Callable[[], bool],
        limit: int = SOCKETS,
        traffic: Traffic,
    ) -> None:
        self._sessions = sessions
        self._guest = guest
        self._going = going
        self._limit = limit
        self._numbers = itertools.count(1)
        self.living: set[ActorRef[ConnectionMessage]] = set()
        self._open = 0
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: AsgiSend) -> None:
        if self._open >= self._limit or self._going():
            why = "the server is shutting down" if self._going() else "too many sockets are open"
            await reject_socket(send, Overloaded(why, retry_after_ms=1000, limit=self._limit))
            return
        if SUBPROTOCOL not in scope.get("subprotocols", ()):
            await reject_socket(send, BadRequest(f"ask for the subprotocol {SUBPROTOCOL}"))
            return
        self._open += 1
        self._traffic.sockets = self._open
        try:
            await self._serve(scope, receive, send)
        finally:
            self._open -= 1
            self._traffic.sockets = self._open

    async def _serve(self, scope: Scope, receive: Receive, send: AsgiSend) -> None:
        await receive()  # websocket.connect
        await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
        self._traffic.accepted += 1
        transport = AsgiTransport(send, self._traffic)
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
                transport.gone = True
                await ref.send(ClientLeft(), timeout=None)
                await transport.ended
        except ActorError:
            pass  # it has ended meanwhile, which is all that was wanted
        finally:
            transport.gone = True
            self.living.discard(ref)
            reader.cancel()
            ref.stop("the socket is closed")


async def _read(
    receive: Receive, ref: ActorRef[ConnectionMessage], transport: AsgiTransport, traffic: Traffic
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


async def _close(transport: AsgiTransport, send: AsgiSend, code: CloseCode, reason: str) -> None:
    try:
        async with asyncio.timeout(CLOSE_S):
            if code is CloseCode.CRASHED:  # nobody was left to say it
                await transport.write(encode(bye(code, reason)).decode())
            await send({"type": "websocket.close", "code": int(code), "reason": _short(reason)})
    except (SocketGone, TimeoutError, *GONE):
        transport.gone = True


def _short(reason: str) -> str:
    """A close frame has room for 123 bytes."""
    return reason.encode()[:120].decode(errors="ignore")
