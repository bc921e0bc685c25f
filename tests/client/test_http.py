"""The HTTP client: what it sends, what it gives back, and the errors it raises."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from tests.client.servers import http_server

from antiphon.client import Endpoint, HttpClient, NoServer
from antiphon.errors import (
    BadRequest,
    BusError,
    IdConflict,
    InvalidTopic,
    Overloaded,
    SubscriptionGap,
    Unauthorized,
)
from antiphon.messages import EventIn, Published, Refused, WorkerStart


def problem(status: int, code: str, **more: Any) -> tuple[int, dict[str, Any]]:
    return status, {
        "type": "about:blank", "title": code, "status": status, "code": code, "detail": code, **more
    }  # fmt: skip


def test_publish_sends_the_payload_and_gives_the_position() -> None:
    seen: list[tuple[str, str, Any, str | None]] = []

    def answer(method: str, path: str, body: bytes, headers: dict[str, str]) -> Any:
        seen.append((method, path, json.loads(body), headers.get("Authorization")))
        return 200, {"results": [{"id": "x", "seq": 7, "cursor": "e.7"}]}

    with http_server(answer) as url, HttpClient(Endpoint(url, "secret")) as client:
        published = client.publish(EventIn(topic="a.b", payload={"n": 1}), level="none")
    assert published == Published(id="x", seq=7, cursor="e.7")
    assert seen == [
        ("POST", "/v1/events?level=none", {"topic": "a.b", "payload": {"n": 1}}, "Bearer secret")
    ]


def test_a_refused_event_raises_the_error_of_its_code() -> None:
    def answer(method: str, path: str, body: bytes, headers: dict[str, str]) -> Any:
        fault = {"code": "id_conflict", "message": "other content"}
        return 200, {"results": [{"id": "x", "error": fault}]}

    with (
        http_server(answer) as url,
        HttpClient(Endpoint(url)) as client,
        pytest.raises(IdConflict, match="other content"),
    ):
        client.publish(EventIn(topic="a"))


def test_of_many_events_each_has_its_own_result() -> None:
    def answer(method: str, path: str, body: bytes, headers: dict[str, str]) -> Any:
        fault = {"code": "invalid_topic", "message": "no"}
        return 200, {"results": [{"id": "x", "seq": 1}, {"id": None, "error": fault}]}

    with http_server(answer) as url, HttpClient(Endpoint(url)) as client:
        nan = EventIn(topic="a", payload=float("nan"))
        first, bad, second = client.publish_many([EventIn(topic="a"), nan, EventIn(topic="..")])
        assert isinstance(bad, Refused)
        assert bad.error.code == "invalid_payload"
    assert isinstance(first, Published)
    assert isinstance(second, Refused)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (problem(400, "invalid_topic", value="a..b"), InvalidTopic),
        (problem(401, "unauthorized"), Unauthorized),
        (problem(429, "overloaded", retry_after_ms=250), Overloaded),
        (problem(410, "gap", **{"from": 3, "to": 9, "cursor": "e.9"}), SubscriptionGap),
        (problem(418, "something_new"), BusError),
        ((502, b"<html>proxy</html>"), BusError),
    ],
)
def test_every_refusal_is_the_error_of_its_code(
    reply: tuple[int, Any], kind: type[BusError]
) -> None:
    with (
        http_server(lambda *_: reply) as url,
        HttpClient(Endpoint(url)) as client,
        pytest.raises(kind) as caught,
    ):
        client.topics()
    if isinstance(reply[1], dict):
        assert caught.value.code == reply[1]["code"]


def test_what_an_error_tells_is_kept_as_attributes() -> None:
    replies = iter(
        [
            problem(429, "overloaded", retry_after_ms=250),
            problem(410, "gap", **{"from": 3, "to": 9, "cursor": "e.9"}),
        ]
    )
    with http_server(lambda *_: next(replies)) as url, HttpClient(Endpoint(url)) as client:
        with pytest.raises(Overloaded) as overloaded:
            client.topics()
        with pytest.raises(SubscriptionGap) as gap:
            client.query()
    assert overloaded.value.retry_after_ms == 250
    assert (gap.value.first, gap.value.last, gap.value.cursor) == (3, 9, "e.9")


def test_a_query_keeps_events_byte_for_byte_and_goes_on_page_by_page() -> None:
    asked: list[list[tuple[str, str]]] = []

    def answer(method: str, path: str, body: bytes, headers: dict[str, str]) -> Any:
        asked.append(parse_qsl(urlsplit(path).query))
        if len(asked) == 1:
            return (
                200,
                b'{"events":[{"seq":1, "payload":1.0},{"seq":2}],"cursor":"e.2","next":"e.2"}',
            )
        return 200, b'{"events":[],"cursor":"e.9","next":null}'

    with http_server(answer) as url, HttpClient(Endpoint(url)) as client:
        pages = list(client.pages(["a.*", "b"], type="x y", limit=2))
    assert [page.events for page in pages] == [[b'{"seq":1, "payload":1.0}', b'{"seq":2}'], []]
    assert asked[0] == [("pattern", "a.*"), ("pattern", "b"), ("type", "x y"), ("limit", "2")]
    assert ("after", "e.2") in asked[1]


def test_nobody_at_the_address_is_no_server() -> None:
    with http_server(lambda *_: (200, [])) as url:
        pass
    with HttpClient(Endpoint(url)) as client, pytest.raises(NoServer) as caught:
        client.topics()
    assert not caught.value.sent


def test_a_connection_lost_before_the_answer_leaves_the_outcome_unknown() -> None:
    with (
        http_server(lambda *_: (0, None)) as url,
        HttpClient(Endpoint(url)) as client,
        pytest.raises(NoServer) as caught,
    ):
        client.publish(EventIn(topic="a"))
    assert caught.value.sent


def test_a_read_is_repeated_when_the_idle_connection_was_closed() -> None:
    replies: list[tuple[int, Any]] = [(200, []), (0, None), (200, [])]
    with http_server(lambda *_: replies.pop(0)) as url, HttpClient(Endpoint(url)) as client:
        assert client.topics() == []
        assert client.topics() == []
    assert replies == []


def test_a_worker_is_started_as_asked() -> None:
    def answer(method: str, path: str, body: bytes, headers: dict[str, str]) -> Any:
        assert (method, path) == ("POST", "/v1/workers")
        argv = json.loads(body)["argv"]
        worker = {"id": "w", "run": "r", "argv": argv, "cwd": "/", "restart": "never"}
        return 201, {**worker, "state": "starting"}

    with http_server(answer) as url, HttpClient(Endpoint(url)) as client:
        assert client.start_worker(WorkerStart(argv=["true"])).argv == ["true"]


@pytest.mark.parametrize("url", ["", "foo", "ftp://x", "http://", "http://h:99999", "http://[::1"])
def test_what_is_no_address_is_refused_at_once(url: str) -> None:
    with pytest.raises(BadRequest):
        Endpoint(url)


def test_a_token_that_could_break_a_header_is_refused() -> None:
    with pytest.raises(BadRequest):
        Endpoint("http://h", "a\r\nb")


def test_a_token_is_not_shown_with_its_endpoint() -> None:
    assert "secret" not in repr(Endpoint("http://h:1", "secret"))
