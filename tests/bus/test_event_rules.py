"""What an event may contain, in process and as bytes from outside."""

from __future__ import annotations

import json
import math
import sys
from collections import OrderedDict
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.bus.access import ADMIN, SYSTEM
from antiphon.bus.event_rules import (
    EVENT_BYTES,
    check_event,
    check_fields,
    decode_event,
    decode_publish,
    to_utc,
)
from antiphon.errors import (
    BadRequest,
    BusError,
    Forbidden,
    InvalidPayload,
    InvalidTopic,
    PayloadTooLarge,
)
from antiphon.messages import EventIn, EventType
from antiphon.messages.payload import DEPTH, HARD_EVENT_BYTES, MAX_INT, check_payload

FAR = 100_000

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_INT, MAX_INT)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


def nested(depth: int) -> Any:
    """*depth* lists inside each other."""
    payload: list[Any] = []
    for _ in range(depth - 1):
        payload = [payload]
    return payload


# --- payloads -----------------------------------------------------------------------------


@given(json_values)
def test_any_json_passes_and_reads_back_equal(payload: Any) -> None:
    """For Python's own reader too, so the text is JSON to everybody."""
    data = check_payload(payload)
    assert msgspec.json.decode(data) == payload
    assert json.loads(data) == payload


@pytest.mark.parametrize(
    "payload",
    [
        math.nan,
        math.inf,
        [-math.inf],
        {"a": math.nan},
        MAX_INT + 1,
        [-MAX_INT - 1],
        {"a": 10**5000},
        "\ud800",
        ["a\udfffb"],
        {"\ud800": 1},
        {"a": {"b": ["\udc00"]}},
        {1: "a"},
        {"a": {None: 1}},
        b"bytes",
        (1, 2),
        {1, 2},
        datetime(2026, 1, 1, tzinfo=UTC),
        msgspec.Raw(b"{broken"),
        EventIn(topic="a"),
        [EventType.CHAT_MESSAGE],
        {EventType.CHAT_MESSAGE: 1},
        OrderedDict(a=1),
        object(),
    ],
    ids=lambda value: f"{type(value).__name__}",
)
def test_what_is_not_exactly_json_is_refused(payload: Any) -> None:
    for wrapped in (payload, [payload], {"k": payload}, [[{"k": [1, payload]}]]):
        with pytest.raises(InvalidPayload) as caught:
            check_payload(wrapped)
        assert caught.value.code == "invalid_payload"
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize("payload", [MAX_INT, -MAX_INT, 0.0, -0.0, 1e308, 5e-324, True, None, ""])
def test_the_edges_pass(payload: Any) -> None:
    data = check_payload({"a": payload})
    assert msgspec.json.decode(data) == {"a": payload}


def test_nesting_is_allowed_to_64_and_refused_beyond_without_crashing() -> None:
    check_payload(nested(DEPTH))
    for depth in (DEPTH + 1, sys.getrecursionlimit() * 2, FAR):
        with pytest.raises(InvalidPayload, match="64") as caught:
            check_payload(nested(depth))
        assert caught.value.limit == DEPTH


def test_a_payload_that_contains_itself_is_refused() -> None:
    cycle: list[Any] = []
    cycle += [cycle, cycle]
    with pytest.raises(InvalidPayload, match="nested deeper"):
        check_payload(cycle)


def test_a_small_object_that_writes_out_huge_is_refused_early() -> None:
    bomb: Any = "x" * 1000
    for _ in range(10):
        bomb = [bomb] * 1000
    with pytest.raises(PayloadTooLarge):
        check_payload(bomb)


def test_size_is_counted_as_written() -> None:
    """In bytes of UTF-8, escapes included."""
    assert len(check_payload("é" * 99, limit=200)) == 200
    for payload in ("é" * 100, "\n" * 100, ["é" * 99], {"é" * 99: 1}):
        with pytest.raises(PayloadTooLarge) as caught:
            check_payload(payload, limit=200)
        assert caught.value.limit == 200
    with pytest.raises(PayloadTooLarge):
        check_payload("x" * HARD_EVENT_BYTES)


# --- fields -------------------------------------------------------------------------------


@pytest.mark.parametrize("given_id", ["a", "x" * 64, "~!@#%^&*()", "019a-b c"])
def test_an_id_is_1_to_64_printable_ascii_characters(given_id: str) -> None:
    check_fields(id=given_id)


@pytest.mark.parametrize("given_id", ["", "x" * 65, "é", "a\n", "\x7f", "\x1f", "\ud800", 5])
def test_other_ids_are_refused(given_id: Any) -> None:
    with pytest.raises(InvalidPayload, match="id is 1 to 64"):
        check_fields(id=given_id)


@pytest.mark.parametrize("field", ["type", "source", "correlation_id", "causation_id", "key"])
def test_texts_have_no_control_characters_and_200_bytes_at_most(field: str) -> None:
    for good in ("a", "é" * 100, "x" * 200, "custom.a b", "/workers/build?x=1#y"):
        check_fields(**{field: good})
    for bad in (
        "",
        "é" * 101,
        "x" * 201,
        "a\nb",
        "\x00",
        "\x7f",
        "\x85",
        "\ud800",
        5,
        b"x",
        [],
        {},
    ):
        for _ in range(2):  # nothing refused is remembered as good
            with pytest.raises(InvalidPayload, match=field):
                check_fields(**{field: bad})


def test_headers_are_16_short_texts_of_2_kib_at_most() -> None:
    check_fields(headers={})
    check_fields(headers={f"h{i}": "" for i in range(16)})
    check_fields(headers={f"{i:0128}": "" for i in range(16)})
    for bad in (
        {f"h{i}": "" for i in range(17)},
        {f"{i:0129}": "" for i in range(16)},
        {"a": "x" * 201},
        {"x" * 201: "a"},
        {"": "a"},
        {"a\n": "a"},
        {"a": "a\r\nb"},
        {"a": "\ud800"},
        {"a": 1},
        {1: "a"},
        [("a", "b")],
    ):
        with pytest.raises(InvalidPayload, match="header"):
            check_fields(headers=bad)  # type: ignore[arg-type]


def test_time_becomes_utc() -> None:
    local = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    assert to_utc(local) == local
    assert to_utc(local).isoformat() == "2026-11-23T10:00:00.123456+00:00"


@pytest.mark.parametrize(
    "time",
    [
        datetime(2026, 1, 1),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
        "2026-01-01T00:00:00Z",
    ],
)
def test_a_time_that_has_no_place_in_utc_is_refused(time: Any) -> None:
    with pytest.raises(InvalidPayload, match="time"):
        to_utc(time)


def test_check_event_checks_everything_and_returns_the_payload() -> None:
    good = EventIn(topic="a.b", payload={"n": 1})
    assert check_event(good, ADMIN) == b'{"n":1}'
    replace = msgspec.structs.replace
    for bad, refusal in (
        (replace(good, topic="a..b"), InvalidTopic),
        (replace(good, topic="_sys.a"), Forbidden),
        (replace(good, id=""), InvalidPayload),
        (replace(good, type="\n"), InvalidPayload),
        (replace(good, headers={"a": "\n"}), InvalidPayload),
        (replace(good, time=datetime(2026, 1, 1)), InvalidPayload),
        (replace(good, payload=math.nan), InvalidPayload),
        (replace(good, payload="x" * EVENT_BYTES), PayloadTooLarge),
    ):
        with pytest.raises(refusal):
            check_event(bad, ADMIN)
    assert check_event(replace(good, topic="_sys.a"), SYSTEM) == b'{"n":1}'


# --- bytes from outside -------------------------------------------------------------------


def test_one_event_or_a_list_is_read() -> None:
    assert decode_publish(b'{"topic":"a"}') == EventIn(topic="a")
    assert decode_publish(b' \n{"topic":"a","payload":[1]}') == EventIn(topic="a", payload=[1])
    assert decode_publish(b" []") == []
    assert decode_publish(b'[{"topic":"a"},{"topic":"b","id":"x"}]') == [
        EventIn(topic="a"),
        EventIn(topic="b", id="x"),
    ]


MALFORMED = {
    "NaN": b"NaN",
    "-Infinity": b"-Infinity",
    "1e400": b"1e400",
    "-1e400": b"-1e400",
    "5,000 digits": b"1" * 5000,
    "400 digits and a fraction": b"1" * 400 + b".5",
    "high surrogate": b'"\\ud800"',
    "low surrogate": b'"a\\udc00b"',
    "surrogate key": b'{"\\ud800":1}',
    "surrogate in UTF-8": b'"\xed\xa0\x80"',
    "no UTF-8": b'"\xff"',
    "control character": b'"\x01"',
    "single quotes": b"'a'",
    "trailing comma": b"[1,]",
    "leading zero": b"01",
    "deep list": b"[" * FAR + b"]" * FAR,
    "deep object": b'{"a":' * FAR + b"1" + b"}" * FAR,
    "deep and open": b"[" * FAR,
    "cut short": b'{"a":',
    "empty": b"",
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_bytes_that_are_no_json_are_refused_by_code(text: bytes) -> None:
    """Alone, in a list, and whatever the depth: never a crash, never a silent change."""
    body = b'{"topic":"a","payload":' + text + b"}"
    with pytest.raises(InvalidPayload) as caught:
        decode_event(body)
    assert len(str(caught.value)) < 300
    with pytest.raises((InvalidPayload, BadRequest)):
        decode_publish(text)
    try:
        results = decode_publish(b'[{"topic":"b"},' + body + b"]")
    except InvalidPayload:
        return  # the list as such could not be read
    assert isinstance(results, list)
    assert results[0] == EventIn(topic="b")
    assert isinstance(results[1], InvalidPayload)


@pytest.mark.parametrize("digits", ["9007199254740992", "9" * 20, "9" * 400, "-" + "9" * 30])
def test_integers_that_decode_but_are_too_large_are_refused_by_the_check(digits: str) -> None:
    """They are never turned into floats on the way."""
    event = decode_event(b'{"topic":"a","payload":' + digits.encode() + b"}")
    assert event.payload == int(digits)
    with pytest.raises(InvalidPayload, match="integer"):
        check_event(event, ADMIN)


def test_depth_between_the_limit_and_the_stack_is_refused_by_the_check() -> None:
    event = decode_event(b'{"topic":"a","payload":' + b"[" * 65 + b"]" * 65 + b"}")
    with pytest.raises(InvalidPayload, match="64"):
        check_event(event, ADMIN)


def test_of_a_repeated_name_the_last_counts_and_only_that_is_kept() -> None:
    event = decode_event(b'{"topic":"a","topic":"b","payload":{"x":1,"x":2}}')
    assert event.topic == "b"
    assert check_event(event, ADMIN) == b'{"x":2}'


@pytest.mark.parametrize(
    ("body", "refusal", "text"),
    [
        (b"{}", BadRequest, "topic"),
        (b'{"topic":"a","seq":5}', BadRequest, "seq"),
        (b'{"topic":"a","principal":"root"}', BadRequest, "principal"),
        (b'{"topic":5}', InvalidTopic, "topic"),
        (b'{"topic":"a","id":5}', BadRequest, "id"),
        (b'{"topic":"a","time":"yesterday"}', BadRequest, "time"),
        (b'{"topic":"a","headers":{"a":1}}', BadRequest, "headers"),
        (b'"a"', BadRequest, "object"),
        (b"5", BadRequest, "object"),
        (b"null", BadRequest, "object"),
    ],
)
def test_a_misfit_is_refused_naming_the_field(
    body: bytes, refusal: type[BusError], text: str
) -> None:
    with pytest.raises(refusal, match=text):
        decode_event(body)
    [result] = decode_publish(b"[" + body + b"]")  # type: ignore[misc]
    assert isinstance(result, refusal)


@given(st.binary(max_size=60))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    try:
        decode_publish(data)
    except BusError:
        return


@given(json_values)
def test_what_was_checked_is_what_bytes_become(payload: Any) -> None:
    data = check_payload(payload)
    event = decode_event(b'{"topic":"a","payload":' + data + b"}")
    assert check_event(event, ADMIN) == data
