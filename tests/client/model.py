"""A server in memory, for the client's pure parts: a plain list as its log, frames in and out.

It knows no better than the real one: it stores an event once by its id, sends at most a window
ahead, holds a durable subscription for one connection, and loses what was on its way when a
connection is lost.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

LEASE_HELD = {"code": "lease_held", "message": "somebody else holds it"}
NO_ROOM = {"code": "overloaded", "message": "too much waits", "retry_after_ms": 200}
TIME = datetime(2026, 11, 28, tzinfo=UTC).isoformat().replace("+00:00", "Z")


@dataclass
class Open:
    """A live subscription on one connection."""

    window: int
    at: int
    acked: int


@dataclass(eq=False)
class Wire:
    """One connection: frames on their way to the server, and back."""

    up: deque[dict[str, Any]] = field(default_factory=deque)
    down: deque[dict[str, Any]] = field(default_factory=deque)
    welcomed: bool = False
    subs: dict[str, Open] = field(default_factory=dict)
    holds: dict[str, str] = field(default_factory=dict)


class Server:
    """See the module's text; every event is for every subscription."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.seqs: dict[str, int] = {}
        self.holder: dict[str, Wire] = {}
        self.settled: dict[str, set[int]] = {}
        self.in_hand: dict[str, set[int]] = {}
        self.has_room = True

    def event(self, seq: int) -> dict[str, Any]:
        name = self.log[seq - 1]
        said = {"topic": "t", "type": "custom.event", "source": "s", "principal": "p"}
        return {"seq": seq, "id": name, "time": TIME, "payload": None, **said}

    def take(self, wire: Wire) -> None:
        """Take one frame."""
        frame = wire.up.popleft()
        if frame["op"] == "hello":
            assert not wire.welcomed
            wire.welcomed = True
            names = "frame_bytes event_bytes subscriptions patterns publish_events window"
            limits = dict.fromkeys(names.split(), 1000)
            said = {"conn": "c", "epoch": "e1", "head": len(self.log), "limits": limits}
            wire.down.append({"op": "welcome", "ping_ms": 25_000, **said})
            return
        assert wire.welcomed, "nothing is sent before welcome but hello"
        {"pub": self.pub, "sub": self.sub, "unsub": self.unsub, "ack": self.ack, "nack": self.nack}[
            frame["op"]
        ](wire, frame)

    def pub(self, wire: Wire, frame: dict[str, Any]) -> None:
        assert 1 <= len(frame["events"]) <= 1000
        if not self.has_room and len(frame["events"]) > 1:
            wire.down.append({"op": "err", "id": frame["id"], **NO_ROOM})
            return
        results = [self.store(event["id"]) for event in frame["events"]]
        wire.down.append({"op": "ok", "id": frame["id"], "results": results})

    def store(self, name: str) -> dict[str, Any]:
        if not self.has_room:
            return {"id": name, "error": NO_ROOM}
        known = name in self.seqs
        if not known:
            self.log.append(name)
            self.seqs[name] = len(self.log)
        return {"id": name, "seq": self.seqs[name], "duplicate": known}

    def sub(self, wire: Wire, frame: dict[str, Any]) -> None:
        sid, name = frame["sid"], frame.get("durable")
        assert sid not in wire.subs
        assert sid not in wire.holds
        answer: dict[str, Any] = {"op": "ok", "id": frame["id"], "effective": frame["patterns"]}
        if name is not None:
            if name in self.holder:
                wire.down.append({"op": "err", "id": frame["id"], **LEASE_HELD})
                return
            self.holder[name] = wire
            self.settled.setdefault(name, set())
            self.in_hand[name] = set()
            wire.holds[sid] = name
            wire.down.append({**answer, "pos": "e1.0"})
            return
        after = frame.get("after")
        begin = 0 if frame.get("from") == "earliest" else len(self.log)
        at = begin if after is None else int(str(after).removeprefix("e1."))
        wire.subs[sid] = Open(frame["window"], at, at)
        wire.down.append({**answer, "pos": f"e1.{at}"})

    def unsub(self, wire: Wire, frame: dict[str, Any]) -> None:
        wire.subs.pop(frame["sid"], None)
        if (name := wire.holds.pop(frame["sid"], None)) is not None:
            self.release(name)
        wire.down.append({"op": "ok", "id": frame["id"]})

    def ack(self, wire: Wire, frame: dict[str, Any]) -> None:
        sid, seq = frame["sid"], frame["seq"]
        if (name := wire.holds.get(sid)) is not None:
            assert seq in self.in_hand[name], "an ack of what this connection was not given"
            self.in_hand[name].remove(seq)
            self.settled[name].add(seq)
        elif (found := wire.subs.get(sid)) is not None:
            assert seq <= found.at, "an ack of what was not sent on this connection"
            found.acked = max(found.acked, seq)

    def nack(self, wire: Wire, frame: dict[str, Any]) -> None:
        if (name := wire.holds.get(frame["sid"])) is not None:
            assert frame["seq"] in self.in_hand[name]
            kept = {seq for seq in self.in_hand[name] if seq < frame["seq"]}
            self.in_hand[name] = kept  # all are of one lane
        if "id" in frame:
            wire.down.append({"op": "ok", "id": frame["id"]})

    def push(self, wire: Wire, sid: str, most: int) -> bool:
        """Send up to *most* events of one subscription; whether there were any."""
        if (name := wire.holds.get(sid)) is not None:
            room = min(most, 10 - len(self.in_hand[name]))
            taken = self.settled[name] | self.in_hand[name]
            free = [seq for seq in range(1, len(self.log) + 1) if seq not in taken]
            seqs = free[: max(0, room)]
            self.in_hand[name].update(seqs)
            cursor = 0
        else:
            found = wire.subs[sid]
            room = min(most, found.window - (found.at - found.acked), len(self.log) - found.at)
            seqs = list(range(found.at + 1, found.at + room + 1))
            found.at += max(0, room)
            cursor = found.at
        if seqs:
            events = [self.event(seq) for seq in seqs]
            wire.down.append({"op": "ev", "sid": sid, "events": events, "cursor": f"e1.{cursor}"})
        return bool(seqs)

    def end_lease(self, wire: Wire, sid: str) -> None:
        """The holder loses its durable subscription."""
        self.release(wire.holds.pop(sid))
        wire.down.append({"op": "ended", "sid": sid, "code": "lease_lost", "message": "taken"})

    def notice_loss(self, wire: Wire) -> None:
        """The connection is gone for the server, too: what it held is free."""
        for name in wire.holds.values():
            self.release(name)
        wire.holds.clear()

    def release(self, name: str) -> None:
        self.in_hand[name] = set()
        self.holder.pop(name, None)


def encoded(frame: dict[str, Any]) -> bytes:
    return json.dumps(frame).encode()
