"""``subscriptions`` against a real server: who follows what, and how far behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.cli.conftest import Shell
from websockets.sync.client import ClientConnection, connect


class Holder:
    """A client that holds a durable subscription."""

    def __init__(self, socket: ClientConnection, token: str) -> None:
        self.socket = socket
        self.heard: list[dict[str, Any]] = []
        self.say("hello", v=1, token=token)
        self.hear("welcome")

    def say(self, op: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"op": op, **fields}))

    def hear(self, op: str) -> dict[str, Any]:
        """The next frame of that kind; others are kept until somebody wants them."""
        while True:
            for at, frame in enumerate(self.heard):
                if frame["op"] == op:
                    return self.heard.pop(at)
            self.heard.append(json.loads(self.socket.recv(10)))


@contextmanager
def holding(shell: Shell) -> Iterator[Holder]:
    with connect(
        f"ws://127.0.0.1:{shell.port}/v1/ws",
        subprotocols=["bus.v1.json"],  # type: ignore[list-item]
        compression=None,
        proxy=None,
    ) as socket:
        yield Holder(socket, (shell.data / "admin-token").read_text().strip())


def rows(shell: Shell) -> list[dict[str, Any]]:
    return [json.loads(line) for line in shell.ok("subscriptions", "--json").splitlines()]


def test_they_are_shown_with_their_lag_resumed_and_dropped(live: Shell) -> None:
    with holding(live) as holder:
        terms = {"tries": 1, "on_exhausted": "stop"}
        holder.say("sub", id=1, sid="s", patterns=["a.*"], durable="mail", **terms)
        assert holder.hear("ok")["id"] == 1
        holder.say("pub", id=2, events=[{"topic": "a.b"}, {"topic": "a.b"}])
        assert holder.hear("ok")["id"] == 2
        first = holder.hear("ev")["events"][0]["seq"]
        durable, one = rows(live)
        assert (durable["name"], durable["state"]) == ("mail", "held")
        assert (one["sid"], one["durable"], one["patterns"]) == ("s", "mail", ["a.*"])
        assert one["lag"] == durable["lag"] >= 2
        holder.say("nack", sid="s", seq=first, reason="no such mailbox")
        holder.hear("ended")
        shown = live("subscriptions")
        assert "mail  a.*" in shown.stdout
        assert "no such mailbox; antiphon subscriptions resume mail" in shown.stderr
        assert live.ok("subscriptions", "resume", "mail", "--skip") == "mail goes on\n"
        assert live.ok("subscriptions", "drop", "mail") == "mail is forgotten\n"
