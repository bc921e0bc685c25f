"""Server-sent events over a real socket: exact continuation, ends at once, nothing piles up."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from antiphon.bus import ADMIN
from antiphon.gateway import Auth, Tokens
from antiphon.messages import TokenCreate

from .certificates import issue
from .conftest import TOKEN, serving
from .openings import opening
from .test_ws import publish

Until = Callable[[Callable[[], bool]], Any]


class EventSource:
    """What a browser's would see: blocks of fields, and the last id."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.head = b""
        self.last_id = ""
        self._text = b""

    @property
    def status(self) -> int:
        return int(self.head.split(b" ", 2)[1])

    async def block(self) -> dict[str, str] | None:
        """The next block; a comment is a field without a name. None: the stream has ended."""
        async with asyncio.timeout(10):
            while b"\n\n" not in self._text:
                if not (line := await self.reader.readline()):
                    raise ConnectionResetError("cut off")
                if (size := int(line, 16)) == 0:
                    return None
                self._text += await self.reader.readexactly(size)
                await self.reader.readexactly(2)
        block, self._text = self._text.split(b"\n\n", 1)
        fields = dict(line.split(":", 1) for line in block.decode().split("\n"))
        fields = {name: value.removeprefix(" ") for name, value in fields.items()}
        self.last_id = fields.get("id", self.last_id)
        return fields

    async def event(self) -> dict[str, str]:
        """The next block with data."""
        while True:
            block = await self.block()
            assert block is not None
            if "data" in block:
                return block

    async def seqs(self, count: int) -> list[int]:
        found = []
        for _ in range(count):
            block = await self.event()
            assert "event" not in block, block
            found.append(json.loads(block["data"])["seq"])
        return found

    async def ended(self) -> bool:
        """Read to the end; whether the answer is whole."""
        try:
            while await self.block() is not None:
                pass
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return False
        return True


@asynccontextmanager
async def stream(desk: Any, query: str = "", **headers: str) -> AsyncIterator[EventSource]:
    reader, writer = await asyncio.open_connection("127.0.0.1", desk.port)
    fields = {
        "Host": f"127.0.0.1:{desk.port}",
        "Authorization": f"Bearer {desk.token}",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = [f"{name}: {value}" for name, value in fields.items() if value]
    writer.write(("\r\n".join([f"GET /v1/stream{query} HTTP/1.1", *lines]) + "\r\n\r\n").encode())
    source = EventSource(reader, writer)
    try:
        async with asyncio.timeout(10):
            source.head = await reader.readuntil(b"\r\n\r\n")
        yield source
    finally:
        writer.close()


# --- what comes ---------------------------------------------------------------------------


async def test_events_come_as_stored_each_with_the_cursor_behind_it(desk: Any) -> None:
    payload = {"text": "one\ntwo\r\nthree  é"}
    await desk.post("/v1/events", [{"topic": "a.b", "payload": payload}, {"topic": "c"}])
    await publish(desk, 2)
    async with stream(desk, "?pattern=a.*&from=earliest") as source:
        assert source.status == 200
        assert b"content-type: text/event-stream\r\n" in source.head
        assert b"cache-control: no-store\r\n" in source.head
        assert b"x-accel-buffering: no\r\n" in source.head
        block = await source.event()
        stored = await desk.ask("GET", "/v1/events/1")
        assert block["data"].encode() == stored.body
        assert json.loads(block["data"])["payload"] == payload
        assert block["id"] == f"{desk.bus.epoch}.1"
        assert [(await source.event())["id"] for _ in range(2)] == [
            f"{desk.bus.epoch}.3",
            f"{desk.bus.epoch}.4",
        ]


async def test_it_says_at_once_when_to_come_back_and_from_where(desk: Any) -> None:
    await publish(desk, 3)
    async with stream(desk) as source:
        assert await source.block() == {"retry": "2000", "id": f"{desk.bus.epoch}.3"}
    await publish(desk, 2)  # while it is away
    async with stream(desk, Last_Event_ID=source.last_id) as source:
        assert await source.seqs(2) == [4, 5]


async def test_the_last_event_id_beats_the_address(desk: Any) -> None:
    await publish(desk, 5)
    for query in ("?after=1", "?from=earliest", ""):
        async with stream(desk, query, Last_Event_ID=f"{desk.bus.epoch}.3") as source:
            assert await source.seqs(2) == [4, 5]
    async with stream(desk, "?after=1", Last_Event_ID="") as source:
        assert await source.seqs(4) == [2, 3, 4, 5]


async def test_every_place_to_leave_is_a_place_to_go_on(desk: Any) -> None:
    """Whichever event was the last that a client saw, the next one follows."""
    await asyncio.gather(*(desk.bus.publish_event(("a.b", "a.c", "x")[n % 3], n) for n in range(9)))
    async with stream(desk, "?pattern=a.*&from=earliest") as source:
        ids = [(await source.event())["id"] for _ in range(6)]
    for at, last in enumerate(ids[:-1]):
        async with stream(desk, "?pattern=a.*", Last_Event_ID=last) as source:
            assert (await source.event())["id"] == ids[at + 1]


async def test_a_gap_is_told_and_reading_goes_on(desk: Any) -> None:
    await publish(desk, 5)
    await desk.bus.log.trim("a.b", 3)
    desk.bus.log.ring.restart(desk.bus.log.head)  # as if all had fallen out of it
    async with stream(desk, "?after=1") as source:
        assert source.status == 200
        block = await source.event()
        assert block["event"] == "gap"
        assert json.loads(block["data"]) == {"from": 2, "to": 3, "cursor": block["id"]}
        assert await source.seqs(2) == [4, 5]


async def test_a_cursor_of_another_history_is_a_reset(desk: Any) -> None:
    await publish(desk, 2)
    async with stream(desk, Last_Event_ID="nosuchepoch.9") as source:
        assert source.status == 200
        block = await source.event()
        assert block["event"] == "reset"
        assert json.loads(block["data"])["cursor"] == block["id"] == f"{desk.bus.epoch}.0"
        assert await source.seqs(2) == [1, 2]


async def test_ephemeral_events_have_no_id(desk: Any) -> None:
    async with stream(desk, "?pattern=*.typing") as source:
        await source.block()
        await publish(desk, 1, "chat.typing")
        block = await source.event()
        assert list(block) == ["data"]
        assert "seq" not in json.loads(block["data"])


async def test_a_quiet_stream_says_something_and_where_it_stands(
    desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antiphon.gateway.sse.COMMENT_S", 0.05)
    async with stream(desk, "?pattern=nothing.*") as source:
        await source.block()
        assert await source.block() == {"": ""}
        await publish(desk, 3)
        while source.last_id != f"{desk.bus.epoch}.3":
            assert await source.block() is not None


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("?after=x", "bad_request"),
        ("?after=now", "bad_request"),
        ("?from=x", "bad_request"),
        ("?from=now&after=3", "bad_request"),
        ("?after=1&after=2", "bad_request"),
        ("?limit=3", "bad_request"),
        ("?pattern=a..b", "invalid_pattern"),
        ("?pattern=a&pattern=" + "&pattern=".join(f"p{n}" for n in range(32)), "invalid_pattern"),
    ],
)
async def test_a_wrong_question_is_answered_400(desk: Any, query: str, code: str) -> None:
    answer = await desk.ask("GET", f"/v1/stream{query}")
    assert (answer.status, answer.json()["code"]) == (400, code)
    assert desk.bus.log.subscriptions == 0


async def test_a_bad_last_event_id_is_answered_400_and_a_stranger_401(desk: Any) -> None:
    bad = await desk.ask("GET", "/v1/stream", headers={"Last-Event-ID": "x y"})
    assert (bad.status, bad.json()["code"]) == (400, "bad_request")
    stranger = await desk.ask("GET", "/v1/stream", token=None)
    assert (stranger.status, stranger.json()["code"]) == (401, "unauthorized")


async def test_head_is_answered_without_a_stream(desk: Any) -> None:
    answer = await desk.ask("HEAD", "/v1/stream")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream")
    assert desk.bus.log.subscriptions == 0


# --- ends ---------------------------------------------------------------------------------


async def test_it_ends_with_its_client(desk: Any, until: Until) -> None:
    async with stream(desk) as source:
        await source.block()
        assert desk.bus.log.subscriptions == 1
        source.writer.transport.abort()
        await until(lambda: desk.bus.log.subscriptions == 0)


async def test_a_shutdown_ends_it_in_order(tmp_path: Path) -> None:
    async with serving(tmp_path) as desk, stream(desk) as source:
        await source.block()
        loop = asyncio.get_running_loop()
        began = loop.time()
        await desk.gateway.aclose()
        assert loop.time() - began < 2
        assert await source.ended()


async def test_a_client_that_does_not_read_fills_no_memory_and_gets_all_when_it_does(
    desk: Any, until: Until
) -> None:
    async with stream(desk, "?pattern=big") as source, desk.client() as quick:
        await source.block()
        await quick.sub("q")
        source.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(10):
            await asyncio.gather(*(desk.bus.publish_event("big", "x" * 50_000) for _ in range(20)))
            await quick.seqs("q", 20)
        (info,) = [i for i in await desk.get("/v1/subscriptions") if i["conn"] != quick_conn(quick)]
        assert info["lag"] > 50
        source.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert await source.seqs(200) == list(range(1, 201))


def quick_conn(client: Any) -> str:
    return str(client.welcome["conn"])


async def test_one_that_must_end_is_cut_off_though_its_client_does_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    monkeypatch.setattr("antiphon.gateway.sse.CUT_S", 0.05)
    async with serving(tmp_path) as desk, stream(desk, "?pattern=big&from=earliest") as source:
        source.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(10):
            await asyncio.gather(*(desk.bus.publish_event("big", "x" * 200_000) for _ in range(8)))
        lags: list[int] = []
        await until(lambda: is_stalled(desk, lags))
        desk.gateway._streams.end("the token was revoked")
        await until(lambda: desk.bus.log.subscriptions == 0)
        source.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert not await source.ended()


def is_stalled(desk: Any, lags: list[int]) -> bool:
    """Its buffers are full: it has not moved for a while, with much before it."""
    (info,) = desk.gateway._register
    lags.append(info.lag)
    return info.lag > 0 and len(lags) > 50 and len(set(lags[-50:])) == 1


async def test_streams_and_sockets_share_the_servers_limit(tmp_path: Path, until: Until) -> None:
    async with (
        serving(tmp_path, sockets=2) as desk,
        desk.client() as one,
        stream(desk) as source,
    ):
        await source.block()
        answer = await desk.ask("GET", "/v1/stream")
        assert (answer.status, answer.json()["code"]) == (429, "overloaded")
        assert answer.json()["limit"] == 2
        await one.connection.close()
        await until(lambda: not desk.connections())
        async with stream(desk) as another:
            assert await another.block() is not None


async def test_it_ends_with_its_token(desk: Any, until: Until) -> None:
    ann = await desk.issue("ann", sub=["a.*"])
    async with stream(desk, Authorization=f"Bearer {ann}") as source:
        await source.block()
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert (await desk.ask("DELETE", "/v1/tokens/ann")).status == 204
        await publish(desk, 1)
        assert await source.ended()
        assert loop.time() - began < 2
    assert (await desk.ask("GET", "/v1/stream", token=ann)).status == 401
    await until(lambda: desk.bus.log.subscriptions == 0)


@pytest.mark.parametrize("kind", ["tcp", "tls"])
async def test_nothing_that_waits_in_the_server_is_delivered_once_its_token_has_ended(
    tmp_path: Path, until: Until, kind: str
) -> None:
    """Less waits than would stop the stream from writing."""
    async with opening(kind, tmp_path, issue(tmp_path / "tls")) as door:
        ann = await issued(door.desk, "ann")
        async with door.raw() as (reader, writer):
            asked = f"GET /v1/stream?pattern=a.* HTTP/1.1\r\nHost: {door.host}\r\n"
            writer.write(f"{asked}Authorization: Bearer {ann}\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            count = await left_waiting(door.desk, writer.transport, until)
            await door.desk.gateway._issuer.revoke("ann", ADMIN)
            writer.transport.resume_reading()  # type: ignore[attr-defined]
            assert (await rest_of(reader)).count(b"data:") < count
        await until(lambda: door.desk.bus.log.subscriptions == 0)


async def issued(desk: Any, name: str) -> str:
    ask = TokenCreate(name=name, sub=["a.*"])
    return str((await desk.gateway._issuer.create(ask, ADMIN)).token)


async def left_waiting(desk: Any, transport: Any, until: Until) -> int:
    """Publish to a client that reads nothing, until the kernel takes no more; how many."""
    transport.pause_reading()
    client = transport.get_extra_info("socket").getsockname()
    serving = [c.transport for c in desk.gateway._server.server_state.connections]
    (server,) = (t for t in serving if t.get_extra_info("peername") == client)
    for end, option in ((server, socket.SO_SNDBUF), (transport, socket.SO_RCVBUF)):
        end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, option, 4096)
    lowest = getattr(getattr(server, "_ssl_protocol", None), "_transport", None) or server
    count = 0
    while lowest.get_write_buffer_size() < 20_000:
        await desk.bus.publish_event("a.b", "x" * 30_000)
        count += 1
        await until(lambda: next(iter(desk.gateway._register)).lag == 0)
    return count


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    found = b""
    with suppress(ConnectionError):
        async with asyncio.timeout(10):
            while part := await reader.read(65_536):
                found += part
    return found


async def test_new_rights_count_at_once_for_what_is_open(desk: Any) -> None:
    ann = await desk.issue("ann", sub=["a.*", "b.*"])
    async with stream(desk, "?pattern=*", Authorization=f"Bearer {ann}") as source:
        await source.block()
        await publish(desk, 1, "secret")
        await publish(desk, 1, "b.x")
        assert await source.seqs(1) == [desk.bus.head]
        await desk.issue("ann", sub=["a.*"], replace=True, overlap_s=60)
        await publish(desk, 1, "b.x")
        await publish(desk, 1, "a.x")
        assert await source.seqs(1) == [desk.bus.head]


async def test_streams_count_among_the_connections_of_a_token(tmp_path: Path) -> None:
    auth = Auth(TOKEN, Tokens(tmp_path / "tokens.json"), sockets=1)
    async with serving(tmp_path / "web", auth=auth) as desk:
        ann = await desk.issue("ann", sub=["a.*"])
        async with stream(desk, Authorization=f"Bearer {ann}") as source:
            await source.block()
            answer = await desk.ask("GET", "/v1/stream", token=ann)
            assert (answer.status, answer.json()["code"]) == (429, "overloaded")
            async with stream(desk) as another:  # an admin has more
                assert another.status == 200
        assert desk.bus.log.subscriptions <= 2


# --- who comes in -------------------------------------------------------------------------


async def test_a_browser_comes_in_with_its_cookie_and_from_this_page_only(desk: Any) -> None:
    login = await desk.post("/v1/login", {"token": desk.token}, token=None)
    cookie = login.headers["set-cookie"].split(";")[0]
    async with stream(
        desk, Authorization="", Cookie=cookie, Sec_Fetch_Site="same-origin"
    ) as source:
        assert source.status == 200
        assert await source.block() is not None
    async with stream(desk, Authorization="", Cookie=cookie, Sec_Fetch_Site="cross-site") as other:
        assert other.status == 403


async def test_curl_follows(desk: Any) -> None:
    await publish(desk, 2)
    curl = await asyncio.create_subprocess_exec(
        "curl",
        "-sN",
        "-H",
        f"Authorization: Bearer {desk.token}",
        f"http://127.0.0.1:{desk.port}/v1/stream?from=earliest",
        stdout=asyncio.subprocess.PIPE,
    )
    assert curl.stdout is not None
    try:
        async with asyncio.timeout(10):
            text = await curl.stdout.readuntil(f"id: {desk.bus.epoch}.2\n".encode())
            assert text.startswith(b"retry: 2000\n")
    finally:
        curl.terminate()
        await curl.wait()
