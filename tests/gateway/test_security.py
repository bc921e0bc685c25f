"""Strangers at each door: what they claim to be, and what a page of theirs can make a browser send.

Every line of the security rules of docs/gateway.md, over TCP, TLS and a Unix socket,
by HTTP and by WebSocket.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from antiphon.gateway import protocols, server

from .certificates import Certificate, issue
from .openings import KINDS, Opening, Reply, opening, read_reply

PUBLISH = b'{"topic": "a.b", "payload": 1}'
JSON = ("Content-Type", "application/json")
CSRF = ("X-Antiphon", "1")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return issue(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=KINDS)
async def door(
    request: pytest.FixtureRequest, tmp_path: Path, made: Certificate
) -> AsyncIterator[Opening]:
    async with opening(request.param, tmp_path, made) as opened:
        yield opened


async def tries(door: Opening, *headers: Any, host: Any = None) -> list[Reply]:
    """A read, the page, a publish and a handshake, all with a good token."""
    return [
        await door.ask("GET /v1/events", door.bearer, *headers, host=host),
        await door.ask("GET /", *headers, host=host),
        await door.ask("POST /v1/events", door.bearer, JSON, *headers, body=PUBLISH, host=host),
        await door.handshake(*headers, host=host),
    ]


def secured(reply: Reply) -> bool:
    csp = reply.header("content-security-policy")
    wanted = ("script-src 'self'", "object-src 'none'", "base-uri 'none'", "connect-src 'self'")
    return (
        all(part in csp.split("; ") for part in (*wanted, "frame-ancestors 'none'"))
        and "unsafe-eval" not in csp
        and reply.header("x-content-type-options") == "nosniff"
        and reply.header("referrer-policy") == "no-referrer"
        and not any(name.startswith("access-control-") for name, _ in reply.headers)
    )


# --- who is asked: Host ---------------------------------------------------------------------


async def test_its_own_names_are_let_in_through_each_door(door: Opening) -> None:
    port = "" if door.kind == "uds" else f":{door.desk.port}"
    names = ["localhost"] if door.kind == "uds" else ["localhost", "127.0.0.1", "[::1]"]
    for name in names:
        replies = await tries(door, host=name + port)
        assert [reply.status for reply in replies] == [200, 200, 200, 101]
        assert all(map(secured, replies[:3]))


FOREIGN_HOSTS = [
    *("evil.example", "evil.example:{port}", "127.0.0.1:{port}.evil.example", ""),
    *("user@{own}", "user:pass@{own}", "{own}.", "localhost.:{port}", "{own}/", "http://{own}"),
    *("127.0.0.2:{port}", "0.0.0.0:{port}", "127.1:{port}", "2130706433:{port}", "0x7f.1:{port}"),
    *(
        "{own}:1",
        "localhost:1",
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]:{port}",
        "[::1%lo]:{port}",
    ),
    *("{own}, evil.example", "{own} evil.example", "{own}\tevil", "l\u043ecalhost:{port}", "\xb5"),
]


async def test_a_foreign_host_is_turned_away_from_every_route_and_handshake(door: Opening) -> None:
    """A page whose name was rebound to this machine sends its own name."""
    for foreign in FOREIGN_HOSTS:
        host = foreign.format(port=door.desk.port, own=door.host)
        for reply in await tries(door, host=host):
            assert reply.status in (400, 403), (host, reply)
            assert secured(reply)
    assert door.desk.bus.head == 0 or not await published(door)


async def test_no_host_and_two_hosts_are_turned_away(door: Opening) -> None:
    for hosts in ((), (door.host, door.host), (door.host, "evil.example")):
        for reply in await tries(door, host=hosts):
            assert reply.status in (400, 403), (hosts, reply)
            assert secured(reply)


async def test_the_target_of_a_request_names_no_other_host(door: Opening) -> None:
    for target in (
        "http://evil.example/v1/events",
        f"{door.origin}/v1/events",
        "evil.example:80",
        "//evil.example/v1/events",
    ):
        reply = await door.ask(f"GET {target}", door.bearer)
        assert reply.status in (400, 403, 404), (target, reply)
        assert secured(reply)
        assert (await door.ask(f"POST {target}", JSON, body=PUBLISH)).status >= 400
    assert not await published(door)


async def test_the_unix_socket_knows_no_names_of_tcp_nor_tcp_its(tmp_path: Path, made: Any) -> None:
    async with opening("uds", tmp_path, made) as unix:
        tcp = Opening(unix.desk, "tcp", tmp_path, made)
        for one, other in ((unix, tcp), (tcp, unix)):
            assert [reply.status for reply in await tries(one, host=other.host)] == [403] * 4


# --- who asks: Origin -----------------------------------------------------------------------


FOREIGN_ORIGINS = [
    *("http://evil.example", "{origin}.evil.example", "{origin}0", "{origin}:1", "null", ""),
    *("{origin}/", "{origin}/x", "{origin}?", "{origin}#", "file://", "about:blank", "{host}"),
    *("http://user@{host}", "http://localhost:1", "http://127.0.0.1", "{flipped}", "{origin} "),
    *("{origin} http://evil.example", "{origin},http://evil.example", "http://l\u043ecalhost"),
]


async def test_a_foreign_origin_is_turned_away_from_every_route_and_handshake(
    door: Opening,
) -> None:
    flipped = door.origin.replace("http:", "ws:").replace("https:", "http:")
    for foreign in FOREIGN_ORIGINS:
        origin = foreign.format(host=door.host, origin=door.origin, flipped=flipped)
        if origin.strip() == door.origin or (door.kind == "uds" and origin == "http://localhost"):
            continue  # a space at its end belongs to no header's value
        for reply in await tries(door, ("Origin", origin)):
            assert reply.status in (400, 403), (origin, reply)
            assert secured(reply)
    for reply in await tries(door, ("Origin", door.origin), ("Origin", "http://evil.example")):
        assert reply.status in (400, 403), reply
    assert not await published(door)


async def test_its_own_origin_is_let_in(door: Opening) -> None:
    replies = await tries(door, ("Origin", door.origin))
    assert [reply.status for reply in replies] == [200, 200, 200, 101]


async def test_a_cookie_without_origin_changes_nothing_and_opens_no_socket(door: Opening) -> None:
    cookie = ("Cookie", (await door.cookie()).partition(";")[0])
    for more in ((), (CSRF,), (CSRF, ("Sec-Fetch-Site", "same-origin"))):
        reply = await door.ask("POST /v1/events", cookie, JSON, *more, body=PUBLISH)
        assert reply.status == 403, reply
    async with door.socket(additional_headers=[cookie]) as socket:
        await socket.send("hello", v=1)
        assert (await socket.expect("err"))["code"] == "unauthorized"
        assert (await socket.closed())[0] == 4501
    async with door.socket(additional_headers=[cookie], origin=door.origin) as socket:
        await socket.send("hello", v=1)
        await socket.expect("welcome")


# --- what a browser can be made to send -------------------------------------------------------


async def test_with_a_cookie_a_change_needs_origin_our_header_and_json(door: Opening) -> None:
    cookie, origin = ("Cookie", (await door.cookie()).partition(";")[0]), ("Origin", door.origin)
    form = ("Content-Type", "application/x-www-form-urlencoded")
    for headers in (
        (origin, JSON),
        (origin, JSON, ("X-Antiphon", "0")),
        (origin, JSON, ("X-Antiphon", "")),
        (origin, JSON, CSRF, CSRF),
        (origin, CSRF, form),
        (origin, CSRF, ("Content-Type", "text/plain")),
        (origin, CSRF, ("Content-Type", "text/plain; application/json")),
        (origin, CSRF, ("Content-Type", "multipart/form-data; boundary=x")),
        (origin, CSRF),
        (origin, CSRF, JSON, ("Content-Encoding", "gzip")),
    ):
        body = b"\x1f\x8b\x08\x00junk" if ("Content-Encoding", "gzip") in headers else PUBLISH
        reply = await door.ask("POST /v1/events", cookie, *headers, body=body)
        assert reply.status in (400, 403, 415), (headers, reply)
    assert not await published(door)
    reply = await door.ask("POST /v1/events", cookie, origin, JSON, CSRF, body=PUBLISH)
    assert reply.status == 200


async def test_there_is_no_cors(door: Opening) -> None:
    """A preflight is answered by no permission, whoever asks."""
    wants = (
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization, content-type, x-antiphon"),
    )
    for origin in (door.origin, "http://evil.example", "null"):
        for target in ("/v1/events", "/v1/login", "/v1/ws", "/health", "/"):
            reply = await door.ask(f"OPTIONS {target}", ("Origin", origin), *wants)
            assert reply.status >= 400, (origin, target, reply)
            assert secured(reply)


async def test_no_get_changes_anything(door: Opening) -> None:
    """Not by a route that is there, nor by one that calls itself another method."""
    before = await published(door)
    gets = [o.path for o in door.desk.gateway._http.operations if o.method == "GET"]
    assert len(gets) > 5
    overriding = ("X-HTTP-Method-Override", "POST"), ("X-HTTP-Method", "DELETE")
    for path in [*gets, "/v1/shutdown", "/v1/login", "/v1/forget", "/v1/actors/user/kill"]:
        target = path.replace("{seq}", "1").replace("{pattern}", "a").split("{")[0]
        if target == "/v1/stream":
            continue  # has no end
        for query in ("", "?topic=a.b&payload=1"):
            await door.ask(f"GET {target}{query}", door.bearer, *overriding)
    assert await published(door) == before
    assert not door.desk.shut_down.is_set()


async def test_a_token_in_an_address_is_worth_nothing(door: Opening) -> None:
    for name in ("token", "access_token", "authorization"):
        reply = await door.ask(f"GET /v1/events?{name}={door.desk.token}")
        assert reply.status == 401
        reply = await door.ask(f"GET /v1/ws?{name}={door.desk.token}", host=door.host)
        assert reply.status == 400


async def test_the_cookie_is_hidden_from_scripts_and_other_sites_and_with_tls_from_http(
    door: Opening,
) -> None:
    parts = [part.strip().lower() for part in (await door.cookie()).split(";")]
    assert parts[0].startswith(f"antiphon_{door.desk.port}=")
    assert {"httponly", "samesite=strict", "path=/"} <= set(parts)
    assert ("secure" in parts) == (door.kind == "tls")
    assert not any(part.startswith("domain") for part in parts)


async def test_every_answer_carries_the_security_headers(door: Opening) -> None:
    replies = [
        await door.ask("GET /"),
        await door.ask("GET /health"),
        await door.ask("GET /v1/events"),
        await door.ask("GET /v1/events", door.bearer),
        await door.ask("GET /v1/nothing", door.bearer),
        await door.ask("GET /nothing.js"),
        await door.ask("PATCH /v1/events", door.bearer),
        await door.ask("POST /v1/login", JSON, body=b'{"token": "wrong"}'),
        await door.ask("GET /../../etc/passwd"),
        await door.ask("GET /%2e%2e/%2e%2e/etc/passwd"),
        await door.handshake(("Origin", "http://evil.example")),
    ]
    assert all(map(secured, replies)), replies
    assert b"root:" not in b"".join(reply.body for reply in replies)


async def test_no_token_no_event_through_any_door(door: Opening) -> None:
    for headers in ((), (("Authorization", "Bearer wrong"),), (("Authorization", "Basic eDp5"),)):
        assert (await door.ask("GET /v1/events", *headers)).status == 401
        assert (await door.ask("POST /v1/events", *headers, JSON, body=PUBLISH)).status in (
            401,
            403,
        )
    async with door.socket() as socket:
        await socket.send("hello", v=1, token="wrong")
        assert (await socket.closed())[0] == 4501
    assert not await published(door)


async def test_at_the_end_a_socket_at_each_door_is_told_to_come_back(door: Opening) -> None:
    async with door.socket() as socket:
        await socket.hello(door.desk.token)
        async with asyncio.timeout(5):
            await asyncio.gather(door.desk.gateway.aclose(), socket.until("bye"))
        assert (await socket.closed())[0] == 4000
    assert not door.has_socket_file


async def test_who_reads_nothing_through_any_door_is_cut_and_others_notice_nothing(
    door: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for it is bounded, and so is the time."""
    monkeypatch.setattr(protocols, "WRITE_S", 0.3)
    events = [{"topic": "big.x", "payload": "x" * 100_000} for _ in range(30)]
    body = json.dumps(events).encode()
    for _ in range(2):
        reply = await door.ask("POST /v1/events", door.bearer, JSON, body=body)
        assert reply.status == 200
    query = "GET /v1/events?pattern=big.*&limit=500 HTTP/1.1\r\nHost: {}\r\n{}: {}\r\n\r\n"
    async with door.raw() as (_, writer), asyncio.timeout(10):
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write((query.format(door.host, *door.bearer) * 20).encode())
        crowd = door.desk.gateway.crowd
        while len(crowd) == 0:
            await asyncio.sleep(0.002)
        assert (await door.ask("GET /health")).status == 200
        while len(crowd) > 0:
            await asyncio.sleep(0.01)


# --- proxies --------------------------------------------------------------------------------


async def test_who_is_no_named_proxy_is_not_believed(door: Opening) -> None:
    """Neither a host, nor an address, nor a scheme."""
    told = (
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-For", "6.6.6.6"),
        ("X-Forwarded-Proto", "https"),
    )
    assert [r.status for r in await tries(door, *told)] == [200, 200, 200, 101]
    assert (await door.ask("GET /", *told, host="evil.example")).status == 403
    await denied_client(door, None if door.kind == "uds" else "127.0.0.1")
    reply = await door.ask(
        "POST /v1/login", JSON, *told, body=b'{"token": "%s"}' % door.desk.token.encode()
    )
    assert ("secure" in reply.header("set-cookie").lower()) == (door.kind == "tls")


async def test_a_named_proxy_tells_client_scheme_and_host_and_no_other_host(
    tmp_path: Path, made: Certificate
) -> None:
    options = {"proxies": ["127.0.0.1", "unix"], "public_url": "https://bus.example"}
    async with opening("tcp", tmp_path, made, **options) as tcp:
        unix = Opening(tcp.desk, "uds", tmp_path, made)
        host = ("X-Forwarded-Host", "bus.example")
        origin = ("Origin", "https://bus.example")
        for door in (tcp, unix):
            asked = await tries(door, origin, host)
            passed_on = await tries(door, origin, host="bus.example")
            assert [r.status for r in (*asked, *passed_on)] == [200, 200, 200, 101] * 2
            for foreign in ("evil.example", "bus.example, evil.example", ""):
                foreigners = await tries(door, ("X-Forwarded-Host", foreign))
                assert [r.status for r in foreigners] == [403] * 4, foreign
            assert [r.status for r in await tries(door, host, host)] == [403] * 4
            assert [r.status for r in await tries(door, ("Origin", "http://bus.example"))] == [
                403
            ] * 4
        told = ("X-Forwarded-For", "6.6.6.6, 192.0.2.9")
        tcp.desk.gateway._audit._folds["door"].next = 0.0
        await tcp.ask("GET /", told, host="evil.example")
        await denied_client(tcp, "192.0.2.9")
        login = b'{"token": "%s"}' % tcp.desk.token.encode()
        reply = await tcp.ask(
            "POST /v1/login", JSON, host, ("X-Forwarded-Proto", "https"), body=login
        )
        assert "secure" in reply.header("set-cookie").lower()


# --- TLS ------------------------------------------------------------------------------------


async def test_who_speaks_no_tls_or_an_old_one_gets_nothing(tmp_path: Path, made: Any) -> None:
    async with opening("tls", tmp_path, made) as door:
        async with door.raw(tls=False) as (reader, writer), asyncio.timeout(10):
            writer.write(f"GET /health HTTP/1.1\r\nHost: {door.host}\r\n\r\n".encode())
            assert (await read_reply(reader)).status == 0
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.load_verify_locations(door.made.ca)
        old.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            old.minimum_version = ssl.TLSVersion.TLSv1
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", door.desk.port, ssl=old)
        assert (await door.ask("GET /health")).status == 200


async def test_a_handshake_of_tls_that_never_ends_is_cut(
    tmp_path: Path, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HANDSHAKE_S", 0.2)
    async with (
        opening("tls", tmp_path, made) as door,
        asyncio.timeout(10),
        door.raw(tls=False) as (reader, writer),
    ):
        writer.write(b"\x16\x03\x01")
        assert (await door.ask("GET /health")).status == 200
        assert await reader.read() == b""


# --- compression ----------------------------------------------------------------------------


async def test_no_compression_is_agreed_on_and_a_compressed_frame_closes_by_1002(
    door: Opening,
) -> None:
    """What can't be unpacked can't be a bomb."""
    offer = ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")
    reply = await door.handshake(offer)
    assert (reply.status, reply.header("sec-websocket-extensions")) == (101, "")
    async with door.socket(compression="deflate") as socket:
        socket.connection.transport.write(b"\xc1\x84\x00\x00\x00\x00\xaa\x56\x4a\x05")
        assert (await socket.closed())[0] == 1002


async def published(door: Opening) -> int:
    """How many events a stranger got into the log."""
    reply = await door.ask("GET /v1/events?pattern=a.*", door.bearer)
    assert reply.status == 200, reply
    return len(json.loads(reply.body)["events"])


async def denied_client(door: Opening, expected: str | None) -> None:
    """Wait until the newest denial tells that client."""
    path = "GET /v1/events?order=desc&pattern=_sys.audit.denied&limit=1"
    async with asyncio.timeout(10):
        while True:
            found = json.loads((await door.ask(path, door.bearer)).body)["events"]
            if found and found[0]["payload"]["client"] == expected:
                return
