"""Clients that publish at full rate over WebSockets, each event with an id of its own.

A client keeps several frames in flight, remembers what was not acknowledged
when the connection died, and repeats exactly that, same ids, on the next one.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import deque
from typing import Any

import websockets

CLIENTS = 4
FRAME = 250
IN_FLIGHT = 6


class Publisher:
    """One client.

    Attributes:
        acknowledged: Seq of each acknowledged id.
        unknown: Events sent on a connection that died before their answer.
    """

    def __init__(self, name: str, url: str, token: str) -> None:
        self.name = name
        self.url = url.replace("http", "ws", 1) + "/v1/ws"
        self.token = token
        self.acknowledged: dict[str, int] = {}
        self.repeated = 0
        self.unknown: list[dict[str, Any]] = []
        self.errors: list[Any] = []
        self._numbers = itertools.count()
        self._flying: dict[int, list[dict[str, Any]]] = {}
        self._todo: deque[list[dict[str, Any]]] = deque()

    @property
    def in_flight(self) -> int:
        """Events sent and not yet answered."""
        return sum(len(events) for events in self._flying.values())

    def _frame(self) -> list[dict[str, Any]]:
        return [
            {"topic": f"load.{self.name}", "id": f"{self.name}-{n}", "payload": {"n": n}}
            for n in itertools.islice(self._numbers, FRAME)
        ]

    async def run(self, stop: asyncio.Event) -> None:
        """Repeat what is unknown, then publish, until *stop* or the server's death."""
        try:
            async with websockets.connect(
                self.url,
                subprotocols=["bus.v1.json"],
                max_size=None,
                compression=None,  # type: ignore[list-item]
            ) as socket:
                await socket.send(json.dumps({"op": "hello", "v": 1, "token": self.token}))
                await self._converse(socket, stop)
        except (OSError, websockets.WebSocketException):
            pass
        self.unknown = [event for events in self._flying.values() for event in events]
        self.unknown += [event for events in self._todo for event in events]
        self._todo.clear()

    async def _converse(self, socket: Any, stop: asyncio.Event) -> None:
        requests = itertools.count(1)
        todo = self._todo
        todo.extend(self.unknown[at : at + FRAME] for at in range(0, len(self.unknown), FRAME))
        self.repeated += len(self.unknown)
        self._flying.clear()
        while True:
            while len(self._flying) < IN_FLIGHT and (todo or not stop.is_set()):
                number, events = next(requests), todo.popleft() if todo else self._frame()
                self._flying[number] = events
                await socket.send(json.dumps({"op": "pub", "id": number, "events": events}))
            if not self._flying:
                return
            frame = json.loads(await socket.recv())
            if frame["op"] == "ping":
                await socket.send('{"op":"pong"}')
            elif frame["op"] == "ok":
                self._answered(frame)
            elif frame["op"] in ("err", "bye"):
                self.errors.append(frame)

    def _answered(self, frame: dict[str, Any]) -> None:
        events = self._flying.pop(frame["id"])
        again = []
        for event, result in zip(events, frame["results"], strict=True):
            if "error" in result:
                if result["error"]["code"] not in ("overloaded", "storage_unavailable"):
                    self.errors.append(result)
                again.append(event)
            else:
                self.acknowledged[event["id"]] = result["seq"]
        if again:
            self._todo.append(again)
