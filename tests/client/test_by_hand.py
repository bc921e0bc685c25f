"""A client of somebody else's making: plain websockets, and the frames that the page tells."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from .conftest import House


class Foreign:
    """One connection; ``id`` is this client's own count."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.requests = 0
        self.kept: list[dict[str, Any]] = []

    def say(self, **frame: Any) -> None:
        self.socket.send(json.dumps(frame))

    def hear(self, *ops: str) -> dict[str, Any]:
        """The next frame of one of these kinds; pings are answered, others are heard later."""
        for frame in self.kept:
            if frame["op"] in ops:
                self.kept.remove(frame)
                return frame
        while True:
            frame = json.loads(self.socket.recv(10))
            if frame["op"] == "ping":
                self.say(op="pong")
            if frame["op"] in ops:
                return frame
            self.kept.append(frame)

    def ask(self, **frame: Any) -> dict[str, Any]:
        self.requests += 1
        self.say(id=self.requests, **frame)
        answer = self.hear("ok", "err")
        assert answer["id"] == self.requests
        return answer

    def publish(self, topic: str, *payloads: Any) -> list[dict[str, Any]]:
        events = [{"topic": topic, "payload": payload} for payload in payloads]
        results: list[dict[str, Any]] = self.ask(op="pub", events=events)["results"]
        return results

    def events(self, count: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """So many events, and the frame that brought the last of them."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            frame = self.hear("ev")
            found += frame["events"]
        return found, frame


@contextmanager
def connected(house: House) -> Iterator[Foreign]:
    with connect(
        f"ws://127.0.0.1:{house.port}/v1/ws",
        subprotocols=["bus.v1.json"],  # type: ignore[list-item]
        proxy=None,
    ) as socket:
        client = Foreign(socket)
        client.say(op="hello", v=1, token=house.token)
        assert client.hear("welcome", "bye")["op"] == "welcome"
        yield client


def test_a_foreign_client_goes_on_by_its_cursor_on_a_new_connection(house: House) -> None:
    with connected(house) as client:
        told = client.ask(op="sub", sid="s", patterns=["hand.*"])
        assert told["effective"] == ["hand.*"]
        answers = client.publish("hand.a", 1, 2, 3)
        found, frame = client.events(3)
        assert [event["seq"] for event in found] == [answer["seq"] for answer in answers]
        client.say(op="ack", sid="s", seq=found[-1]["seq"])
        cursor = frame["cursor"]
        client.publish("hand.a", 4)
    with connected(house) as client:
        client.publish("hand.a", 5)
        client.ask(op="sub", sid="t", patterns=["hand.*"], after=cursor)
        assert [event["payload"] for event in client.events(2)[0]] == [4, 5]
    with connected(house) as client:
        client.ask(op="sub", sid="t", patterns=["hand.*"], after=told["pos"])
        assert [event["payload"] for event in client.events(5)[0]] == [1, 2, 3, 4, 5]


def test_a_foreign_client_settles_and_gives_back_events_of_a_durable(house: House) -> None:
    hold = {"op": "sub", "sid": "d", "durable": "by-hand"}
    with connected(house) as client:
        client.ask(patterns=["letter.*"], **hold)
        client.publish("letter.a", "one")
        client.publish("letter.b", "two")
        (one, two), _ = client.events(2)
        client.say(op="ack", sid="d", seq=one["seq"])
        client.say(op="nack", sid="d", seq=two["seq"], delay_ms=0, reason="not at home")
        (again,), frame = client.events(1)
        assert (again["payload"], frame["attempts"]) == ("two", [2])
        with connected(house) as other:
            assert other.ask(**hold)["code"] == "lease_held"
    with connected(house) as client:
        while (answer := client.ask(**hold)).get("code") == "lease_held":
            pass  # the server hasn't seen the end of the old socket yet
        assert answer["op"] == "ok"
        (again,), _ = client.events(1)
        assert again["payload"] == "two"
        client.say(op="ack", sid="d", seq=again["seq"])


@pytest.mark.parametrize(
    ("hello", "code"),
    [({"op": "sub", "id": 1, "sid": "s"}, 4500), ({"op": "hello", "v": 1, "token": "no"}, 4501)],
)
def test_a_code_from_4500_says_not_to_come_back(house: House, hello: Any, code: int) -> None:
    with connect(
        f"ws://127.0.0.1:{house.port}/v1/ws",
        subprotocols=["bus.v1.json"],  # type: ignore[list-item]
        proxy=None,
    ) as socket:
        client = Foreign(socket)
        client.say(**hello)
        bye = client.hear("bye")
        assert (bye["code"], bye["retry"]) == (code, False)
