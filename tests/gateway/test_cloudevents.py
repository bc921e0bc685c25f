"""CloudEvents in and out in their three modes, by the foreign ``cloudevents`` package too."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings import http
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from antiphon.gateway.cloudevents import (
    BATCHED,
    JSON,
    STRUCTURED,
    Mode,
    as_binary,
    mode_of,
    preferred,
    read_cloudevents,
)
from antiphon.messages import EventIn

PLAIN = {"specversion": "1.0", "id": "a1", "source": "/s", "type": "t.x", "subject": "build.done"}
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40)


def foreign(**attributes: Any) -> CloudEvent:
    time = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
    return CloudEvent(
        {**PLAIN, "time": time, "datacontenttype": "application/json", **attributes},
        {"ok": True, "n": [1, 2.5, None, "ü"]},
    )


def problem(answer: Any, status: int, code: str) -> str:
    body = answer.json()
    assert (answer.status, body["code"]) == (status, code), body
    return str(body["detail"])


# --- a foreign client -------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["binary", "structured", "batched"])
async def test_a_foreign_client_sends_in_each_mode_and_reads_what_comes_out(
    desk: Any, mode: str
) -> None:
    sent = foreign(source="/é & %", correlationid="job 7", partitionkey='k"ey', colour="blue")
    if mode == "batched":
        one = json.loads(http.to_structured_event(sent).body)
        message = http.HTTPMessage({"content-type": BATCHED}, json.dumps([one]).encode())
    elif mode == "structured":
        message = http.to_structured_event(sent)
    else:
        message = http.to_binary_event(sent)
    answer = await desk.ask(
        "POST", "/v1/events", message.body, {"Content-Type": "", **message.headers}
    )
    assert answer.status == 200, answer.body
    assert answer.json()["results"][0]["seq"] == 1

    event = await desk.get("/v1/events/1")
    assert (event["topic"], event["id"], event["type"]) == ("build.done", "a1", "t.x")
    assert (event["source"], event["key"]) == ("/é & %", 'k"ey')
    assert (event["correlation_id"], event["headers"]) == ("job 7", {"colour": "blue"})
    assert event["payload"] == {"ok": True, "n": [1, 2.5, None, "ü"]}

    for came in await _all_forms(desk, 1):
        assert (came.get_id(), came.get_type(), came.get_subject()) == ("a1", "t.x", "build.done")
        assert came.get_data() == sent.get_data()
        assert came.get_time() == sent.get_time()
        assert came.get_extension("correlationid") == "job 7"
        assert came.get_extension("sourcetext") == "/é & %"
        assert came.get_extension("sequence") == f"{1:020d}"


async def _all_forms(desk: Any, seq: int) -> list[Any]:
    """The event as the foreign package reads it: structured, binary, batched."""
    structured = await desk.ask("GET", f"/v1/events/{seq}", headers={"Accept": STRUCTURED})
    assert structured.headers["content-type"] == STRUCTURED
    binary = await desk.ask("GET", f"/v1/events/{seq}/payload")
    headers = {name.lower(): value for name, value in binary.headers.items()}
    assert headers["content-type"] == JSON
    batch = await desk.ask("GET", "/v1/events", headers={"Accept": BATCHED})
    assert batch.headers["content-type"] == BATCHED
    (one,) = batch.json()
    return [
        http.from_http_event(http.HTTPMessage({"content-type": STRUCTURED}, structured.body)),
        http.from_http_event(http.HTTPMessage(headers, binary.body)),
        JSONFormat().read(None, json.dumps(one)),
    ]


async def test_a_batch_has_a_result_for_each_and_is_no_transaction(desk: Any) -> None:
    bad = {**PLAIN, "id": "a2", "subject": None}
    text = json.dumps([PLAIN, bad, {**PLAIN, "id": "a3", "data": 1}, 7])
    text = text[:-1] + ', {"specversion":"1.0","data":NaN}]'
    answer = await desk.ask("POST", "/v1/events", text, {"Content-Type": BATCHED})
    results = answer.json()["results"]
    assert [result.get("seq") for result in results] == [1, None, 2, None, None]
    codes = [results[at]["error"]["code"] for at in (1, 3, 4)]
    assert codes == ["invalid_topic", "invalid_payload", "invalid_payload"]


async def test_a_batch_is_a_list_and_nothing_else(desk: Any) -> None:
    one = '{"specversion":"1.0","id":"i","source":"s","type":"t","subject":"a"}'
    for body in (one, f"{{{one},{one}}}"):
        answer = await desk.ask("POST", "/v1/events", body, headers={"Content-Type": BATCHED})
        assert answer.status == 400
        assert answer.json()["code"] == "invalid_payload"
    assert desk.bus.head == 0


async def test_pages_of_batches_follow_each_other_by_their_link(desk: Any) -> None:
    for n in range(5):
        await desk.post("/v1/events", {"topic": "a.b", "payload": n})
    for query, wanted in (("limit=2", [0, 1, 2, 3, 4]), ("order=desc&limit=2", [4, 3, 2, 1, 0])):
        path: str | None = f"/v1/events?pattern=a.*&{query}"
        seen: list[int] = []
        while path is not None:
            answer = await desk.ask("GET", path, headers={"Accept": BATCHED})
            seen += [event["data"] for event in answer.json()]
            assert re.search(r"\.\d+$", answer.headers["x-antiphon-cursor"])
            link = answer.headers["link"]
            path = None if link is None else link[1 : link.index(">")]
        assert seen == wanted


async def test_data_may_be_of_any_json_content_type_and_may_be_absent(desk: Any) -> None:
    headers = {f"ce-{name}": value for name, value in PLAIN.items()}
    kind = {"Content-Type": "application/vnd.build+json; charset=utf-8"}
    assert (await desk.ask("POST", "/v1/events", '"x"', {**headers, **kind})).status == 200
    without = {**headers, "ce-id": "a2", "Content-Type": ""}
    assert (await desk.ask("POST", "/v1/events", None, without)).status == 200
    first, second = (await desk.get("/v1/events"))["events"]
    assert first["payload"] == "x"
    assert first["headers"] == {"datacontenttype": kind["Content-Type"]}
    assert (second["payload"], "headers" in second) == (None, False)


@pytest.mark.parametrize(
    ("headers", "body", "code", "said"),
    [
        ({"ce-id": ""}, "1", "invalid_payload", "id is missing"),
        ({"ce-specversion": "0.3"}, "1", "invalid_payload", "specversion must be 1.0"),
        ({"ce-subject": ""}, "1", "invalid_topic", "no subject"),
        ({"ce-time": "yesterday"}, "1", "invalid_payload", "time is no RFC 3339 time"),
        ({"ce-type": "%ff"}, "1", "invalid_payload", "ce-type is not UTF-8"),
        ({"ce-data": "1"}, "1", "invalid_payload", "data has no header"),
        ({"ce-datacontenttype": "a/b"}, "1", "invalid_payload", "datacontenttype has no header"),
        ({"ce-my-own": "1"}, "1", "invalid_payload", "my-own"),
        ({"CE-Id": "x"}, "1", "invalid_payload", "ce-id is given twice"),
        ({}, "{", "invalid_payload", "data is no JSON"),
        ({"Content-Type": "text/plain"}, "x", "bad_request", "text/plain"),
        ({"Content-Type": "application/cloudevents+avro"}, "x", "bad_request", "cloudevents+avro"),
        ({"Content-Type": STRUCTURED}, "[]", "invalid_payload", "no JSON object"),
        ({"Content-Type": STRUCTURED}, '{"data_base64":"AA=="}', "invalid_payload", "specversion"),
        ({"Content-Type": BATCHED}, "{}", "invalid_payload", "array"),
        ({"Content-Type": BATCHED}, "[]", "bad_request", "1 to 1000 events"),
    ],
)
async def test_what_is_no_cloudevent_is_refused_by_a_code_that_names_the_attribute(
    desk: Any, headers: dict[str, str], body: str, code: str, said: str
) -> None:
    good = {f"ce-{name}": value for name, value in PLAIN.items()}
    answer = await desk.ask("POST", "/v1/events", body, {**good, **headers})
    assert said in problem(answer, 400, code)
    assert desk.bus.head == 0


@pytest.mark.parametrize("kind", [STRUCTURED, BATCHED, "application/json"])
async def test_a_cookie_needs_the_header_for_cloudevents_too(desk: Any, kind: str) -> None:
    login = await desk.post("/v1/login", {"token": desk.token}, token=None)
    cookie = login.headers["set-cookie"].partition(";")[0]
    headers = {"Cookie": cookie, "Origin": f"http://127.0.0.1:{desk.port}", "Content-Type": kind}
    headers |= {f"ce-{name}": value for name, value in PLAIN.items()}
    body = json.dumps([PLAIN] if kind == BATCHED else PLAIN)
    problem(await desk.ask("POST", "/v1/events", body, headers, token=None), 403, "forbidden")
    assert (await desk.get("/v1/events"))["events"] == []
    headers["X-Antiphon"] = "1"
    assert (await desk.ask("POST", "/v1/events", body, headers, token=None)).status == 200
    assert len((await desk.get("/v1/events"))["events"]) == 1


# --- pure -------------------------------------------------------------------------------


@given(source=TEXT, key=TEXT, value=TEXT)
def test_what_goes_out_in_headers_comes_in_as_it_was(source: str, key: str, value: str) -> None:
    event = {
        "seq": 3,
        "id": "i",
        "topic": "a.b",
        "type": "t",
        "source": source,
        "principal": "p",
        "time": "2026-11-23T10:00:00Z",
        "recorded": "2026-11-23T10:00:01Z",
        "key": key,
        "payload": {"v": value},
        "headers": {"x": value},
    }
    headers, body = as_binary(json.dumps(event).encode())
    assert all(re.fullmatch(r"[!-~ ]*", text) for text in headers.values())
    raw = [(name.encode(), text.encode()) for name, text in headers.items()]
    assert mode_of(raw) is Mode.BINARY
    read = read_cloudevents(Mode.BINARY, raw, body)
    assert isinstance(read, EventIn)
    assert (read.topic, read.source, read.key) == ("a.b", source, key)
    assert (read.payload, read.headers) == ({"v": value}, {"x": value})


def test_a_header_may_be_a_quoted_string_as_older_writers_made_it() -> None:
    raw = [(f"ce-{name}".encode(), value.encode()) for name, value in PLAIN.items()]
    raw += [(b"ce-colour", rb'"Euro \"sign\" %E2%82%AC"'), (b"ce-twice", b"%2541")]
    read = read_cloudevents(Mode.BINARY, raw, b"")
    assert isinstance(read, EventIn)
    assert read.headers == {"colour": 'Euro "sign" €', "twice": "%41"}


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("text/html", JSON),
        (STRUCTURED, STRUCTURED),
        (f"{STRUCTURED};q=0.5, {JSON};q=0.4", STRUCTURED),
        (f"*/*, {STRUCTURED};q=0.5", JSON),
        (f"{JSON};q=0, */*;q=0.1", STRUCTURED),
        (f"{STRUCTURED};q=x", JSON),
        (f"{BATCHED.upper()} ; q=1", BATCHED),
    ],
)
def test_the_form_that_is_asked_for_most_is_given(accept: str, form: str) -> None:
    assert preferred(accept, (JSON, STRUCTURED, BATCHED)) == form
