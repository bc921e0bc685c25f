"""Frames over a WebSocket, from a plain thread: the only file here that knows websockets."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import msgspec
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect, unix_connect
from websockets.typing import Subprotocol

from antiphon.client.endpoint import Endpoint, NoServer, reason
from antiphon.client.frames import Frame, SocketClosed
from antiphon.errors import BusError, Forbidden, Unauthorized
from antiphon.messages import ClientFrame
from antiphon.messages.frames import SUBPROTOCOL

MAX_FRAME_BYTES = 64 * 1024 * 1024


class FrameSocket:
    """One connection that has not said hello yet.

    Args:
        timeout: Seconds for connecting and for the WebSocket's own handshake.

    Raises:
        NoServer: Nobody answered, or not as this protocol does.
        Unauthorized, Forbidden: The door is closed to this client.
    """

    def __init__(self, endpoint: Endpoint, *, timeout: float = 10.0) -> None:
        self._decode = msgspec.json.Decoder(Frame).decode
        self._encode = msgspec.json.Encoder().encode
        self._opened = ExitStack()
        try:
            self._socket = self._opened.enter_context(_opening(endpoint, timeout))
        except InvalidStatus as error:
            raise _turned_away(endpoint, error.response.status_code) from error
        except (OSError, InvalidHandshake, EOFError) as error:
            raise NoServer(f"no server answers at {endpoint.url}: {reason(error)}") from error

    def send(self, frame: ClientFrame) -> None:
        """Send one frame.

        Raises:
            SocketClosed: The connection has ended.
        """
        try:
            self._socket.send(self._encode(frame), text=True)
        except ConnectionClosed as error:
            raise _closed(error) from error

    def recv(self, timeout: float) -> Frame:
        """Wait for the next frame.

        Raises:
            SocketClosed: The connection has ended.
            TimeoutError: Nothing came in *timeout* seconds.
            BusError: What came is no frame.
        """
        try:
            data = self._socket.recv(timeout, decode=False)
        except ConnectionClosed as error:
            raise _closed(error) from error
        try:
            frame: Frame = self._decode(data)
        except msgspec.DecodeError as error:
            raise BusError(f"the server sent what is no frame: {error}") from error
        return frame

    def close(self) -> None:
        """Say goodbye; waits a second at most."""
        self._opened.close()


def _opening(endpoint: Endpoint, timeout: float) -> ClientConnection:
    options: dict[str, Any] = {
        "subprotocols": [Subprotocol(SUBPROTOCOL)],
        "compression": None,
        "open_timeout": timeout,
        "close_timeout": 1,
        "ping_interval": None,  # the protocol has its own
        "max_size": MAX_FRAME_BYTES,
    }
    if endpoint.unix_path is not None:
        opening: ClientConnection = unix_connect(endpoint.unix_path, endpoint.socket_url, **options)
    else:
        opening = connect(endpoint.socket_url, ssl=endpoint.tls(), proxy=None, **options)
    return opening


def _closed(error: ConnectionClosed) -> SocketClosed:
    if error.rcvd is None:
        return SocketClosed(1006, "connection lost")
    return SocketClosed(error.rcvd.code, error.rcvd.reason)


def _turned_away(endpoint: Endpoint, status: int) -> Exception:
    if status == 401:
        return Unauthorized("the server doesn't know this token")
    if status == 403:
        return Forbidden("the server turns this client away")
    return NoServer(f"the server at {endpoint.url} answered {status}")
