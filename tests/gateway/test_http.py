"""Every route over a real socket, and every refusal by its documented code."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from antiphon.bus.store import StoreCorrupt, StoreStatus, StoreUnavailable
from antiphon.errors import Overloaded, StorageUnavailable
from antiphon.gateway.limits import BODY_BYTES

Until = Callable[[Callable[[], bool]], Any]


def problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    """Check that *answer* is that problem."""
    assert answer.headers["content-type"] == "application/problem+json", answer
    body: dict[str, Any] = answer.json()
    assert (answer.status, body["status"], body["code"]) == (status, status, code), body
    assert body["type"] == f"urn:antiphon:problem:{code}"
    assert body["title"]
    assert body["detail"]
    return body


# --- publishing ---------------------------------------------------------------------------


async def test_one_event_is_published_and_read_back(desk: Any) -> None:
    answer = await desk.post("/v1/events", {"topic": "a.b", "payload": {"n": 1}})
    assert answer.status == 200
    (result,) = answer.json()["results"]
    assert result["seq"] == 1
    assert result["cursor"].endswith(".1")
    event = await desk.get("/v1/events/1")
    assert (event["topic"], event["payload"], event["principal"]) == ("a.b", {"n": 1}, "admin")
    assert event["id"] == result["id"]


async def test_a_list_has_one_result_for_each_and_is_no_transaction(desk: Any) -> None:
    answer = await desk.post(
        "/v1/events",
        [
            {"topic": "a.b"},
            {"topic": "a..b", "id": "mine"},
            {"topic": "_sys.x"},
            {"topic": "a.b", "colour": 1},
            7,
            {"topic": "a.b", "payload": 2**53},
            {"topic": "a.b", "time": "0001-01-01T00:00:00+14:00"},
            {"topic": "a.b", "id": "x" * 100_000},
            {"topic": "a.c"},
        ],
    )
    assert answer.status == 200
    results = answer.json()["results"]
    assert [r.get("seq") for r in results] == [1, *[None] * 7, 2]
    codes = [r["error"]["code"] for r in results[1:8]]
    assert codes == [
        *("invalid_topic", "forbidden", "bad_request", "bad_request"),
        *["invalid_payload"] * 3,
    ]
    assert len(results[7]["id"]) < 200
    assert results[1]["id"] == "mine"


@pytest.mark.parametrize("payload", ["NaN", "[" * 2000 + "]" * 2000, '"\\ud800"'], ids=len)
async def test_an_event_that_is_no_json_spoils_no_other_of_its_list(
    desk: Any, payload: str
) -> None:
    bad, good = f'{{"topic":"a","payload":{payload}}}', '{"topic":"a","payload":[1,2]}'
    answer = await desk.ask("POST", "/v1/events", f"[{good}, {bad}, {good}]")
    results = answer.json()["results"]
    assert [result.get("seq") for result in results] == [1, None, 2]
    assert results[1]["error"]["code"] == "invalid_payload"
    assert ("surrogate" in results[1]["error"]["message"]) is ("ud800" in payload)


@pytest.mark.parametrize("body", ["[", "[1,]", '[{"topic":"a"}', '[{"topic":"a},{"topic":"b"}]'])
async def test_a_list_that_does_not_come_apart_is_refused_as_a_whole(desk: Any, body: str) -> None:
    problem(await desk.ask("POST", "/v1/events", body), 400, "invalid_payload")
    assert desk.bus.head == 0


async def test_the_same_id_twice_is_a_duplicate_and_with_other_content_a_conflict(
    desk: Any,
) -> None:
    event = {"topic": "a.b", "id": "one", "payload": 1}
    first = (await desk.post("/v1/events", event)).json()["results"][0]
    again = (await desk.post("/v1/events", event)).json()["results"][0]
    assert "duplicate" not in first
    assert (again["seq"], again["duplicate"]) == (first["seq"], True)
    other = await desk.post("/v1/events", {**event, "payload": 2})
    problem(other, 409, "id_conflict")


async def test_an_expected_seq_is_kept_to_by_both_doors_and_the_answer_names_the_last(
    desk: Any,
) -> None:
    event = {"topic": "a.b", "expect_last_seq": 0}
    first = (await desk.post("/v1/events", event)).json()["results"][0]
    refused = await desk.post("/v1/events", event)
    assert problem(refused, 409, "wrong_expected_seq")["last_seq"] == first["seq"]
    async with desk.client() as socket:
        wrong, right = await socket.pub(event, {**event, "expect_last_seq": first["seq"]})
    assert wrong["error"]["code"] == "wrong_expected_seq"
    assert wrong["error"]["last_seq"] == first["seq"]
    assert right["seq"] == first["seq"] + 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("", 400, "invalid_payload"),
        ("nonsense", 400, "invalid_payload"),
        ('{"topic":"a"', 400, "invalid_payload"),
        (b'{"topic":"\xff"}', 400, "invalid_payload"),
        ("{}", 400, "bad_request"),
        ("7", 400, "bad_request"),
        ("[]", 400, "bad_request"),
        ('{"topic":"a b"}', 400, "invalid_topic"),
        ('{"topic":""}', 400, "invalid_topic"),
        ('{"topic":"*.x"}', 400, "invalid_topic"),
        ('{"topic":"a\\u0000"}', 400, "invalid_topic"),
        ('{"topic":"é"}', 400, "invalid_topic"),
        ('{"topic":"' + ".".join("a" * 17) + '"}', 400, "invalid_topic"),
        ('{"topic":"' + "a" * 5000 + '"}', 400, "invalid_topic"),
        ('{"topic":"_sys.audit.x"}', 403, "forbidden"),
        ('{"topic":"a","payload":NaN}', 400, "invalid_payload"),
        ('{"topic":"a","payload":Infinity}', 400, "invalid_payload"),
        ('{"topic":"a","payload":1e400}', 400, "invalid_payload"),
        ('{"topic":"a","payload":' + "9" * 5000 + "}", 400, "invalid_payload"),
        ('{"topic":"a","payload":' + "[" * 100_000 + "]" * 100_000 + "}", 400, "invalid_payload"),
        ('{"topic":"a","payload":"\\ud800"}', 400, "invalid_payload"),
        ('{"topic":"a","payload":"' + "x" * 300_000 + '"}', 413, "payload_too_large"),
        ('{"topic":"a","type":"x\\n"}', 400, "invalid_payload"),
    ],
    ids=lambda value: repr(value)[:24],
)
async def test_a_bad_event_is_refused_by_its_code_and_leaves_the_log_clean(
    desk: Any, body: str | bytes, status: int, code: str
) -> None:
    problem(await desk.ask("POST", "/v1/events", body), status, code)
    assert set(desk.bus.log.topics) <= {"_sys.audit.denied"}


async def test_a_body_over_four_mebibytes_is_answered_not_cut_off(desk: Any) -> None:
    answer = await desk.ask("POST", "/v1/events", b'"' + b"x" * 10_000_000 + b'"')
    assert problem(answer, 413, "payload_too_large")["limit"] == BODY_BYTES


async def test_a_list_has_at_most_a_thousand_events(desk: Any) -> None:
    answer = await desk.post("/v1/events", [{"topic": "a"}] * 1001)
    assert problem(answer, 400, "bad_request")["limit"] == 1000
    answer = await desk.post("/v1/events", [{"topic": "a"}] * 1000, headers={})
    assert len(answer.json()["results"]) == 1000


async def test_only_json_is_taken(desk: Any) -> None:
    for kind in ("", "text/plain", "application/x-www-form-urlencoded"):
        answer = await desk.ask("POST", "/v1/events", '{"topic":"a"}', {"Content-Type": kind})
        problem(answer, 400, "bad_request")
    with_charset = {"Content-Type": "application/json; charset=utf-8"}
    assert (await desk.ask("POST", "/v1/events", '{"topic":"a"}', with_charset)).status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Encoding": "gzip"}, 415),
        ({"Content-Encoding": "identity, deflate"}, 415),
        ({"Content-Encoding": "Identity"}, 200),
        ({"Content-Type": "application/json; charset=latin-1"}, 415),
        ({"Content-Type": 'application/json; v=1;Charset="UTF-16"'}, 415),
        ({"Content-Type": 'application/json; charset="UTF-8"'}, 200),
        ({"Content-Type": "application/cloudevents+json; charset=latin-1"}, 415),
    ],
    ids=str,
)
async def test_what_is_packed_or_in_another_charset_is_refused(
    desk: Any, headers: dict[str, str], status: int
) -> None:
    answer = await desk.ask("POST", "/v1/events", '{"topic":"a"}', headers)
    if status == 200:
        assert answer.status == 200
    else:
        problem(answer, status, "bad_request")
        assert desk.bus.head == 0
    for path in ("/v1/shutdown", "/v1/login"):
        packed = await desk.ask("POST", path, b"{}", {"Content-Encoding": "br"})
        problem(packed, 415, "bad_request")


async def test_a_level_is_one_of_three(desk: Any) -> None:
    answer = await desk.post("/v1/events?level=none", {"topic": "a"})
    assert answer.json()["results"][0]["seq"] is None
    problem(await desk.post("/v1/events?level=maybe", {"topic": "a"}), 400, "bad_request")


@pytest.mark.parametrize(
    ("refusal", "status", "wait"),
    [
        (Overloaded("16384 events wait", retry_after_ms=200, limit=16384), 429, "1"),
        (StorageUnavailable("no space left", retry_after_ms=2500), 503, "3"),
    ],
    ids=["overloaded", "storage_unavailable"],
)
async def test_a_log_that_takes_nothing_now_says_when_to_come_back(
    desk: Any, monkeypatch: pytest.MonkeyPatch, refusal: Any, status: int, wait: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise refusal

    monkeypatch.setattr(desk.bus.log, "put", refuse)
    answer = await desk.post("/v1/events", {"topic": "a"})
    body = problem(answer, status, refusal.code)
    assert answer.headers["retry-after"] == wait
    assert body["retry_after_ms"] == refusal.retry_after_ms
    listed = await desk.post("/v1/events", [{"topic": "a", "id": "x"}])
    (result,) = listed.json()["results"]
    assert (listed.status, result["id"], result["error"]["code"]) == (200, "x", refusal.code)


# --- asking -------------------------------------------------------------------------------


async def test_pages_follow_each_other_both_ways_without_gap_or_overlap(desk: Any) -> None:
    await desk.post("/v1/events", [{"topic": "a.b", "payload": n} for n in range(25)])

    async def walk(query: str, follow: str) -> list[int]:
        seqs: list[int] = []
        page = await desk.get(f"/v1/events?{query}")
        while True:
            seqs += [event["seq"] for event in page["events"]]
            if page["next"] is None:
                return seqs
            page = await desk.get(f"/v1/events?{query}&{follow}={page['next']}")

    assert await walk("limit=10", "after") == list(range(1, 26))
    assert await walk("limit=10&order=desc", "before") == list(range(25, 0, -1))


async def test_a_page_tells_where_to_go_on_from(desk: Any) -> None:
    await desk.post("/v1/events", [{"topic": "a.b"}, {"topic": "c.d"}, {"topic": "a.b"}])
    page = await desk.get("/v1/events?pattern=c.*&pattern=x")
    assert [event["topic"] for event in page["events"]] == ["c.d"]
    assert page["cursor"].endswith(".3")
    assert (await desk.get(f"/v1/events?after={page['cursor']}"))["events"] == []


async def test_a_page_after_what_was_trimmed_is_gone_and_says_from_where_to_where(
    desk: Any,
) -> None:
    for n in range(9):
        await desk.bus.publish_event("a", n)
    await desk.bus._log.trim("a", 6)
    cursor = desk.bus.cursor(2)
    body = problem(await desk.ask("GET", f"/v1/events?after={cursor}"), 410, "gap")
    assert (body["from"], body["to"]) == (3, 6)
    page = await desk.get(f"/v1/events?after={body['cursor']}")
    assert [event["seq"] for event in page["events"]] == [7, 8, 9]


async def test_a_cursor_of_another_history_is_gone(desk: Any) -> None:
    body = problem(await desk.ask("GET", "/v1/events?after=nosuchepoch.5"), 410, "reset")
    assert body["cursor"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "bad_request"),
        ("limit=501", "bad_request"),
        ("order=sideways", "bad_request"),
        ("after=1&order=desc", "bad_request"),
        ("after=%00", "bad_request"),
        ("colour=red", "bad_request"),
        ("since=0001-01-01T00:00:00%2B14:00", "bad_request"),
        ("until=9999-12-31T23:59:59-14:00", "bad_request"),
        ("pattern=a..b", "invalid_pattern"),
        ("pattern=**", "invalid_pattern"),
        ("pattern=wor*er", "invalid_pattern"),
        ("pattern=", "invalid_pattern"),
        ("&".join(f"pattern=a{n}" for n in range(33)), "invalid_pattern"),
    ],
    ids=lambda value: value[:20],
)
async def test_a_bad_query_is_refused_by_its_code(desk: Any, query: str, code: str) -> None:
    problem(await desk.ask("GET", f"/v1/events?{query}"), 400, code)


async def test_every_operation_refuses_parameters_that_it_does_not_know(desk: Any) -> None:
    for operation in desk.gateway._http.operations:
        path = re.sub(r"{[^}]*}", "1", operation.path)
        answer = await desk.ask(operation.method, f"{path}?levle=none", b"{}")
        detail = problem(answer, 400, "bad_request")["detail"]
        assert "unknown parameter levle" in detail
        assert all(parameter.name in detail for parameter in operation.query)


async def test_a_parameter_is_given_twice_only_where_it_is_a_list(desk: Any) -> None:
    event = {"topic": "a"}
    answer = await desk.post("/v1/events?level=none&level=synced", event)
    assert "level is given twice" in problem(answer, 400, "bad_request")["detail"]
    for path in ("events?limit=1&limit=1", "topics?after=a&after=b", "stream?from=now&from=now"):
        problem(await desk.ask("GET", f"/v1/{path}"), 400, "bad_request")
    assert set(desk.bus.log.topics) <= {"_sys.audit.denied"}
    await desk.get("/v1/events?pattern=a&pattern=b")


async def test_events_that_are_not_there_are_not_found(desk: Any) -> None:
    for seq in ("1", "0", "999999"):
        problem(await desk.ask("GET", f"/v1/events/{seq}"), 404, "not_found")
    for seq in ("x", "-1", "9" * 30):
        problem(await desk.ask("GET", f"/v1/events/{seq}"), 400, "bad_request")


async def test_topics_are_listed_with_their_counts(desk: Any) -> None:
    await desk.post("/v1/events", [{"topic": "a.b"}, {"topic": "a.b"}, {"topic": "c"}])
    topics = await desk.get("/v1/topics")
    assert [(topic["name"], topic["count"]) for topic in topics] == [("a.b", 2), ("c", 1)]
    assert [topic["name"] for topic in await desk.get("/v1/topics?pattern=a.*")] == ["a.b"]


# --- actors, workers, the server ----------------------------------------------------------


async def test_a_killed_actor_comes_back(desk: Any, until: Until) -> None:
    def bus_actor(actors: list[dict[str, Any]]) -> dict[str, Any]:
        return next(actor for actor in actors if actor["key"] == "log/bus")

    assert bus_actor(await desk.get("/v1/actors"))["generation"] == 1
    for path in ("/v1/actors/log/bus/kill", "/v1/actors/log%2Fbus/kill"):
        before = desk.system.lookup("log/bus").generation
        assert (await desk.ask("POST", path, b"{}")).status == 204
        await until(lambda before=before: desk.system.lookup("log/bus").generation > before)
    assert bus_actor(await desk.get("/v1/actors"))["restarts"] == 2


async def test_unknown_actors_are_not_found_and_root_is_not_killed(desk: Any) -> None:
    problem(await desk.ask("POST", "/v1/actors/no/such/kill", b"{}"), 404, "not_found")
    for key in ("root", "user"):
        problem(await desk.ask("POST", f"/v1/actors/{key}/kill", b"{}"), 403, "forbidden")


async def test_workers_are_started_listed_and_stopped(desk: Any) -> None:
    started = await desk.post("/v1/workers", {"argv": ["ls"], "name": "w"})
    assert started.status == 201
    assert [worker["id"] for worker in await desk.get("/v1/workers")] == ["w"]
    assert (await desk.ask("DELETE", "/v1/workers/w")).status == 202
    problem(await desk.ask("DELETE", "/v1/workers/w"), 404, "not_found")
    problem(await desk.post("/v1/workers", {"argv": "ls"}), 400, "bad_request")
    problem(await desk.post("/v1/workers", {"argv": []}), 400, "bad_request")


async def test_health_needs_no_token_and_status_does(desk: Any) -> None:
    health = await desk.get("/health", token=None)
    assert (health["status"], health["store"], health["head"]) == ("ok", "ok", 0)
    assert await desk.get("/v1/status") == {"head": 0}
    problem(await desk.ask("GET", "/v1/status", token=None), 401, "unauthorized")


async def test_health_does_not_tell_strangers_what_the_log_says(
    desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = StoreStatus("degraded", "/home/ann/data/log.db: database is locked")
    monkeypatch.setattr(type(desk.bus), "status", told)
    answer = await desk.ask("GET", "/health", token=None)
    assert (answer.status, answer.json()["store"]) == (200, "degraded")
    assert b"log.db" not in answer.body


async def test_shutdown_is_asked_for_after_its_answer(desk: Any, until: Until) -> None:
    assert (await desk.ask("POST", "/v1/shutdown", b"{}")).status == 202
    await until(desk.shut_down.is_set)


async def test_what_is_not_there_and_what_is_not_done_are_problems_too(desk: Any) -> None:
    problem(await desk.ask("GET", "/v1/nothing"), 404, "not_found")
    problem(await desk.ask("GET", "/nothing"), 404, "not_found")


ALLOWED = [
    ("/v1/events", {"GET", "HEAD", "POST"}),
    ("/v1/shutdown", {"POST"}),
    ("/v1/actors/log/bus/kill", {"POST"}),
    ("/v1/tokens/ann", {"DELETE"}),
    ("/health", {"GET", "HEAD"}),
    ("/", {"GET", "HEAD"}),
]


@pytest.mark.parametrize(("path", "allowed"), ALLOWED)
async def test_a_wrong_method_is_told_which_are_there(
    desk: Any, path: str, allowed: set[str]
) -> None:
    for method in {"GET", "POST", "PUT", "DELETE", "OPTIONS", "FOO"} - allowed:
        answer = await desk.ask(method, path)
        problem(answer, 405, "bad_request")
        assert {m.strip() for m in answer.headers["allow"].split(",")} == allowed


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "FOO"])
async def test_where_nothing_is_no_method_is_any_better(desk: Any, method: str) -> None:
    for path in ("/v1/nope", "/v1/events/", "/nope.js"):
        answer = await desk.ask(method, path)
        problem(answer, 404, "not_found")
        assert answer.headers["allow"] is None
    problem(await desk.ask(method, "/v1/nope", token="wrong"), 401, "unauthorized")


async def test_head_is_answered_like_get_without_the_body(desk: Any) -> None:
    answer = await desk.ask("HEAD", "/v1/topics")
    assert (answer.status, answer.body) == (200, b"")


async def test_a_fault_of_the_program_is_a_500_that_shows_nothing(
    desk: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(desk.bus, "topics", lambda *_, **__: fail())
    answer = await desk.ask("GET", "/v1/topics")
    problem(answer, 500, "internal")
    assert b"secret" not in answer.body
    assert "RuntimeError" in caplog.text
    assert desk.token not in caplog.text


# --- tokens and the door ------------------------------------------------------------------

ROUTES = [
    ("GET", "/v1/events"),
    ("POST", "/v1/events"),
    ("GET", "/v1/events/1"),
    ("GET", "/v1/topics"),
    ("GET", "/v1/actors"),
    ("POST", "/v1/actors/log/store/kill"),
    ("GET", "/v1/workers"),
    ("POST", "/v1/workers"),
    ("DELETE", "/v1/workers/w"),
    ("GET", "/v1/status"),
    ("POST", "/v1/shutdown"),
    ("GET", "/v1/nothing"),
]


@pytest.mark.parametrize("token", [None, "wrong", "0123456789"])
async def test_no_route_answers_without_the_token(desk: Any, token: str | None) -> None:
    origin = {"Origin": f"http://127.0.0.1:{desk.port}", "X-Antiphon": "1"}
    for method, path in ROUTES:
        answer = await desk.ask(method, path, b"{}", origin, token=token)
        problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert token is None or token not in answer.body.decode()
    assert not desk.shut_down.is_set()


async def test_foreign_hosts_and_origins_are_turned_away_on_every_route(desk: Any) -> None:
    foreign = [
        {"Host": "evil.example"},
        {"Host": f"evil.example:{desk.port}"},
        {"Host": "127.0.0.1"},
        {"Origin": "http://evil.example"},
        {"Origin": f"http://127.0.0.1:{desk.port + 1}"},
        {"Origin": "null"},
    ]
    for method, path in [*ROUTES, ("GET", "/"), ("GET", "/health"), ("POST", "/v1/login")]:
        for headers in foreign:
            problem(await desk.ask(method, path, b"{}", headers), 403, "forbidden")


async def test_denials_are_written_down_but_not_each(desk: Any, until: Until) -> None:
    for _ in range(5):
        await desk.ask("GET", "/v1/events", headers={"Host": "evil.example"})
    await until(lambda: desk.bus.head > 0)
    page = await desk.get("/v1/events?pattern=_sys.audit.*")
    (event,) = page["events"]
    assert event["topic"] == "_sys.audit.denied"
    assert "evil.example" in event["payload"]["reason"]


async def login(desk: Any) -> dict[str, str]:
    """Headers of the page after its login."""
    origin = {"Origin": f"http://127.0.0.1:{desk.port}"}
    answer = await desk.post("/v1/login", {"token": desk.token}, headers=origin, token=None)
    assert answer.status == 204
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"antiphon_{desk.port}=")
    assert {"httponly", "samesite=strict", "path=/"} <= {
        part.strip().lower() for part in cookie.split(";")
    }
    assert desk.token not in cookie
    return {**origin, "Cookie": cookie.partition(";")[0]}


async def test_the_page_exchanges_the_token_for_a_cookie(desk: Any) -> None:
    page = await login(desk)
    read = {"Cookie": page["Cookie"], "Sec-Fetch-Site": "same-origin"}
    assert (await desk.ask("GET", "/v1/topics", headers=read, token=None)).status == 200
    write = {**page, "X-Antiphon": "1"}
    published = await desk.post("/v1/events", {"topic": "a"}, headers=write, token=None)
    assert published.status == 200
    problem(await desk.post("/v1/login", {"token": "x"}, token=None), 401, "unauthorized")
    problem(await desk.post("/v1/login", {"tok": "x"}, token=None), 400, "bad_request")


async def test_a_cookie_alone_changes_nothing(desk: Any) -> None:
    page = await login(desk)
    event = {"topic": "a"}
    no_header = await desk.post("/v1/events", event, headers=page, token=None)
    problem(no_header, 403, "forbidden")
    no_origin = {"Cookie": page["Cookie"], "X-Antiphon": "1"}
    problem(await desk.post("/v1/events", event, headers=no_origin, token=None), 403, "forbidden")
    other_port = {"Cookie": page["Cookie"], "Sec-Fetch-Site": "same-site"}
    problem(await desk.ask("GET", "/v1/topics", headers=other_port, token=None), 403, "forbidden")
    wrong_token = await desk.ask("GET", "/v1/topics", headers=page, token="wrong")
    problem(wrong_token, 401, "unauthorized")
    assert set(desk.bus.log.topics) <= {"_sys.audit.denied"}


async def test_a_cookie_of_our_name_from_elsewhere_locks_nobody_out(desk: Any) -> None:
    page = await login(desk)
    name, _, value = page["Cookie"].partition("=")
    for cookies in (f"{name}=bad; {name}={value}", f"{name}={value}; {name}=1.x.y"):
        answer = await desk.ask("GET", "/v1/topics", headers={"Cookie": cookies}, token=None)
        assert answer.status == 200
    bad = {"Cookie": f"{name}=bad; {name}=worse"}
    problem(await desk.ask("GET", "/v1/topics", headers=bad, token=None), 401, "unauthorized")


async def test_security_headers_are_on_every_answer(desk: Any) -> None:
    for path in ("/", "/health", "/v1/topics", "/v1/nothing"):
        headers = (await desk.ask("GET", path)).headers
        csp = headers["content-security-policy"]
        for rule in (
            "script-src 'self'",
            "object-src 'none'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
            "connect-src 'self'",
            "style-src 'self' 'unsafe-inline'",
        ):
            assert rule in csp
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers
        assert "access-control-allow-origin" not in headers


# --- the page -----------------------------------------------------------------------------


async def test_a_page_that_is_not_built_says_how_to_build_it(desk: Any) -> None:
    answer = await desk.ask("GET", "/", token=None)
    assert answer.status == 200
    assert b"make web" in answer.body


async def test_the_built_page_is_served_and_nothing_beside_it(desk: Any, tmp_path: Path) -> None:
    web = tmp_path / "web"
    (web / "assets").mkdir(parents=True)
    (web / "index.html").write_text("<h1>hello</h1>")
    (web / "assets" / "app-1a2b.js").write_text("1")
    (tmp_path / "secret").write_text("secret")
    (web / "link").symlink_to(tmp_path / "secret")
    index = await desk.ask("GET", "/", token=None)
    assert index.body == b"<h1>hello</h1>"
    assert index.headers["content-type"].startswith("text/html")
    assert index.headers["cache-control"] == "no-cache"
    script = await desk.ask("GET", "/assets/app-1a2b.js", token=None)
    assert "immutable" in script.headers["cache-control"]
    assert "javascript" in script.headers["content-type"]
    for path in ("/../secret", "/%2e%2e/secret", "/link", "/assets", "/%00", "/a" * 3000):
        answer = await desk.ask("GET", path, token=None)
        assert answer.status == 404, path
        json.loads(answer.body)


# --- schemas ------------------------------------------------------------------------------


async def test_a_schema_is_set_shown_kept_to_and_removed(desk: Any) -> None:
    schema = {"type": "object", "required": ["n"]}
    assert (await desk.ask("PUT", "/v1/schemas/a.%2A", json.dumps(schema))).status == 204
    assert (await desk.ask("GET", "/v1/schemas")).json() == {"a.*": schema}
    refused = await desk.post("/v1/events", {"topic": "a.b", "payload": {}})
    assert "at ''" in problem(refused, 400, "invalid_payload")["detail"]
    async with desk.client() as socket:
        wrong, right = await socket.pub({"topic": "a.b"}, {"topic": "a.b", "payload": {"n": 1}})
    assert wrong["error"]["code"] == "invalid_payload"
    assert "seq" in right
    assert (await desk.ask("DELETE", "/v1/schemas/a.%2A")).status == 204
    problem(await desk.ask("DELETE", "/v1/schemas/a.%2A"), 404, "not_found")
    bad = await desk.ask("PUT", "/v1/schemas/a.b", '{"type": "text"}')
    problem(bad, 400, "invalid_schema")


# --- keeping and forgetting -----------------------------------------------------------------


async def test_retention_tells_each_policy_and_what_it_holds(desk: Any) -> None:
    await desk.post("/v1/events", [{"topic": "chat.a", "payload": n} for n in range(3)])
    found = await desk.get("/v1/retention")
    chat = next(policy for policy in found["policies"] if policy["pattern"] == "chat.*")
    assert (chat["events"], chat["topics"], chat["limits"]) == (3, 1, "90d, hold 1GiB")
    assert found["removed"]["age"] == 0


async def test_forget_removes_for_good_and_says_how_much(desk: Any) -> None:
    await desk.post("/v1/events", [{"topic": "chat.a", "payload": n} for n in range(3)])
    counted = await desk.post("/v1/forget", {"pattern": "chat.*", "dry_run": True})
    assert (counted.status, counted.json()["events"]) == (200, 3)
    done = (await desk.post("/v1/forget", {"pattern": "chat.*"})).json()
    assert (done["events"], done["topics"], done["scrubbed"]) == (3, 1, True)
    assert (await desk.get("/v1/events"))["events"] == []
    audit = await desk.get("/v1/events?pattern=_sys.audit.*")
    assert audit["events"][0]["payload"]["principal"] == "admin"


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        ({}, "bad_request", "either a pattern or an id"),
        ({"pattern": "a", "id": "b"}, "bad_request", "either a pattern or an id"),
        ({"pattern": "**"}, "invalid_pattern", r"\*\*"),
        ({"id": ""}, "invalid_payload", "id"),
        ({"topic": "a"}, "bad_request", "unknown field"),
    ],
)
async def test_what_can_not_be_forgotten_is_refused(
    desk: Any, body: Any, code: str, says: str
) -> None:
    answer = await desk.post("/v1/forget", body)
    assert re.search(says, problem(answer, 400, code)["detail"])


@pytest.mark.parametrize("error", [StoreCorrupt("page 7 is bad"), StoreUnavailable("no disk")])
async def test_a_log_that_cannot_be_read_is_a_503_that_says_why(
    desk: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(desk.bus, "query", fail)
    answer = await desk.ask("GET", "/v1/events")
    assert problem(answer, 503, "storage_unavailable")["detail"] == str(error)


async def test_topics_are_listed_in_pages_by_name(desk: Any) -> None:
    for name in ("c", "a", "b.x", "b.y"):
        await desk.post("/v1/events", {"topic": name, "payload": 1})
    first = await desk.get("/v1/topics?limit=2")
    rest = await desk.get(f"/v1/topics?limit=10&after={first[-1]['name']}")
    assert [topic["name"] for topic in first] == ["a", "b.x"]
    assert [topic["name"] for topic in rest] == ["b.y", "c"]
    assert [t["name"] for t in await desk.get("/v1/topics?pattern=b.*&after=b.x")] == ["b.y"]
