"""Tokens over real sockets: who may what, for how long, how much, and what is told of it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.certificates import issue as certificate
from tests.gateway.conftest import TOKEN, Desk, Socket, serving
from tests.gateway.openings import opening
from tests.gateway.test_http import login, problem
from tests.gateway.test_sse import issued, left_waiting
from websockets.exceptions import ConnectionClosed, ConnectionClosedError

from antiphon.bus import ADMIN, Quota
from antiphon.client.endpoint import Endpoint
from antiphon.client.http import HttpClient
from antiphon.gateway import Auth, Tokens
from antiphon.gateway.operations import Right
from antiphon.gateway.tokens import MOST, Grant, Rights, Secret, digest

Until = Callable[[Callable[[], bool]], Awaitable[None]]


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def desk(tmp_path: Path, clock: Clock) -> AsyncIterator[Desk]:
    """A server whose tokens are in a file, and whose wall clock stands still."""
    auth = Auth(TOKEN, Tokens(tmp_path / "tokens.json"), now=clock, sockets=3)
    quota = Quota(events_at_once=5, events_per_s=1, topics=3)
    (tmp_path / "admin-token").write_text(TOKEN)
    admin_file = tmp_path / "admin-token"
    async with serving(tmp_path / "web", auth=auth, quota=quota, admin_file=admin_file) as running:
        yield running


async def audit(desk: Desk, until: Until, what: str) -> list[dict[str, Any]]:
    """The payloads of an audit topic, once there is one."""
    topic = f"_sys.audit.{what}"
    await until(lambda: topic in desk.bus.log.topics)
    page = await desk.get(f"/v1/events?pattern={topic}")
    return [event["payload"] for event in page["events"]]


# --- what a token opens -------------------------------------------------------------------


async def test_a_token_publishes_and_sees_what_it_names_and_no_more(desk: Desk) -> None:
    ann = await desk.issue("ann", pub=["chat.*"], sub=["chat.*"], deny=["chat.secret"])
    for topic, status in (("chat.a", 200), ("chat.secret", 403), ("build.a", 403), ("_sys.x", 403)):
        answer = await desk.post("/v1/events", {"topic": topic}, token=ann)
        assert answer.status == status, topic
    await desk.bus.publish_event("build.a", 1)
    await desk.bus.publish_event("chat.secret", 2)
    page = await desk.get("/v1/events", token=ann)
    assert [(event["topic"], event["principal"]) for event in page["events"]] == [("chat.a", "ann")]
    assert [topic["name"] for topic in await desk.get("/v1/topics", token=ann)] == ["chat.a"]
    async with desk.client(ann) as socket:
        await socket.send("sub", id=2, sid="x", patterns=["build.*"])
        assert (await socket.expect("err"))["code"] == "forbidden"
        await socket.send("sub", id=2, sid="x", patterns=["_sys.*"])
        assert (await socket.expect("err"))["code"] == "forbidden"
        (refused,) = await socket.pub({"topic": "build.a"})
        assert refused["error"]["code"] == "forbidden"


ROLES = {"nothing": [], "worker": ["worker"], "terminal": ["terminal"], "admin": ["admin"]}
NEEDS = {Right.WORKER: {"worker", "admin"}, Right.ADMIN: {"admin"}}
PATHS = {
    "{seq}": "1",
    "{key:path}": "log/nobody",
    "{id}": "nobody",
    "{name}": "nobody",
    "{pattern}": "a.b",
}


async def test_every_operation_asks_for_its_role_and_for_no_other(desk: Desk) -> None:
    """All of the table: 403 for who lacks the role, anything else for who has it."""
    assert {operation.right for operation in desk.gateway._http.operations} >= set(Right)
    for role, roles in ROLES.items():
        await ask_for_all(desk, role, await desk.issue(f"some-{role}", roles=roles))


async def ask_for_all(desk: Desk, role: str, token: str) -> None:
    for operation in desk.gateway._http.operations:
        path = operation.path
        for name, value in PATHS.items():
            path = path.replace(name, value)
        if operation.right is Right.ANYBODY or path in ("/v1/admin-token", "/v1/stream"):
            continue
        answer = await desk.ask(operation.method, path, b"{}", token=token)
        asked_for = NEEDS.get(operation.right)
        if asked_for is not None and role not in asked_for:
            assert problem(answer, 403, "forbidden")["detail"].endswith(f"some-{role} lacks it")
        elif asked_for is not None:
            assert answer.status != 403, operation
        assert answer.status != 401, operation


ASKED = {
    ("GET", "/v1/actors"): "admin",
    ("POST", "/v1/actors/{key:path}/kill"): "admin",
    ("GET", "/v1/status"): "admin",
    ("POST", "/v1/shutdown"): "admin",
    ("GET", "/v1/retention"): "admin",
    ("POST", "/v1/forget"): "admin",
    ("PUT", "/v1/schemas/{pattern}"): "admin",
    ("DELETE", "/v1/schemas/{pattern}"): "admin",
    ("GET", "/v1/tokens"): "admin",
    ("POST", "/v1/tokens"): "admin",
    ("DELETE", "/v1/tokens/{name}"): "admin",
    ("POST", "/v1/admin-token"): "admin",
    ("GET", "/v1/workers"): "worker",
    ("POST", "/v1/workers"): "worker",
    ("DELETE", "/v1/workers/{id}"): "worker",
}


async def test_what_is_an_admins_or_a_workers_is_so_in_the_table(desk: Desk) -> None:
    rights = {(one.method, one.path): one.right for one in desk.gateway._http.operations}
    for operation, role in ASKED.items():
        assert rights[operation].name.lower() == role, operation


async def test_an_admin_by_role_may_all_but_write_reserved_topics(desk: Desk) -> None:
    boss = await desk.issue("boss", roles=["admin"])
    assert (await desk.get("/v1/me", token=boss))["roles"] == ["admin"]
    await desk.get("/v1/status", token=boss)
    assert (await desk.post("/v1/events", {"topic": "a.b"}, token=boss)).status == 200
    answer = await desk.post("/v1/events", {"topic": "_sys.audit.denied"}, token=boss)
    problem(answer, 403, "forbidden")
    await desk.get("/v1/events?pattern=_sys.*", token=boss)


async def test_patterns_alone_make_nobody_an_admin(desk: Desk) -> None:
    everything = await desk.issue("eve", pub=["*"], sub=["*", "_sys.*"])
    for path in ("/v1/status", "/v1/tokens", "/v1/actors", "/v1/workers"):
        problem(await desk.ask("GET", path, token=everything), 403, "forbidden")
    answer = await desk.post("/v1/forget", {"pattern": "a.*", "dry_run": True}, token=everything)
    problem(answer, 403, "forbidden")


async def test_everybody_may_see_whose_their_token_is(desk: Desk) -> None:
    ann = await desk.issue("ann", sub=["a.*"], expires_in_s=60)
    me = await desk.get("/v1/me", token=ann)
    assert (me["name"], me["sub"], me["pub"], me["roles"]) == ("ann", ["a.*"], [], [])
    assert me["expires"] == "2027-01-15T08:01:00Z"
    admin = await desk.get("/v1/me")
    assert (admin["name"], admin["roles"], admin["expires"]) == ("admin", ["admin"], None)
    assert TOKEN not in json.dumps(admin)


# --- issuing ------------------------------------------------------------------------------


async def test_a_token_is_told_once_and_listed_without_itself(desk: Desk, tmp_path: Path) -> None:
    ann = await desk.issue("ann", pub=["a.*"], roles=["worker"], expires_in_s=90)
    assert ann.startswith("anti_")
    (listed,) = await desk.get("/v1/tokens")
    assert ann not in json.dumps(listed)
    hashed = hashlib.sha256(ann.encode()).hexdigest()
    assert (listed["name"], listed["id"], listed["roles"]) == ("ann", hashed[:12], ["worker"])
    assert hashed not in json.dumps(listed)
    assert ann not in (tmp_path / "tokens.json").read_text()
    assert listed["last_used"] is None
    await desk.get("/v1/me", token=ann)
    (listed,) = await desk.get("/v1/tokens")
    assert listed["last_used"] == "2027-01-15T08:00:00Z"


CANNOT = [
    ({"name": "a b"}, "bad_request", "1 to 64"),
    ({"name": "system"}, "bad_request", "gives itself"),
    ({"name": "."}, "bad_request", "dots alone"),
    ({"name": ".."}, "bad_request", "dots alone"),
    ({"name": "ann", "pub": ["_sys.*"]}, "invalid_pattern", "can't be granted"),
    ({"name": "ann", "sub": ["a..b"]}, "invalid_pattern", "a..b"),
    ({"name": "ann", "sub": ["a"] * 33}, "bad_request", "at most 32 sub"),
    ({"name": "ann", "roles": ["boss"]}, "bad_request", "boss"),
    ({"name": "ann", "roles": ["admin"], "pub": ["a"]}, "bad_request", "takes no pub"),
    ({"name": "ann", "expires_in_s": 0}, "bad_request", "expires_in_s must be from 1"),
    ({"name": "ann", "expires_in_s": 1e300}, "bad_request", "expires_in_s must be from 1"),
    ({"name": "ann", "overlap_s": 5}, "bad_request", "goes with replace"),
    ({"name": "ann", "replace": True, "overlap_s": 1e9}, "bad_request", "overlap_s must"),
    ({"name": "ann", "replace": True}, "not_found", "no token is named ann"),
    ({"name": "ann", "token": "mine"}, "bad_request", "token"),
]


async def test_what_cannot_be_issued_is_refused_by_the_rule(desk: Desk) -> None:
    for ask, code, why in CANNOT:
        answer = await desk.post("/v1/tokens", ask)
        body = problem(answer, 404 if code == "not_found" else 400, code)
        assert why in body["detail"]
    assert await desk.get("/v1/tokens") == []


async def test_a_name_of_dots_from_before_is_read_and_revoked(desk: Desk, tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "older.json")
    kept = Secret(hash=digest("secret"), created=desk.gateway._auth.now())
    tokens.put(Grant("..", Rights(), (kept,)))
    tokens.save(tokens.encode())
    (older,) = Tokens(tmp_path / "older.json")
    desk.gateway._auth.tokens.put(older)
    with HttpClient(Endpoint(f"http://127.0.0.1:{desk.port}", TOKEN)) as client:
        await asyncio.to_thread(client.revoke_token, "..")
    assert await desk.get("/v1/tokens") == []


async def test_a_name_is_given_once_even_to_many_at_a_time(desk: Desk) -> None:
    answers = await asyncio.gather(*(desk.post("/v1/tokens", {"name": "ann"}) for _ in range(4)))
    good, *others = sorted(answers, key=lambda answer: answer.status)
    assert good.status == 201
    for other in others:
        assert "named ann already" in problem(other, 400, "bad_request")["detail"]


async def test_tokens_made_and_revoked_at_once_end_as_the_file_says(
    desk: Desk, tmp_path: Path
) -> None:
    async def some(first: int) -> None:
        for n in range(first, 12, 4):
            await desk.issue(f"n{n}")
            if n % 2:
                assert (await desk.ask("DELETE", f"/v1/tokens/n{n}")).status == 204

    await asyncio.gather(*(some(first) for first in range(4)))
    kept = [f"n{n}" for n in range(0, 12, 2)]
    assert sorted(info["name"] for info in await desk.get("/v1/tokens")) == sorted(kept)
    assert sorted(one.name for one in Tokens(tmp_path / "tokens.json")) == sorted(kept)


async def test_there_are_at_most_a_thousand_names(desk: Desk) -> None:
    for n in range(MOST):
        kept = Secret(hash=digest(str(n)), created=desk.gateway._auth.now())
        desk.gateway._auth.tokens.put(Grant(f"n{n}", Rights(), (kept,)))
    refused = await desk.post("/v1/tokens", {"name": "ann"})
    assert problem(refused, 429, "overloaded")["limit"] == MOST
    await desk.issue("n1", replace=True)


async def test_a_token_that_cannot_be_kept_is_not_given(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / ".tokens.json.new").mkdir()  # where it would be written
    (tmp_path / ".tokens.json.new" / "x").touch()
    problem(await desk.post("/v1/tokens", {"name": "ann"}), 503, "storage_unavailable")
    assert await desk.get("/v1/tokens") == []


async def test_rights_that_cannot_be_kept_are_taken_back_from_what_was_opened_by_them(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await desk.issue("ann", sub=["a.*"])
    saving, full = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def save(self: Tokens, data: bytes) -> None:
        loop.call_soon_threadsafe(saving.set)
        full.wait(10)
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(Tokens, "save", save)
    wider = {"name": "ann", "sub": ["*"], "replace": True, "overlap_s": 60}
    answer = asyncio.create_task(desk.post("/v1/tokens", wider))
    async with asyncio.timeout(10):
        await saving.wait()
    try:
        async with desk.client(ann) as socket:
            await socket.sub("s", "*")
            full.set()
            problem(await answer, 503, "storage_unavailable")
            await desk.bus.publish_event("secret", 1)
            await desk.bus.publish_event("a.x", 2)
            assert [e["topic"] for e in (await socket.until("ev"))["events"]] == ["a.x"]
    finally:
        full.set()
        monkeypatch.undo()


async def test_a_revocation_that_cannot_be_kept_counts_and_says_so(
    desk: Desk, tmp_path: Path
) -> None:
    ann = await desk.issue("ann")
    (tmp_path / ".tokens.json.new").mkdir()
    (tmp_path / ".tokens.json.new" / "x").touch()
    answer = await desk.ask("DELETE", "/v1/tokens/ann")
    assert "not for good" in problem(answer, 503, "storage_unavailable")["detail"]
    problem(await desk.ask("GET", "/v1/me", token=ann), 401, "unauthorized")
    (tmp_path / ".tokens.json.new" / "x").unlink()
    (tmp_path / ".tokens.json.new").rmdir()
    await desk.issue("bob")  # the next change keeps it
    assert [one.name for one in Tokens(tmp_path / "tokens.json")] == ["bob"]


# --- the end of a token -------------------------------------------------------------------


async def revoke(desk: Desk, name: str) -> None:
    assert (await desk.ask("DELETE", f"/v1/tokens/{name}")).status == 204


async def test_a_revoked_token_opens_nothing_and_closes_what_is_open(
    desk: Desk, until: Until
) -> None:
    ann, bob = await desk.issue("ann", sub=["a.*"]), await desk.issue("bob", sub=["a.*"])
    async with desk.client(ann) as one, desk.client(ann) as two, desk.client(bob) as other:
        for socket in (one, two, other):
            await socket.sub("s", "a.*")
        await revoke(desk, "ann")
        problem(await desk.ask("GET", "/v1/me", token=ann), 401, "unauthorized")
        await desk.bus.publish_event("a.b", 1)
        for socket in (one, two):
            frames = [frame async for frame in rest(socket)]
            assert [frame["op"] for frame in frames if frame["op"] != "live"] == ["bye"]
            assert (frames[-1]["code"], frames[-1]["retry"]) == (4502, False)
            assert (await socket.closed()) == (4502, "the token was revoked")
        assert len(await other.seqs("s", 1)) == 1
        await until(lambda: len(desk.connections()) == 1)
        assert desk.bus.log.subscriptions == 1
    problem(await desk.ask("DELETE", "/v1/tokens/ann"), 404, "not_found")


async def rest(socket: Socket) -> AsyncIterator[dict[str, Any]]:
    """What still comes, up to ``bye``."""
    while True:
        frame = await socket.frame()
        yield frame
        if frame["op"] == "bye":
            return


async def rest_of(socket: Socket) -> AsyncIterator[str | bytes]:
    """Every frame up to the end of the connection."""
    with suppress(ConnectionClosedError):
        async for frame in socket.connection:
            yield frame


async def test_nothing_is_delivered_to_a_revoked_socket_that_was_not_on_its_way(
    desk: Desk, until: Until
) -> None:
    """Its reader stands still: what waits in the server is dropped with the connection."""
    ann = await desk.issue("ann", sub=["a.*"])
    async with desk.socket(max_queue=1) as socket:
        await socket.hello(ann)
        await socket.send("sub", id=1, sid="s", patterns=["a.*"], window=10_000)
        await socket.until("ok")
        pending = [desk.bus.publish_event("a.b", "x" * 200_000) for _ in range(100)]
        await asyncio.gather(*pending)
        transport = next(iter(desk.gateway._server.server_state.connections)).transport
        await until(lambda: transport.get_write_buffer_size() > 0)
        await revoke(desk, "ann")
        await until(lambda: not desk.connections())
        await until(lambda: not desk.gateway._server.server_state.connections)
        frames = [json.loads(frame) async for frame in rest_of(socket)]
        events = sum(len(frame["events"]) for frame in frames if frame["op"] == "ev")
        assert events < 100
        assert socket.connection.close_code == 1006


async def test_nothing_that_waits_below_tls_is_delivered_to_a_revoked_socket(
    tmp_path: Path, until: Until
) -> None:
    """It is encrypted already, and less than would stop the server from writing."""
    async with opening("tls", tmp_path, certificate(tmp_path / "tls")) as door:
        ann = await issued(door.desk, "ann")
        async with door.socket(max_size=None, max_queue=None) as socket:
            await socket.hello(ann)
            await socket.sub("s", "a.*", window=10_000)
            await socket.until("live")
            count = await left_waiting(door.desk, socket.connection.transport, until)
            await door.desk.gateway._issuer.revoke("ann", ADMIN)
            socket.connection.transport.resume_reading()
            frames = [json.loads(frame) async for frame in rest_of(socket)]
            assert sum(len(frame["events"]) for frame in frames if frame["op"] == "ev") < count
            assert socket.connection.close_code == 1006


async def test_what_a_revoked_socket_sent_is_done_no_more(desk: Desk) -> None:
    ann = await desk.issue("ann", pub=["a.*"])
    async with desk.client(ann) as socket:
        await revoke(desk, "ann")
        with suppress(ConnectionClosed):
            for n in range(100):
                await socket.send("pub", id=n, events=[{"topic": "a.b"}])
        assert (await socket.closed())[0] == 4502
    assert "a.b" not in desk.bus.log.topics


async def test_an_expired_token_opens_nothing_and_closes_what_is_open(
    desk: Desk, clock: Clock, until: Until
) -> None:
    ann = await desk.issue("ann", sub=["a.*"], expires_in_s=1)
    clock.now += 0.95
    async with desk.client(ann) as socket:
        await desk.get("/v1/me", token=ann)
        clock.now += 0.05
        problem(await desk.ask("GET", "/v1/me", token=ann), 401, "unauthorized")
        assert await socket.closed() == (4502, "the token has expired")
    assert await desk.get("/v1/tokens") == []
    (told,) = await audit(desk, until, "token.expired")
    assert (told["token"], told["by"]) == ("ann", None)
    await desk.issue("ann")


async def test_a_new_admin_token_ends_the_old_one_its_cookies_and_its_sockets(
    desk: Desk, tmp_path: Path, until: Until
) -> None:
    page = await login(desk)
    ann = await desk.issue("ann", sub=["*"])
    async with desk.client() as old, desk.client(ann) as other:
        answer = await desk.post("/v1/admin-token", {})
        assert answer.status == 201
        fresh = answer.json()["token"]
        assert (await old.closed())[0] == 4502
        await other.sub("s", "*")
    assert (tmp_path / "admin-token").read_text().strip() == fresh
    assert (tmp_path / "admin-token").stat().st_mode & 0o777 == 0o600
    problem(await desk.ask("GET", "/v1/me"), 401, "unauthorized")
    problem(await desk.ask("GET", "/v1/me", headers=page, token=None), 401, "unauthorized")
    assert (await desk.ask("GET", "/v1/me", token=fresh)).status == 200
    topic = "_sys.audit.token.rotated"
    await until(lambda: topic in desk.bus.log.topics)
    page = await desk.get(f"/v1/events?pattern={topic}", token=fresh)
    assert page["events"][0]["payload"] == {"by": "admin"}


SLOW = [
    ("POST", "/v1/tokens", {"name": "mine", "roles": ["admin"]}),
    ("POST", "/v1/events", {"topic": "a.b"}),
    ("POST", "/v1/workers", {"argv": ["ls"], "name": "w"}),
    ("POST", "/v1/forget", {"pattern": "a.*"}),
    ("PUT", "/v1/schemas/a.b", {"type": "object"}),
    ("POST", "/v1/admin-token", {}),
]


@asynccontextmanager
async def half_sent(
    desk: Desk, method: str, path: str, body: dict[str, Any], token: str
) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """A request that the server has let in and waits for; gives what sends the rest."""
    reader, writer = await asyncio.open_connection("127.0.0.1", desk.port)
    first, rest = (raw := json.dumps(body).encode())[:1], raw[1:]
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{desk.port}\r\nExpect: 100-continue\r\n"
    head += f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
    writer.write(head.encode() + b"Content-Length: %d\r\n\r\n%b" % (len(raw), first))

    async def finish() -> int:
        writer.write(rest)
        return int((await reader.readuntil(b"\r\n\r\n")).split()[1])

    try:
        async with asyncio.timeout(10):
            assert b" 100 " in await reader.readuntil(b"\r\n\r\n")
            yield finish
    finally:
        writer.transport.abort()


async def ended(desk: Desk, clock: Clock, how: str) -> None:
    match how:
        case "revoked":
            await revoke(desk, "boss")
        case "expired":
            clock.now += 60
        case "replaced":
            await desk.issue("boss", roles=["admin"], replace=True)
        case "narrowed":
            await desk.issue("boss", sub=["a.*"], replace=True, overlap_s=30)
        case _:
            assert (await desk.post("/v1/admin-token", {})).status == 201


@pytest.mark.parametrize("how", ["revoked", "expired", "replaced", "narrowed", "rotated"])
async def test_a_body_that_comes_slowly_does_nothing_by_rights_that_ended_meanwhile(
    desk: Desk, clock: Clock, how: str
) -> None:
    boss = await desk.issue("boss", roles=["admin"], expires_in_s=60)
    async with AsyncExitStack() as stack:
        token = TOKEN if how == "rotated" else boss
        slow = [await stack.enter_async_context(half_sent(desk, *ask, token)) for ask in SLOW]
        await ended(desk, clock, how)
        assert {await finish() for finish in slow} == {403 if how == "narrowed" else 401}
    assert desk.gateway._auth.tokens.get("mine") is None
    assert "a.b" not in desk.bus.log.topics
    assert desk.bus.schemas() == {}


# --- the page -----------------------------------------------------------------------------


async def test_an_issued_token_logs_in_and_its_cookie_is_its_own(desk: Desk) -> None:
    ann = await desk.issue("ann", sub=["a.*"])
    origin = {"Origin": f"http://127.0.0.1:{desk.port}"}
    answer = await desk.post("/v1/login", {"token": ann}, headers=origin, token=None)
    page = {**origin, "Cookie": answer.headers["set-cookie"].partition(";")[0]}
    assert ann not in page["Cookie"]
    me = await desk.get("/v1/me", headers=page, token=None)
    assert me["name"] == "ann"
    problem(await desk.ask("GET", "/v1/status", headers=page, token=None), 403, "forbidden")
    options = {"additional_headers": {"Cookie": page["Cookie"]}, "origin": origin["Origin"]}
    async with desk.socket(**options) as socket:
        await socket.hello(None)
        await socket.send("sub", id=1, sid="s", patterns=["b"])
        assert (await socket.expect("err"))["code"] == "forbidden"
        await revoke(desk, "ann")
        assert (await socket.closed())[0] == 4502
    problem(await desk.ask("GET", "/v1/me", headers=page, token=None), 401, "unauthorized")


async def test_a_cookie_whose_token_ended_before_hello_opens_no_socket(desk: Desk) -> None:
    ann = await desk.issue("ann")
    origin = {"Origin": f"http://127.0.0.1:{desk.port}"}
    answer = await desk.post("/v1/login", {"token": ann}, headers=origin, token=None)
    cookie = answer.headers["set-cookie"].partition(";")[0]
    options = {"additional_headers": {"Cookie": cookie}, "origin": origin["Origin"]}
    async with desk.socket(**options) as socket:
        await revoke(desk, "ann")
        await socket.send("hello", v=1)
        assert (await socket.expect("err"))["code"] == "unauthorized"
        assert (await socket.closed())[0] == 4501


async def test_a_cookies_socket_ends_with_its_token_though_that_was_replaced_before_hello(
    desk: Desk, clock: Clock
) -> None:
    ann = await desk.issue("ann")
    origin = {"Origin": f"http://127.0.0.1:{desk.port}"}
    answer = await desk.post("/v1/login", {"token": ann}, headers=origin, token=None)
    cookie = answer.headers["set-cookie"].partition(";")[0]
    options = {"additional_headers": {"Cookie": cookie}, "origin": origin["Origin"]}
    async with desk.socket(**options) as socket:
        await desk.issue("ann", replace=True, overlap_s=0.05)
        await socket.hello(None)
        clock.now += 0.05
        assert await socket.closed() == (4502, "the token has expired")


# --- new rights, another token ------------------------------------------------------------


async def test_new_rights_count_at_once_for_what_is_open(desk: Desk) -> None:
    ann = await desk.issue("ann", pub=["a.*"], sub=["a.*", "b.*"])
    async with desk.client(ann) as socket:
        await socket.sub("s", "a.*", "b.*")
        await socket.until("live")
        ask = {"sub": ["a.*"], "pub": ["b.*"], "replace": True, "overlap_s": 60}
        fresh = await desk.issue("ann", **ask)
        await desk.bus.publish_event("b.x", 1)
        await desk.bus.publish_event("a.x", 2)
        event = (await socket.until("ev"))["events"][0]
        assert (event["topic"], event["payload"]) == ("a.x", 2)
        outcomes = await socket.pub({"topic": "a.x"}, {"topic": "b.x"})
        assert ["error" in one for one in outcomes] == [True, False]
        await socket.send("refresh", id=7, token=fresh)
        assert await socket.until("ok") == {"op": "ok", "id": 7}


async def test_a_connection_lives_by_the_token_it_was_refreshed_with(
    desk: Desk, clock: Clock
) -> None:
    ann = await desk.issue("ann", sub=["a.*"])
    async with desk.client(ann) as moved, desk.client(ann) as stayed:
        fresh = await desk.issue("ann", sub=["a.*"], replace=True, overlap_s=0.05)
        await desk.get("/v1/me", token=ann)
        await desk.get("/v1/me", token=fresh)
        await moved.send("refresh", id=1, token=fresh)
        await moved.until("ok")
        clock.now += 0.05
        assert await stayed.closed() == (4502, "the token has expired")
        problem(await desk.ask("GET", "/v1/me", token=ann), 401, "unauthorized")
        await moved.sub("s", "a.*")


async def test_without_overlap_a_replaced_token_ends_at_once(desk: Desk) -> None:
    ann = await desk.issue("ann")
    async with desk.client(ann) as socket:
        fresh = await desk.issue("ann", replace=True)
        assert await socket.closed() == (4502, "the token was replaced")
    problem(await desk.ask("GET", "/v1/me", token=ann), 401, "unauthorized")
    await desk.get("/v1/me", token=fresh)


async def test_a_refresh_by_an_unknown_or_anothers_token_changes_nothing(desk: Desk) -> None:
    ann, bob = await desk.issue("ann", pub=["a.*"]), await desk.issue("bob", pub=["b.*"])
    async with desk.client(ann) as socket:
        for token, code in (("nonsense", "unauthorized"), (bob, "forbidden"), (TOKEN, "forbidden")):
            await socket.send("refresh", id=3, token=token)
            refused = await socket.expect("err")
            assert (refused["id"], refused["code"]) == (3, code)
            assert token not in json.dumps(refused)
        outcomes = await socket.pub({"topic": "a.x"}, {"topic": "b.x"})
        assert ["error" in one for one in outcomes] == [False, True]
        await revoke(desk, "bob")
        await socket.send("refresh", id=4, token=ann)
        assert (await socket.until("ok"))["id"] == 4
        await revoke(desk, "ann")
        assert (await socket.closed())[0] == 4502


# --- how much -----------------------------------------------------------------------------


async def test_a_token_has_so_many_sockets_and_the_next_is_told_to_come_later(desk: Desk) -> None:
    ann = await desk.issue("ann")
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(desk.client(ann))
        async with desk.socket() as fourth:
            await fourth.send("hello", v=1, token=ann)
            refused = await fourth.expect("err")
            assert (refused["code"], refused["limit"]) == ("overloaded", 3)
            bye = await fourth.expect("bye")
            assert (bye["code"], bye["retry"]) == (4009, True)
            assert (await fourth.closed())[0] == 4009
        for _ in range(3):
            await stack.enter_async_context(desk.client())  # an admin has more
    assert desk.gateway.refusals["connections"] == 1


async def test_a_token_publishes_so_much_a_second_by_both_doors(desk: Desk) -> None:
    ann = await desk.issue("ann", pub=["a.*"])
    answer = await desk.post("/v1/events", [{"topic": "a.x"}] * 7, token=ann)
    results = answer.json()["results"]
    assert ["error" in one for one in results] == [False] * 5 + [True] * 2
    answer = await desk.post("/v1/events", {"topic": "a.x"}, token=ann)
    body = problem(answer, 429, "overloaded")
    assert 0 < body["retry_after_ms"] <= 1000
    assert answer.headers["retry-after"] == "1"
    async with desk.client(ann) as socket:
        (refused,) = await socket.pub({"topic": "a.x"})
        assert refused["error"]["code"] == "overloaded"
        assert refused["error"]["retry_after_ms"] > 0
    answer = await desk.post("/v1/events", [{"topic": "a.x"}] * 50)
    assert not any("error" in one for one in answer.json()["results"])
    assert desk.gateway.refusals["events"] == 4


async def test_a_token_makes_so_many_topics(desk: Desk) -> None:
    ann = await desk.issue("ann", pub=["a.*"])
    events = [{"topic": f"a.n{n}"} for n in range(4)]
    results = (await desk.post("/v1/events", events, token=ann)).json()["results"]
    assert ["error" in one for one in results] == [False, False, False, True]
    assert results[3]["error"]["limit"] == 3
    assert "at most 3 of one token" in results[3]["error"]["message"]


# --- what is told -------------------------------------------------------------------------


async def test_what_is_done_with_keys_and_workers_is_told_with_by_whom(
    desk: Desk, until: Until
) -> None:
    boss = await desk.issue("boss", roles=["admin"])
    starter = await desk.issue("starter", roles=["worker"])
    answer = await desk.post("/v1/tokens", {"name": "ann", "sub": ["a.*"]}, token=boss)
    assert answer.status == 201
    assert (await desk.ask("DELETE", "/v1/tokens/ann", token=boss)).status == 204
    await desk.post("/v1/workers", {"argv": ["true"], "name": "w"}, token=starter)
    await desk.ask("DELETE", "/v1/workers/w", token=starter)
    await desk.ask("POST", "/v1/actors/log/bus/kill", b"{}", token=boss)
    issued = await audit(desk, until, "token.issued")
    assert [(one["token"], one["by"]) for one in issued][-1] == ("ann", "boss")
    assert issued[-1]["sub"] == ["a.*"]
    (revoked,) = await audit(desk, until, "token.revoked")
    assert (revoked["token"], revoked["by"], revoked["sub"]) == ("ann", "boss", ["a.*"])
    (started,) = await audit(desk, until, "worker.started")
    assert (started["worker"], started["by"]) == ("w", "starter")
    (stopped,) = await audit(desk, until, "worker.stopped")
    assert stopped["by"] == "starter"
    (killed,) = await audit(desk, until, "actor.killed")
    assert (killed["actor"], killed["by"]) == ("log/bus", "boss")


async def test_denials_of_each_kind_are_told_but_not_each(desk: Desk, until: Until) -> None:
    ann = await desk.issue("ann")
    for _ in range(5):
        await desk.ask("GET", "/v1/me?token=secret", token="wrong")
        await desk.ask("GET", "/v1/status", token=ann)
        await desk.ask("GET", "/v1/me", headers={"Host": "evil.example"})
    await desk.post("/v1/events", [{"topic": "a"}, {"topic": "b"}], token=ann)
    async with desk.socket() as socket:
        await socket.send("hello", v=1, token="wrong too")
        await socket.closed()
    async with desk.client(ann) as socket:
        await socket.pub({"topic": "a"})
        await socket.send("sub", id=1, sid="s", patterns=["a"])
        await socket.expect("err")
    denied = await audit(desk, until, "denied")
    assert {one["kind"]: one.get("principal") for one in denied} == {
        "unauthorized": None,
        "forbidden": "ann",
        "door": None,
    }
    assert len(denied) == 3
    assert "secret" not in json.dumps(denied)
    counted = desk.gateway.refusals
    assert (counted["unauthorized"], counted["forbidden"], counted["door"]) == (6, 9, 5)
