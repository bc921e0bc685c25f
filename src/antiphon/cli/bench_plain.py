"""The plain limit of ``bench gateway``: uvicorn and websockets, nothing stored or decided.

Fifty events of the same size a frame, encoded once, sent to every socket in turn.
"""

from __future__ import annotations

import asyncio
from multiprocessing.connection import Connection
from typing import Any

import msgspec
import uvicorn


class Plain:
    """An ASGI application that sends frames to whoever is connected.

    Args:
        clients: It begins when so many are there.
        event: One event's JSON but for its seq, after the opening brace.
        seconds: Then it ends.
        events: In each frame.
    """

    def __init__(self, clients: int, event: bytes, seconds: float, events: int) -> None:
        self._clients = clients
        self._event = event
        self._seconds = seconds
        self._events = events
        self._sends: list[Any] = []
        self._over = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept", "subprotocol": "bus.v1.json"})
        self._sends.append(send)
        if len(self._sends) == self._clients:
            self._sending = asyncio.create_task(self._send())
        await self._over.wait()

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._seconds
        seq = 0
        while loop.time() < end:
            events = b",".join(
                b'{"seq":%d,%s' % (seq + n, self._event) for n in range(1, self._events + 1)
            )
            seq += self._events
            frame = b'{"op":"ev","sid":"s","events":[%s],"cursor":"0.%d"}' % (events, seq)
            message = {"type": "websocket.send", "text": frame.decode()}
            for send in self._sends:
                await send(message)
            await asyncio.sleep(0)
        self._over.set()


def plain(pipe: Connection, clients: int, event: bytes, seconds: float, events: int) -> None:
    """The process: says its port, serves, and is terminated."""

    async def serve() -> None:
        config = uvicorn.Config(
            Plain(clients, event, seconds, events),
            port=0,
            ws="websockets-sansio",
            ws_per_message_deflate=False,
            ws_ping_interval=None,
            lifespan="off",
            log_config=None,
            access_log=False,
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        pipe.send(server.servers[0].sockets[0].getsockname()[1])
        await serving

    import uvloop

    uvloop.run(serve())


def event_of(data: bytes) -> bytes:
    """One event as the log has it, without its seq and the opening brace."""
    found: dict[str, Any] = msgspec.json.decode(data)
    del found["seq"]
    return msgspec.json.encode(found)[1:]
