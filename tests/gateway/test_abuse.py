"""Clients that mean no good, in numbers, against a real server in a process of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import resource
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from benchmarks.prove.server import Served, wait_for
from websockets.sync.client import ClientConnection, connect

from antiphon.gateway.limits import CONNECTIONS, SOCKETS

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

IDLE = 5_000
CYCLES = 100_000
TOPICS = int(os.environ.get("ANTIPHON_TOPICS", "200000"))
"""A million takes four minutes: ``make prove`` has it."""
PROMPT_S = 2.0
"""Others are answered within this meanwhile; on a machine that does other things, too."""
MIB = 1024 * 1024


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path / "data") as running:
        yield running


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = IDLE + 500
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"this machine lets {hard} files be open, {needed} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def crowd(served: Served, count: int, greeting: bytes) -> Iterator[list[socket.socket]]:
    """So many connections, each of which has sent *greeting*."""
    with contextlib.ExitStack() as opened:
        found = []
        for _ in range(count):
            one = opened.enter_context(socket.create_connection(("127.0.0.1", served.port), 20))
            with contextlib.suppress(OSError):  # it may have been cut at once
                one.sendall(greeting)
            found.append(one)
        yield found


def ask(served: Served, path: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {served.token}"})
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body
        return json.loads(body)
    finally:
        connection.close()


def is_prompt(served: Served) -> bool:
    """Whether somebody else can publish and look now."""
    began = time.monotonic()
    seq = served.publish("good.one", 1)
    found = ask(served, f"/v1/events/{seq}")
    return bool(found["topic"] == "good.one") and time.monotonic() - began < PROMPT_S


def rss(served: Served) -> float:
    return float(psutil.Process(served.pid).memory_info().rss) / MIB


@contextlib.contextmanager
def welcomed(served: Served) -> Iterator[ClientConnection]:
    url = f"ws://127.0.0.1:{served.port}/v1/ws"
    options: dict[str, Any] = {"subprotocols": ["bus.v1.json"], "compression": None}
    with connect(url, proxy=None, max_size=None, max_queue=None, **options) as one:
        one.send(json.dumps({"op": "hello", "v": 1, "token": served.token}))
        assert json.loads(one.recv(10))["op"] == "welcome"
        yield one


def upgrade(served: Served) -> bytes:
    return (
        f"GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        "Sec-WebSocket-Protocol: bus.v1.json\r\n\r\n"
    ).encode()


def test_five_thousand_connections_that_say_nothing_keep_nobody_out(
    served: Served, many_files: None
) -> None:
    """The longest idle go; those who ask are answered, and an open socket stays."""
    with welcomed(served) as good, crowd(served, IDLE, b""):
        assert all(is_prompt(served) for _ in range(5))
        shown = ask(served, "/v1/status")
        assert shown["connections"] <= CONNECTIONS
        assert shown["connections_cut"] >= IDLE - CONNECTIONS
        good.send(json.dumps({"op": "sub", "id": 1, "sid": "s", "patterns": ["good.*"]}))
        assert json.loads(good.recv(10))["op"] == "ok"
        # Headers come within 10 s, or the connection ends.
        wait_for(lambda: ask(served, "/v1/status")["connections"] < 10, 30, "the end of the idle")
        assert is_prompt(served)


def test_of_five_thousand_handshakes_as_many_as_allowed_are_accepted(
    served: Served, many_files: None
) -> None:
    with crowd(served, IDLE, upgrade(served)) as opened:
        first = [status(one) for one in opened]
        # None says hello, so the one that has waited for longest goes for each that comes.
        assert first.count(101) >= SOCKETS
        assert set(first) <= {101, 0}
        assert is_prompt(served)
        with welcomed(served):
            wait_for(lambda: ask(served, "/v1/status")["sockets"] <= SOCKETS, 10, "their ends")
    # They never said hello, so their places are free again.
    wait_for(lambda: ask(served, "/v1/status")["sockets"] == 0, 30, "the end of the sockets")
    with welcomed(served):
        pass


def status(one: socket.socket) -> int:
    """Of the answer; 0 if the connection was cut."""
    try:
        head = one.recv(12)
    except ConnectionError:
        return 0
    return int(head[9:12]) if len(head) == 12 else 0


def test_headers_byte_by_byte_are_cut_after_ten_seconds(served: Served) -> None:
    head = f"GET /health HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nX-Slow: ".encode()
    with crowd(served, 500, head) as slow:
        began = time.monotonic()
        left = list(slow)
        answered = 0
        while left and time.monotonic() - began < 25:
            for one in left:
                with contextlib.suppress(OSError):
                    one.send(b"a")
            answered += is_prompt(served)
            ready, _, _ = select.select(left[:500], [], [], 0.2)
            left = [one for one in left if one not in ready]
        assert not left
        assert 9 < time.monotonic() - began < 20
        assert answered > 10
    assert ask(served, "/v1/status")["connections"] < 10


def test_a_hundred_thousand_subscriptions_one_after_the_other_leave_nothing(
    served: Served,
) -> None:
    with welcomed(served) as one:

        def cycles(count: int) -> None:
            for begin in range(0, count, 100):
                for number in range(begin, begin + 100):
                    pattern = f"made.up{number}.*"
                    sub = {"op": "sub", "id": number, "sid": f"s{number}", "patterns": [pattern]}
                    one.send(json.dumps(sub))
                    one.send(json.dumps({"op": "unsub", "id": number, "sid": f"s{number}"}))
                oks = 0
                while oks < 200:
                    frame = json.loads(one.recv(20))
                    assert frame["op"] in ("ok", "live", "pos", "ping"), frame
                    oks += frame["op"] == "ok"
                    if frame["op"] == "ping":
                        one.send(json.dumps({"op": "pong"}))

        cycles(CYCLES // 10)
        actors, before = len(ask(served, "/v1/actors")), rss(served)
        cycles(CYCLES)
        assert len(ask(served, "/v1/actors")) == actors
        assert ask(served, "/v1/status")["subscriptions"] == 0
        assert rss(served) - before < 16
        assert is_prompt(served)


def test_very_many_topics_cost_memory_by_the_topic_and_nothing_else(served: Served) -> None:
    """Only the admin token may have so many; what a token that was issued may have is bounded."""
    headers = {"Authorization": f"Bearer {served.token}", "Content-Type": "application/json"}
    before = rss(served)
    opened = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    with contextlib.closing(opened) as connection:
        for begin in range(0, TOPICS, 1000):
            numbers = range(begin, begin + 1000)
            events = [{"topic": f"many.t{number:07}", "payload": 1} for number in numbers]
            connection.request("POST", "/v1/events", json.dumps(events), headers)
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 200, body
            assert b'"error"' not in body[:2000], body[:2000]
    grown = (rss(served) - before) * MIB / TOPICS
    shown = ask(served, "/v1/status")
    assert shown["topics"] >= TOPICS
    assert grown < 1000, f"{grown:.0f} bytes a topic"
    listed = ask(served, "/v1/topics?pattern=many.*")
    assert len(listed) == 10_000
    assert ask(served, f"/v1/topics?after={listed[-1]['name']}&limit=1")[0]["name"] == (
        "many.t0010000"
    )
    # The first read of an event took 1 to 2.4 s here; those after it, 10 ms.
    wait_for(lambda: is_prompt(served), 20, "a prompt answer")
    assert all(is_prompt(served) for _ in range(5))
