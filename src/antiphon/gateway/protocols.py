"""uvicorn's two protocols, with the bounds that they lack: headers that come too slowly,
and clients that never take what was written to them.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from antiphon.gateway.limits import HEADERS_S

LINGER_S = 10.0
"""Seconds for the last bytes to be taken, before the connection is cut."""


class PatientHttp(H11Protocol):
    """HTTP/1.1 by h11, which bounds the size of headers; the time for them is bounded here."""

    _headers_by: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_headers()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_waiting()
        elif self._headers_by is None and self.conn.trailing_data[0]:
            self._await_headers()  # the next request of this connection has begun

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._stop_waiting()
        super().handle_websocket_upgrade(event)

    def _await_headers(self) -> None:
        self._headers_by = self.loop.call_later(HEADERS_S, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._headers_by is not None:
            self._headers_by.cancel()
            self._headers_by = None


class ResoluteSocket(WebSocketsSansIOProtocol):
    """WebSocket by websockets; a client that reads nothing can't keep it open."""

    _lost = False

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        super().connection_lost(exc)

    def on_task_complete(self, task: asyncio.Task[Any]) -> None:
        super().on_task_complete(task)
        if not self._lost:
            self.loop.call_later(LINGER_S, self._cut)

    def shutdown(self) -> None:
        super().shutdown()
        if not self._lost:
            self.loop.call_later(LINGER_S / 10, self._cut)

    def _cut(self) -> None:
        if not self._lost:
            self.transport.abort()
