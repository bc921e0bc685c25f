"""What strangers may do to a connection by bytes alone, and what it costs everybody else."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import h11
import pytest
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side

from antiphon.gateway.limits import HEADERS_BYTES, IDLE_FRAMES, LOGIN_BYTES, TINY_CHUNKS
from antiphon.gateway.protocols import Framing, PatientHttp, ResoluteSocket

from .conftest import serving
from .test_http import problem
from .test_ws import publish

Until = Callable[[Callable[[], bool]], Any]

PING = bytes([0x89, 0x80, 0, 0, 0, 0])
PONG = bytes([0x8A, 0x80, 0, 0, 0, 0])
BEGIN = bytes([0x01, 0x80, 0, 0, 0, 0])
EMPTY = bytes([0x00, 0x80, 0, 0, 0, 0])
CHUNK = b"1\r\nx\r\n"


class Raw:
    """A connection of bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.send = writer.write

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next HTTP answer."""
        async with asyncio.timeout(10):
            head = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode().split("\r\n")[:-2]
            headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return int(first.split()[1]), headers, body

    async def ended(self) -> None:
        """Read to the end."""
        async with asyncio.timeout(10):
            try:
                while await self.reader.read(65536):
                    pass
            except ConnectionError:
                pass


@asynccontextmanager
async def raw(desk: Any, **options: Any) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("127.0.0.1", desk.port, **options)
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


def request(desk: Any, line: str, *headers: str) -> bytes:
    return "\r\n".join(
        [f"{line} HTTP/1.1", f"Host: 127.0.0.1:{desk.port}", *headers, "", ""]
    ).encode()


def handshake(desk: Any, *headers: str, line: str = "GET /v1/ws", key: bool = True) -> bytes:
    fixed = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
    if key:
        fixed.append("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")
    return request(desk, line, *fixed, "Sec-WebSocket-Protocol: bus.v1.json", *headers)


def login_in_chunks(desk: Any) -> bytes:
    kind = ("Content-Type: application/json", "Transfer-Encoding: chunked")
    return request(desk, "POST /v1/login", *kind)


def sockets(desk: Any, kind: type) -> list[Any]:
    return [c for c in desk.gateway._server.server_state.connections if type(c) is kind]


def secured(headers: dict[str, str]) -> bool:
    return "script-src 'self'" in headers.get("content-security-policy", "") and (
        headers.get("x-content-type-options") == "nosniff"
    )


@pytest.fixture
def per_turn(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """The most frames and chunks that were handled in one turn of the loop."""
    now = most = 0
    frame, event = Protocol.recv_frame, h11.Connection.next_event

    def count() -> None:
        nonlocal now, most
        if not now:
            asyncio.get_running_loop().call_soon(turn)
        now += 1
        most = max(most, now)

    def turn() -> None:
        nonlocal now
        now = 0

    def counted_frame(self: Protocol, got: Frame) -> None:
        if self.side is Side.SERVER:
            count()
        frame(self, got)

    def counted_event(self: h11.Connection) -> Any:
        count()
        return event(self)

    monkeypatch.setattr(Protocol, "recv_frame", counted_frame)
    monkeypatch.setattr(h11.Connection, "next_event", counted_event)
    return lambda: most


# --- floods of next to nothing ------------------------------------------------------------


@pytest.mark.parametrize("unit", [PING, PONG, EMPTY], ids=["ping", "pong", "empty fragment"])
@pytest.mark.parametrize("welcomed", [True, False], ids=["after hello", "before hello"])
async def test_a_flood_of_empty_frames_ends_its_connection_alone(
    desk: Any, unit: bytes, welcomed: bool, per_turn: Callable[[], int]
) -> None:
    async with desk.client() as good, desk.socket() as bad:
        await good.sub("s")
        if welcomed:
            await bad.hello(desk.token)
        bad.connection.transport.write((BEGIN if unit is EMPTY else b"") + unit * 3000)
        assert (await bad.closed())[0] == 1008
        await publish(desk, 1)
        assert await good.seqs("s", 1) == [1]
        assert per_turn() < 500


async def test_as_many_pings_as_anybody_needs_are_answered(desk: Any) -> None:
    async with desk.client() as one:
        waiting = [await one.connection.ping() for _ in range(IDLE_FRAMES // 2)]
        async with asyncio.timeout(10):
            await asyncio.gather(*waiting)


async def test_a_message_in_pieces_is_one_message(desk: Any) -> None:
    async with desk.client() as one:
        text = json.dumps({"op": "pub", "id": 5, "events": [{"topic": "a"}]})
        await one.connection.send([*text[:30], "", text[30:]])
        assert (await one.until("ok"))["id"] == 5


async def test_a_body_in_too_many_tiny_chunks_is_refused(
    desk: Any, per_turn: Callable[[], int]
) -> None:
    async with raw(desk) as one:
        one.send(login_in_chunks(desk) + CHUNK * (TINY_CHUNKS + 1))
        status, headers, body = await one.answer()
        assert (status, headers["content-type"]) == (400, "application/problem+json")
        assert (json.loads(body)["limit"], secured(headers)) == (TINY_CHUNKS, True)
        await one.ended()
    assert per_turn() < 800  # events, of which a chunk is one and "no more yet" another
    assert (await desk.get("/health"))["status"] == "ok"


async def test_a_body_in_chunks_is_a_body_like_any_other(desk: Any) -> None:
    text = json.dumps({"topic": "a", "payload": "x" * 200_000})
    parts = [text[at : at + 700] for at in range(0, len(text), 700)]
    chunks = "".join(f"{len(part):x}\r\n{part}\r\n" for part in parts) + "0\r\n\r\n"
    headers = ("Content-Type: application/json", f"Authorization: Bearer {desk.token}")
    async with raw(desk) as one:
        start = request(desk, "POST /v1/events", *headers, "Transfer-Encoding: chunked")
        one.send(start + chunks.encode())
        assert (await one.answer())[0] == 200
    assert desk.bus.head == 1


# --- clients that never read --------------------------------------------------------------


async def test_pongs_that_nobody_takes_do_not_pile_up(
    desk: Any, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    monkeypatch.setattr("antiphon.gateway.protocols.IDLE_FRAMES", 1e9)
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.setblocking(False)
    await asyncio.get_running_loop().sock_connect(deaf, ("127.0.0.1", desk.port))
    async with raw_of(deaf) as one:
        one.send(handshake(desk))
        await one.reader.readuntil(b"\r\n\r\n")
        one.writer.transport.pause_reading()  # type: ignore[attr-defined]
        (server,) = sockets(desk, ResoluteSocket)
        ping = bytes([0x89, 0xFD, 0, 0, 0, 0]) + b"p" * 125
        pings = 0
        while server.writable.is_set() and pings < 200_000:
            one.send(ping * 500)
            await one.writer.drain()
            pings += 500
            await asyncio.sleep(0)
        assert not server.writable.is_set()
        for _ in range(40):
            one.send(ping * 500)
            await one.writer.drain()
        await until(lambda: not server._inlet._waiting)
        assert server.transport.get_write_buffer_size() < 128 * 1024


@asynccontextmanager
async def raw_of(given: socket.socket) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection(sock=given)
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


async def test_requests_whose_answers_nobody_takes_do_not_pile_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    """One request is answered at a time, and what comes behind it stays with its sender."""
    received = 0
    take = PatientHttp.data_received

    def counted(self: PatientHttp, data: bytes) -> None:
        nonlocal received
        received += len(data)
        take(self, data)

    monkeypatch.setattr(PatientHttp, "data_received", counted)
    web = tmp_path / "web"
    web.mkdir()
    (web / "index.html").write_text("x" * 500_000)
    async with serving(web) as desk, raw(desk) as one:
        one.writer.transport.pause_reading()  # type: ignore[attr-defined]
        one.send(request(desk, "GET /") * 200_000)
        await until(lambda: any(c.flow.write_paused for c in sockets(desk, PatientHttp)))
        for _ in range(500):
            await asyncio.sleep(0)
        (server,) = sockets(desk, PatientHttp)
        assert received < 1024 * 1024
        assert len(server.conn._receive_buffer) + len(server._inlet._waiting) < 1024 * 1024


async def test_a_client_that_takes_no_answer_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    monkeypatch.setattr("antiphon.gateway.protocols.WRITE_S", 0.05)
    web = tmp_path / "web"
    web.mkdir()
    (web / "index.html").write_text("x" * 500_000)
    async with serving(web) as desk, raw(desk) as one:
        one.writer.transport.pause_reading()  # type: ignore[attr-defined]
        one.send(request(desk, "GET /") * 100)
        await until(lambda: bool(sockets(desk, PatientHttp)))
        await until(lambda: not sockets(desk, PatientHttp))


async def test_pipelined_requests_are_answered_in_order(desk: Any) -> None:
    paths = ["/health", "/nothing", "/v1/nothing", "/health"] * 50
    async with raw(desk) as one:
        one.send(b"".join(request(desk, f"GET {path}") for path in paths))
        statuses = [(await one.answer())[0] for _ in paths]
    assert statuses == [200, 404, 401, 200] * 50


# --- handshakes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "headers", "key", "status"),
    [
        ("GET /v1/ws", ["Content-Length: 5"], True, 400),
        ("GET /v1/ws", ["Transfer-Encoding: chunked"], True, 400),
        ("GET /v1/ws", [], False, 400),
        ("GET /v1/ws", ["Sec-WebSocket-Key: again"], True, 400),
        ("GET /v1/ws", ["Sec-WebSocket-Version: 12"], True, 400),
        ("GET /v1/ws", ["Sec-WebSocket-Protocol: " + "x" * 9000], True, 400),
        ("GET /v1/ws", [f"Sec-WebSocket-Protocol: p{n}" for n in range(200)], True, 400),
        ("PUT /v1/ws", ["Authorization: Bearer x"], True, 405),
        ("GET /v1/ws?" + "x" * 9000, [], True, 400),
        ("GET /v1/ws", ["X: " + "x" * 2 * HEADERS_BYTES], True, 431),
    ],
    ids=lambda value: str(value)[:24],
)
async def test_a_handshake_that_is_none_is_refused_as_a_problem(
    desk: Any, line: str, headers: list[str], key: bool, status: int
) -> None:
    async with raw(desk) as one:
        one.send(handshake(desk, *headers, line=line, key=key))
        got, answered, body = await one.answer()
        assert (got, answered["content-type"]) == (status, "application/problem+json")
        assert (json.loads(body)["code"], secured(answered)) == ("bad_request", True)
    assert desk.connections() == []


async def test_a_browser_with_many_cookies_connects(desk: Any) -> None:
    many = {"Cookie": "; ".join(f"c{n}={'x' * 200}" for n in range(150))}
    more = [("X-N", str(n)) for n in range(150)]
    async with desk.socket(additional_headers=[*many.items(), *more]) as one:
        await one.hello(desk.token)


async def test_refused_handshakes_leave_nothing_in_the_log(
    desk: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The audit tells of them; a page that tries again and again must not fill the log."""
    wrong = [
        handshake(desk, "Origin: http://evil.example"),
        handshake(desk).replace(b"Host: 127", b"Host: 128"),
        handshake(desk, line="GET /elsewhere"),
        handshake(desk).replace(b"bus.v1.json", b"other"),
    ]
    statuses = []
    for sent in wrong:
        async with raw(desk) as one:
            one.send(sent)
            status, headers, body = await one.answer()
            assert headers["content-type"] == "application/problem+json"
            assert secured(headers), headers
            assert json.loads(body)["status"] == status
            statuses.append(status)
            await one.ended()
    assert statuses == [403, 403, 404, 400]
    assert caplog.records == []


async def test_a_handshake_that_is_not_answered_in_time_is_cut(
    desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("antiphon.gateway.protocols.HEADERS_S", 0.05)
    monkeypatch.setattr(desk.gateway._sockets, "_serve", never)
    async with raw(desk) as one:
        one.send(handshake(desk))
        await one.ended()


# --- no HTTP ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("junk", "status"),
    [
        (b"GET\r\n\r\n", 400),
        (b"\x16\x03\x01\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 200_000, 431),
        (b"POST /v1/login HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400),
    ],
    ids=lambda value: repr(value)[:24],
)
async def test_what_is_no_http_is_answered_by_a_problem(
    desk: Any, junk: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    async with raw(desk) as one:
        one.send(junk)
        got, headers, body = await one.answer()
        assert (got, headers["content-type"]) == (status, "application/problem+json")
        assert secured(headers)
        assert (json.loads(body)["status"], headers["connection"]) == (status, "close")
    assert caplog.records == []


async def test_a_frame_that_breaks_the_protocol_closes_by_1002(desk: Any) -> None:
    async with desk.client() as one:
        one.connection.transport.write(bytes([0x83, 0x80, 0, 0, 0, 0]))
        assert (await one.closed())[0] == 1002


async def test_a_login_has_a_small_body(desk: Any) -> None:
    answer = await desk.ask("POST", "/v1/login", b'"' + b"x" * LOGIN_BYTES + b'"', token=None)
    assert problem(answer, 413, "payload_too_large")["limit"] == LOGIN_BYTES


# --- shutdown -----------------------------------------------------------------------------


async def test_a_body_that_never_comes_does_not_hold_up_a_shutdown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("antiphon.gateway.protocols.LINGER_S", 0.5)
    async with serving(tmp_path) as desk, raw(desk) as one:
        kind = ("Content-Type: application/json", "Content-Length: 500")
        one.send(request(desk, "POST /v1/login", *kind) + b"{")
        await one_in_hand(desk)
        await desk.gateway.aclose()
        await one.ended()
    assert caplog.records == []


async def one_in_hand(desk: Any) -> None:
    async with asyncio.timeout(10):
        while not desk.gateway._server.server_state.tasks:
            await asyncio.sleep(0)


async def test_publishes_that_the_log_never_answers_are_503_at_a_shutdown(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    until: Until,
) -> None:
    """As when the log has been given up for good; nobody is told that it was stored, or not."""
    monkeypatch.setattr("antiphon.gateway.server.PATIENCE_S", 0.05)
    async with serving(tmp_path) as desk:
        with monkeypatch.context() as broken:
            broken.setattr(desk.bus.log.writer, "put", lambda pending: None)
            single = asyncio.create_task(desk.post("/v1/events", {"topic": "a"}))
            several = asyncio.create_task(desk.post("/v1/events", [{"topic": "a", "id": "x"}]))
            await until(lambda: desk.bus.log.waiting == 2)
            await desk.gateway.aclose()
        problem(await single, 503, "storage_unavailable")
        (result,) = (await several).json()["results"]
        assert (result["id"], result["error"]["code"]) == ("x", "storage_unavailable")
    assert caplog.records == []


async def test_one_socket_that_cannot_be_ended_keeps_no_other_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path) as desk, raw(desk) as one:
        one.send(handshake(desk))
        await one.reader.readuntil(b"\r\n\r\n")
        (server,) = sockets(desk, ResoluteSocket)
        monkeypatch.setattr(desk.gateway, "_say_goodbye", _nothing)
        monkeypatch.setattr(server.conn, "send_close", _broken)
        await asyncio.wait_for(desk.gateway.aclose(), 10)
        await one.ended()
    assert "could not be ended" in caplog.text


async def _nothing() -> None:
    pass


def _broken(*_: object) -> None:
    raise AssertionError


def test_fragments_of_a_large_message_are_no_idle_frames() -> None:
    from antiphon.gateway.protocols import _idle

    assert _idle(Frame(Opcode.TEXT, b"", fin=False))
    assert _idle(Frame(Opcode.PING, b"x" * 125))
    assert not _idle(Frame(Opcode.CONT, b"x" * 4096, fin=False))
    assert not _idle(Frame(Opcode.TEXT, b"{}"))
    assert Framing().units == 0
