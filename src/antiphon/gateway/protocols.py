"""uvicorn's two protocols, with the bounds that they lack: on what comes too slowly, in too
small units or before it is wanted, and on clients that never take what was written to them.

How much of one connection is handled in a turn of the loop is ``inlet.py``'s.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CTRL_OPCODES, Frame
from websockets.protocol import State
from websockets.server import ServerProtocol

from antiphon.bus.allowance import Allowance
from antiphon.errors import BadRequest
from antiphon.gateway.crowd import Crowd
from antiphon.gateway.headers import SECURITY_HEADERS
from antiphon.gateway.inlet import PART_BYTES, Inlet
from antiphon.gateway.limits import (
    HEADERS_BYTES,
    HEADERS_S,
    IDLE_FRAMES,
    IDLE_FRAMES_PER_S,
    TINY_BYTES,
    TINY_CHUNKS,
    WRITE_S,
)
from antiphon.gateway.problems import problem_response

logger = logging.getLogger(__name__)

LINGER_S = 10.0
"""Seconds for the last bytes to be taken, before the connection is cut."""
BODY_PART_BYTES = 256 * 1024
"""Let through at once of a body whose length is known: it is one unit, however long."""
HANDSHAKE = frozenset(
    {
        b"connection",
        b"upgrade",
        b"origin",
        b"sec-websocket-key",
        b"sec-websocket-version",
        b"sec-websocket-protocol",
        b"sec-websocket-extensions",
        b"content-length",
        b"transfer-encoding",
    }
)
"""All that a handshake is judged by. The other headers are not shown to websockets, which
has narrower bounds for them than h11 and no answer where they are passed."""
SILENT = logging.Logger("silent", logging.CRITICAL + 1)
"""Of a trial: it would write handshakes with their queries to a log of level DEBUG."""
PONG = b"\x8a"
TEXT = b"\x81"
ABORT = "antiphon.abort"
"""The extension of ASGI by which an HTTP answer is cut off with its connection."""
CUT_UNWRITTEN = "antiphon.cut_unwritten"
"""The extension of ASGI that does so if something of the answer lies unwritten here."""
FRAMES = "antiphon.frames"
"""The extension of ASGI by which a ``ResoluteSocket`` takes frames without waiting."""


class Framing(h11.Connection):
    """HTTP/1.1 by h11, which counts no chunks.

    Attributes:
        units: Events so far.
        fault: What was wrong with the request, and the status of the answer.
    """

    def __init__(self) -> None:
        super().__init__(h11.SERVER, HEADERS_BYTES)
        self.units = 0
        self.fault = (BadRequest("this is no HTTP/1.1 request"), 400)
        self._tiny = 0

    def next_event(self) -> Any:
        self.units += 1
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as error:
            if error.error_status_hint == 431:
                why = f"the headers are over the limit of {HEADERS_BYTES} bytes"
                self.fault = (BadRequest(why, limit=HEADERS_BYTES), 431)
            raise
        if isinstance(event, h11.Request):
            self._tiny = 0
        elif isinstance(event, h11.Data) and len(event.data) < TINY_BYTES:
            self._tiny += event.chunk_start and event.chunk_end
            if self._tiny > TINY_CHUNKS:
                why = f"more than {TINY_CHUNKS} chunks of fewer than {TINY_BYTES} bytes"
                self.fault = (BadRequest(why, limit=TINY_CHUNKS), 400)
                raise h11.RemoteProtocolError(why)
        return event


class PatientHttp(H11Protocol):
    """HTTP/1.1, each connection with no more than its share of time and memory."""

    _inlet: Inlet
    _handshake = b""
    _headers_by: asyncio.TimerHandle | None = None
    _taken_by: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, crowd: Crowd, **options: Any) -> None:
        super().__init__(*args, **options)
        self.framing = self.conn = Framing()
        self._serve = self.app
        self.app = self._serve_with_abort
        self._crowd = crowd

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._inlet = Inlet(transport, handle=self._handle, room=self._room)
        super().connection_made(cast(asyncio.Transport, self._inlet))
        self._await_headers()
        self._crowd.came(transport)

    def data_received(self, data: bytes) -> None:
        self._inlet.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._crowd.left(self._inlet.transport)
        self._inlet.shut()
        self._stop_waiting()
        self._taken()
        super().connection_lost(exc)

    def _handle(self, part: bytes) -> int:
        before = self.framing.units
        super().data_received(part)
        if self.conn.their_state is not h11.IDLE:
            self._stop_waiting()
            self._crowd.is_busy(self._inlet.transport)
        elif self._headers_by is None and self.conn.trailing_data[0]:
            self._await_headers()  # the next request of this connection has begun
        return self.framing.units - before

    def _room(self) -> int:
        """Nothing of the next request, while this one has no answer."""
        if self.conn.their_state is h11.IDLE:
            return PART_BYTES
        if self.conn.their_state is not h11.SEND_BODY:
            return 0
        chunked = any(name == b"transfer-encoding" for name, _ in self.headers)
        return PART_BYTES if chunked else BODY_PART_BYTES

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._crowd.is_idle(self._inlet.transport)
        self._inlet.go_on()

    async def _serve_with_abort(self, scope: Any, receive: Any, send: Any) -> None:
        scope["extensions"] = {ABORT: self.transport.abort, CUT_UNWRITTEN: self._cut_unwritten}
        await self._serve(scope, receive, send)

    def _cut_unwritten(self) -> None:
        if unwritten(self._inlet.transport):
            self.transport.abort()

    # --- what is no request -----------------------------------------------------------------

    def send_400_response(self, msg: str) -> None:
        """Say what is wrong, unless the answer to it is already on its way."""
        answered = self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE)
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if not answered:
            error, status = self.framing.fault
            response = problem_response(error, status=status)
            headers = [
                *self.server_state.default_headers,
                *response.raw_headers,
                *SECURITY_HEADERS,
                (b"connection", b"close"),
            ]
            for event in (
                h11.Response(status_code=status, headers=headers),
                h11.Data(data=bytes(response.body)),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    # --- WebSocket --------------------------------------------------------------------------

    def _should_upgrade(self) -> bool:
        """A handshake that can't be one is a request like any other, and refused as such."""
        if not super()._should_upgrade():
            return False
        scope = self.scope
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        self._handshake = b"%s %s%s HTTP/%s\r\n%s\r\n" % (
            scope["method"].encode(),
            scope["raw_path"],
            query,
            scope["http_version"].encode(),
            b"".join(b"%s: %s\r\n" % pair for pair in self.headers if pair[0] in HANDSHAKE),
        )
        trial = ServerProtocol(logger=SILENT)
        trial.receive_data(self._handshake)
        return any(
            not isinstance(event, Frame) and trial.accept(event).status_code == 101  # type: ignore[arg-type]
            for event in trial.events_received()
        )

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._stop_waiting()
        self._taken()
        self._inlet.shut()
        self.connections.discard(self)
        socket = ResoluteSocket(self.config, self.server_state, self.app_state)
        socket.crowd = self._crowd
        socket.connection_made(self._inlet.transport)
        socket.begin(self._handshake, self.headers)
        self._inlet.transport.set_protocol(socket)

    # --- time -------------------------------------------------------------------------------

    def _await_headers(self) -> None:
        self._headers_by = self.loop.call_later(HEADERS_S, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._headers_by is not None:
            self._headers_by.cancel()
            self._headers_by = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._taken()
        self._taken_by = self.loop.call_later(WRITE_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._taken()

    def _taken(self) -> None:
        if self._taken_by is not None:
            self._taken_by.cancel()
            self._taken_by = None

    def shutdown(self) -> None:
        try:
            super().shutdown()
        except h11.LocalProtocolError:  # it had failed already
            self.transport.abort()
        self.loop.call_later(LINGER_S / 10, self._let_go)

    def _let_go(self) -> None:
        """Wait no more for a client; only for what the server itself owes."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete or cycle.more_body or self.flow.write_paused:
            self.transport.abort()


class ResoluteSocket(WebSocketsSansIOProtocol):
    """WebSocket by websockets; no client can keep it open or busy by doing next to nothing."""

    crowd: Crowd
    _inlet: Inlet
    _answer_by: asyncio.TimerHandle | None = None
    _frames = 0
    _lost = False

    def on_room(self) -> None:
        """There is room again, or never any more; whoever writes puts its own in this place."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast(asyncio.Transport, transport)  # frames don't pass by the inlet
        self._inlet = Inlet(self._socket, handle=self._handle)
        self._idle = Allowance(IDLE_FRAMES, IDLE_FRAMES_PER_S, self.loop.time())
        super().connection_made(cast(asyncio.Transport, self._inlet))

    def begin(self, handshake: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """Take the handshake; the application is shown all *headers*. No frame before its end."""
        self._answer_by = self.loop.call_later(HEADERS_S, self.cut)
        self._inlet.pause_reading()
        super().data_received(handshake)
        self.scope["headers"] = headers
        self.scope["extensions"][FRAMES] = self  # type: ignore[assignment]

    # --- frames, beside ASGI ----------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Whether the client takes what it gets."""
        return self.writable.is_set()

    @property
    def is_gone(self) -> bool:
        """Whether nothing can be written any more."""
        return self._lost or self.conn.state is not State.OPEN or self._socket.is_closing()

    def write_text(self, parts: Sequence[bytes]) -> int:
        """Write one text frame, whose payload is in pieces; what many share is not copied.

        Returns:
            The bytes of its text.
        """
        size = sum(map(len, parts))
        self._socket.writelines((_header(size), *parts))
        return size

    def resume_writing(self) -> None:
        super().resume_writing()
        self.on_room()

    def cut_unwritten(self) -> bool:
        """End the connection if something lies unwritten in this process; whether it did."""
        if self._lost or not unwritten(self._socket):
            return False
        self.cut()
        return True

    async def send(self, message: Any) -> None:
        await super().send(message)
        if self._answer_by is not None and (self.handshake_complete or self.close_sent):
            self._answer_by.cancel()
            self._answer_by = None
            self.handshake_complete = True  # a refusal is one, too
            self._inlet.resume_reading()

    def data_received(self, data: bytes) -> None:
        self._inlet.feed(data)

    def _handle(self, part: bytes) -> int:
        self._frames = 0
        super().data_received(part)
        return self._frames

    def handle_events(self) -> None:
        if not self.conn.events:  # the middle of a frame
            return
        frames = [event for event in self.conn.events if isinstance(event, Frame)]
        self._frames = len(frames)
        if self._idle.take(sum(map(_idle, frames)), self.loop.time()):
            super().handle_events()
        elif self.conn.state is State.OPEN:
            self.conn.fail(1008, "too many pings, pongs and tiny fragments")
            self.handle_parser_exception()
        else:
            self.cut()

    def handle_cont(self, event: Frame) -> None:
        if event.data or event.fin:
            super().handle_cont(event)

    def handle_ping(self) -> None:
        """Answer, unless earlier answers aren't taken: the last pong is enough."""
        answers = self.conn.data_to_send()
        if not self.writable.is_set():
            answers = [answer for answer in answers if not answer.startswith(PONG)]
        if not self.transport.is_closing():
            self.transport.write(b"".join(answers))

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self.crowd.left(self._inlet.transport)
        self._inlet.flush()
        if self._answer_by is not None:
            self._answer_by.cancel()
        super().connection_lost(exc)
        self.on_room()

    def on_task_complete(self, task: asyncio.Task[Any]) -> None:
        super().on_task_complete(task)
        if not self._lost:
            self.loop.call_later(LINGER_S, self.cut)

    def shutdown(self) -> None:
        """End it; one whose close frame was sent may answer that first, or would lose it."""
        try:
            if self.close_timer is None:
                super().shutdown()
        except Exception:
            # One connection in a state that nobody thought of must not keep the others open.
            logger.warning("a WebSocket could not be ended in order", exc_info=True)
            self.cut()
        if not self._lost:
            self.loop.call_later(LINGER_S / 10, self.cut)

    def cut(self) -> None:
        """End the connection, now and without a word."""
        if not self._lost:
            self.transport.abort()


def unwritten(transport: asyncio.WriteTransport) -> int:
    """Bytes that the kernel has not taken yet.

    Under TLS, what is encrypted lies in the buffer of a transport below, which counts for
    none of the upper one's bytes, and which asyncio has no public way to.
    """
    size = transport.get_write_buffer_size()
    below = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)
    return size if below is None else size + below.get_write_buffer_size()


def _header(size: int) -> bytes:
    """Of an unmasked text frame, whole; RFC 6455, section 5.2."""
    if size < 126:
        return TEXT + bytes((size,))
    if size < 65536:
        return TEXT + b"\x7e" + size.to_bytes(2, "big")
    return TEXT + b"\x7f" + size.to_bytes(8, "big")


def _idle(frame: Frame) -> bool:
    """Whether *frame* brings next to nothing."""
    return frame.opcode in CTRL_OPCODES or (not frame.fin and len(frame.data) < TINY_BYTES)
