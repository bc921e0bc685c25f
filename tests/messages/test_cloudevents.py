"""Events and CloudEvents, both ways."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.errors import InvalidPayload, InvalidTopic
from antiphon.messages import Event, EventIn
from antiphon.messages.cloudevents import (
    decode_cloudevent,
    encode_cloudevent,
    from_cloudevent,
    to_cloudevent,
    uri_reference,
)

NOON = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
FULL = Event(
    seq=1042,
    id="019a",
    topic="worker.build.progress",
    type="worker_progress",
    source="/workers/build",
    principal="actor:services/workers",
    time=NOON,
    recorded=NOON + timedelta(milliseconds=1),
    payload={"n": [1, 2.5, None, "ü"]},
    correlation_id="run 1",
    causation_id="cause",
    key="k",
    headers={"traceparent": "00-1-2-01", "X Y": "ü"},
)
FOREIGN: dict[str, Any] = {
    "specversion": "1.0",
    "id": "A234-1234-1234",
    "source": "https://github.com/cloudevents/spec/pull",
    "type": "com.github.pull_request.opened",
    "subject": "pulls.123",
}

texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)
events = st.builds(
    Event,
    seq=st.none() | st.integers(1, 2**53),
    id=st.text("abc123-~ ", min_size=1, max_size=64),
    topic=st.just("a.b"),
    type=texts,
    source=texts,
    principal=texts,
    time=st.datetimes(datetime(1, 1, 2), timezones=st.just(UTC)),
    recorded=st.none() | st.just(NOON),
    payload=json_values,
    correlation_id=st.none() | texts,
    causation_id=st.none() | texts,
    key=st.none() | texts,
    headers=st.none() | st.dictionaries(texts, st.text(max_size=5), max_size=3),
)  # fmt: skip


def test_every_field_has_its_attribute() -> None:
    assert to_cloudevent(FULL) == {
        "specversion": "1.0",
        "id": "019a",
        "source": "/workers/build",
        "type": "worker_progress",
        "subject": "worker.build.progress",
        "time": "2026-11-23T12:00:00.123456Z",
        "datacontenttype": "application/json",
        "sequence": "00000000000000001042",
        "recordedtime": "2026-11-23T12:00:00.124456Z",
        "authid": "actor:services/workers",
        "correlationid": "run 1",
        "causationid": "cause",
        "partitionkey": "k",
        "headers": '{"traceparent":"00-1-2-01","X Y":"ü"}',
        "data": {"n": [1, 2.5, None, "ü"]},
    }


@given(event=events)
def test_an_event_comes_back_as_it_was(event: Event) -> None:
    received = decode_cloudevent(encode_cloudevent(event))
    assert received == (
        EventIn(
            topic=event.topic,
            payload=event.payload,
            id=event.id,
            type=event.type,
            source=event.source,
            time=event.time,
            correlation_id=event.correlation_id,
            causation_id=event.causation_id,
            key=event.key,
            headers=event.headers,
        ),
        event.principal,
        event.seq,
    )


@given(event=events)
def test_what_is_written_is_a_cloudevent(event: Event) -> None:
    """Names of a-z and 0-9, values of simple types, required ones never empty."""
    written = msgspec.json.decode(encode_cloudevent(event))
    assert all(name.isalnum() and name.islower() and name.isascii() for name in written)
    assert all(isinstance(value, str) for name, value in written.items() if name != "data")
    assert all(written[name] for name in ("id", "source", "type", "specversion"))
    assert uri_reference(written["source"]) == written["source"]
    assert "data" in written


@pytest.mark.parametrize(
    ("source", "written"),
    [
        ("/workers/build", "/workers/build"),
        ("https://a.b/c?d=e#f", "https://a.b/c?d=e#f"),
        ("my source", "my%20source"),
        ("50%", "50%25"),
        ("%41", "%41"),
        ("ü", "%C3%BC"),
        ("<a>", "%3Ca%3E"),
    ],
)
def test_a_source_becomes_a_uri_reference(source: str, written: str) -> None:
    assert uri_reference(source) == written


def test_another_programs_event_keeps_all_it_says() -> None:
    more = {"traceparent": "00-1", "mynumber": 7, "mybool": True, "nothing": None}
    kind = {"datacontenttype": "text/plain", "data": "hello", "sequence": "#5"}
    event, principal, seq = from_cloudevent({**FOREIGN, **more, **kind})
    assert (event.topic, event.payload, event.time) == ("pulls.123", "hello", None)
    assert event.headers == {
        "traceparent": "00-1",
        "mynumber": "7",
        "mybool": "true",
        "datacontenttype": "text/plain",
    }
    assert (principal, seq) == (None, None)


def test_no_data_is_null() -> None:
    event, _, _ = from_cloudevent({**FOREIGN, "datacontenttype": "application/json; charset=utf-8"})
    assert event.payload is None
    assert event.headers is None


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"specversion": "0.3"}, InvalidPayload, "specversion must be 1.0, got 0.3"),
        ({"specversion": None}, InvalidPayload, "specversion must be 1.0, got None"),
        ({"subject": None}, InvalidTopic, "no subject"),
        ({"id": None}, InvalidPayload, "id is missing"),
        ({"id": ""}, InvalidPayload, "id is no string, or empty"),
        ({"id": 7}, InvalidPayload, "id is no string"),
        ({"type": None}, InvalidPayload, "type is missing"),
        ({"source": None}, InvalidPayload, "source is missing"),
        ({"time": "noon"}, InvalidPayload, "time is no RFC 3339 time: noon"),
        ({"data_base64": "AA=="}, InvalidPayload, "data_base64 can't be kept"),
        ({"headers": "[1]"}, InvalidPayload, "headers must hold a JSON object"),
        ({"headers": '{"a":1}'}, InvalidPayload, "headers must hold a JSON object"),
        ({"mylist": [1]}, InvalidPayload, "mylist must be a string"),
        ({"My-Name": "x"}, InvalidPayload, "a-z and 0-9, got My-Name"),
        ({"partitionkey": 7}, InvalidPayload, "partitionkey is no string"),
    ],
)
def test_what_is_no_cloudevent_is_refused_by_its_rule(
    change: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        from_cloudevent({**FOREIGN, **change})


@pytest.mark.parametrize("data", [b"", b"[]", b"nope", b"\xff{}", b'{"id":' + b"[" * 100_000])
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidPayload):
        decode_cloudevent(data)
