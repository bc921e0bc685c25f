"""A hundred WebSocket clients in one process of their own, as cheap as they can be made.

They must not be what is measured: of each frame they read the first and the last bytes
(which seqs it brings), note the time, and throw the rest away. One socket, the witness, keeps
its frames and counts their events; every other must have brought as many bytes of events as
it. Every 64th frame of each is looked through event by event.
"""

from __future__ import annotations

import base64
import os
import select
import socket
import struct
import time
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

BUFFER = 1024 * 1024
EDGE = 96
"""Bytes kept of both ends of a frame."""
CHECK_EVERY = 64
ACK_EVERY = 2500
"""Events between acknowledgements: a quarter of the window."""
WINDOW = 10_000
OPEN_S = 10.0
QUIET_S = 60.0


class Address(NamedTuple):
    """Where the sockets connect to; without *token* they neither greet nor subscribe."""

    url: str
    token: str | None
    pattern: str = "worker.*"


class Report(NamedTuple):
    """What the sockets saw.

    Attributes:
        events: Of the witness.
        lost: By how many events all others together had fewer.
        disorder: Frames that went back, or whose events did.
        late: Seconds from when each sampled event was due until each socket had it.
    """

    events: int
    lost: int
    disorder: int
    late: list[float]


class Reader:
    """One socket.

    Args:
        witness: It counts the events of each frame.

    Attributes:
        seq: The last that came.
        size: Bytes of all events, and a comma for each.
    """

    def __init__(self, address: Address, sid: str, *, witness: bool = False) -> None:
        self.seq = 0
        self.events = self.size = self.disorder = 0
        self._witness = witness
        self.times = array("d")
        self.seqs = array("q")
        self.sid = sid
        self._left = self._size = 0
        self._header = bytearray()
        self._begin = bytearray()
        self._end = bytearray()
        self._whole: bytearray | None = None
        self._frames = 0
        self._acked = 0
        self._acks = address.token is not None
        self.socket = _shake_hands(address)
        if address.token is not None:
            self._greet(address)
        self.socket.setblocking(False)

    def _greet(self, address: Address) -> None:
        self.send({"op": "hello", "v": 1, "token": address.token})
        self.send(
            {
                "op": "sub",
                "id": 1,
                "sid": self.sid,
                "patterns": [address.pattern],
                "window": WINDOW,
            }
        )
        for wanted in ("welcome", "ok"):
            got = self._read_small()
            if got["op"] != wanted:
                raise RuntimeError(f"expected {wanted}, got {got}")
            if wanted == "ok":
                self.seq = self._acked = int(got["pos"].rpartition(".")[2])

    def _read_small(self) -> dict[str, Any]:
        """A frame of fewer than 64 KiB, while the handshake is on."""
        size = _exactly(self.socket, 2)[1]
        if size == 126:
            (size,) = struct.unpack(">H", _exactly(self.socket, 2))
        found: dict[str, Any] = msgspec.json.decode(_exactly(self.socket, size))
        return found

    def send(self, frame: dict[str, Any]) -> None:
        """Send a small frame; masked by zeros, which is a mask."""
        body = msgspec.json.encode(frame)
        size = (
            bytes([0x80 | len(body)]) if len(body) < 126 else b"\xfe" + struct.pack(">H", len(body))
        )
        self.socket.send(b"\x81" + size + b"\0\0\0\0" + body)

    def feed(self, data: memoryview, now: float) -> None:
        """Take what came."""
        at, size = 0, len(data)
        while at < size:
            if self._left == 0:
                at = self._take_header(data, at)
                continue
            part = data[at : at + self._left]
            at += len(part)
            self._left -= len(part)
            if len(self._begin) < EDGE:
                self._begin += part[: EDGE - len(self._begin)]
            self._end = bytearray(part[-EDGE:]) if len(part) >= EDGE else (self._end + part)[-EDGE:]
            if self._whole is not None:
                self._whole += part
            if self._left == 0:
                self._frame(now)

    def _take_header(self, data: memoryview, at: int) -> int:
        header = self._header
        while at < len(data):
            header.append(data[at])
            at += 1
            size = header[1] & 0x7F if len(header) > 1 else None
            if size is not None and len(header) == 2 + {126: 2, 127: 8}.get(size, 0):
                self._left = int.from_bytes(header[2:], "big") if size > 125 else size
                header.clear()
                self._begin.clear()
                self._size = self._left
                checked = self._witness or self._frames % CHECK_EVERY == 0
                self._whole = bytearray() if checked else None
                break
        return at

    def _frame(self, now: float) -> None:
        self._frames += 1
        if not self._begin.startswith(b'{"op":"ev"'):
            if self._begin.startswith(b'{"op":"ping"'):
                self.send({"op": "pong"})
            return
        first = _number(self._begin, self._begin.index(b'{"seq":') + 7)
        last = int(self._end[self._end.rindex(b".") + 1 : self._end.rindex(b'"')])
        if first <= self.seq:
            self.disorder += 1
        self.size += self._size - self._begin.index(b"[")
        self.size -= len(self._end) - self._end.rindex(b'],"cursor"')
        self.seq = last
        self.times.append(now)
        self.seqs.append(last)
        if self._whole is not None:
            self._check(self._whole, first)
        if self._acks and last - self._acked >= ACK_EVERY:
            self._acked = last
            self.send({"op": "ack", "sid": self.sid, "seq": last})

    def _check(self, whole: bytearray, first: int) -> None:
        self.events += whole.count(b'{"seq":')
        if self._frames % CHECK_EVERY == 0:
            seqs = [event["seq"] for event in msgspec.json.decode(whole)["events"]]
            self.disorder += seqs != sorted(set(seqs)) or seqs[0] != first

    def late(self, samples: Sequence[tuple[int, float]]) -> list[float]:
        """Seconds from when each sample, a seq and its time, was due until it came."""
        found = []
        for seq, due in samples:
            at = bisect_left(self.seqs, seq)
            if at < len(self.seqs):
                found.append(self.times[at] - due)
        return found

    def begin(self) -> None:
        """Count anew."""
        self.events = self.size = self.disorder = 0
        self.times, self.seqs = array("d"), array("q")

    def close(self) -> None:
        self.socket.close()


def _number(data: bytearray, at: int) -> int:
    end = at
    while data[end] in b"0123456789":
        end += 1
    return int(data[at:end])


def _shake_hands(address: Address) -> socket.socket:
    where = urlsplit(address.url)
    connected = socket.create_connection((where.hostname or "", where.port or 80), OPEN_S)
    key = base64.b64encode(os.urandom(16)).decode()
    connected.sendall(
        f"GET /v1/ws HTTP/1.1\r\nHost: {where.netloc}\r\nConnection: Upgrade\r\n"
        f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        "Sec-WebSocket-Protocol: bus.v1.json\r\n\r\n".encode()
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += _exactly(connected, 1)
    if b" 101 " not in answer.partition(b"\r\n")[0]:
        raise RuntimeError(f"no WebSocket: {answer[:200]!r}")
    return connected


def _exactly(connected: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        part = connected.recv(size - len(found))
        if not part:
            raise RuntimeError("the connection ended")
        found += part
    return found


class Sockets:
    """All of them, and the pipe that commands come from.

    Commands: ``("open", address, count)``, ``("stall",)`` opens one more that is never
    read, ``("unstall",)`` closes it, ``("wait", seq, samples)`` reads until all are there,
    ``("for", seconds)`` reads so long; both answer with a ``Report``, ``("close",)``.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._poll = select.poll()
        self._poll.register(pipe, select.POLLIN)
        self._readers: dict[int, Reader] = {}
        self._stalled: Reader | None = None
        self._address: Address | None = None
        self._buffer = bytearray(BUFFER)
        self._until: tuple[int, float, list[tuple[int, float]]] | None = None

    def run(self) -> None:
        """Obey until told to close."""
        view = memoryview(self._buffer)
        while True:
            for number, _ in self._poll.poll(100):
                reader = self._readers.get(number)
                if reader is None:
                    if not self._obey(*self._pipe.recv()):
                        return
                    continue
                size = reader.socket.recv_into(self._buffer)
                if size == 0:
                    self._ended(reader)
                reader.feed(view[:size], time.perf_counter())
            self._look()

    def _ended(self, reader: Reader) -> None:
        """The plain server ends by itself; the real one must not."""
        if self._address is None or self._address.token is not None:
            raise RuntimeError("the server closed a socket")
        self._poll.unregister(reader.socket)

    def _obey(self, command: str, *rest: Any) -> bool:
        if command == "open":
            self._address, count = rest
            for n in range(count):
                self._open(n)
            self._pipe.send(None)
        elif command == "stall":
            assert self._address is not None
            self._stalled = Reader(self._address, "stalled")
            self._pipe.send(None)
        elif command == "unstall":
            if self._stalled is not None:
                self._stalled.close()
            self._stalled = None
            self._pipe.send(None)
        elif command == "wait":
            seq, samples = rest
            self._until = (seq, time.perf_counter() + QUIET_S, samples)
        elif command == "for":
            self._until = (2**62, time.perf_counter() + rest[0], [])
        else:
            for reader in self._readers.values():
                reader.close()
            return False
        return True

    def _open(self, number: int) -> None:
        assert self._address is not None
        reader = Reader(self._address, f"s{number}", witness=number == 0)
        self._readers[reader.socket.fileno()] = reader
        self._poll.register(reader.socket, select.POLLIN)

    def _look(self) -> None:
        """Answer a waiting command, if it is time."""
        if self._until is None:
            return
        seq, deadline, samples = self._until
        readers = list(self._readers.values())
        behind = any(reader.seq < seq for reader in readers)
        if behind and time.perf_counter() < deadline:
            return
        self._until = None
        self._pipe.send(_report(readers, samples))
        for reader in readers:
            reader.begin()


def _report(readers: list[Reader], samples: Sequence[tuple[int, float]]) -> Report:
    witness = readers[0]
    each = witness.size / max(1, witness.events)
    return Report(
        witness.events,
        sum(round(max(0, witness.size - reader.size) / max(1, each)) for reader in readers),
        sum(reader.disorder for reader in readers),
        [late for reader in readers for late in reader.late(samples)],
    )


def sockets(pipe: Connection) -> None:
    """The process."""
    Sockets(pipe).run()
