"""What an event may contain: every field's rule, and safe reading of bytes from outside.

Pure. What passes here can be stored. Topic grammar is ``topics.py``, who may publish
``access.py``, what a payload may hold ``messages/payload.py``.

Promises: docs/semantics/topics.md#events.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import msgspec

from antiphon.bus.access import Principal
from antiphon.bus.parts import has_lone_surrogate, parts
from antiphon.bus.topics import check_topic
from antiphon.errors import (
    BadRequest,
    BusError,
    Forbidden,
    InvalidPayload,
    InvalidTopic,
)
from antiphon.messages import EventIn
from antiphon.messages.payload import DEPTH, check_payload

EVENT_BYTES = 256 * 1024
"""Most bytes of an event's JSON, as it is stored."""
BODY_BYTES = EVENT_BYTES - len('{"seq":9007199254740991,"recorded":"2026-11-23T12:00:00.000000Z",')
"""Most bytes of what a publisher says of it: the rest is for what the writer adds."""
ID_CHARS = 64
TEXT_BYTES = 200
HEADERS = 16
HEADERS_BYTES = 2048
KNOWN_TEXTS = 4096
"""Types and sources remembered as good."""


class _Identified(msgspec.Struct):
    id: str


_decode_event = msgspec.json.Decoder(EventIn).decode
_decode_id = msgspec.json.Decoder(_Identified).decode
_decode_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_ID = re.compile(rf"[ -~]{{1,{ID_CHARS}}}")
_known: set[str] = set()


def may_not_publish(principal: Principal, topic: str) -> Forbidden:
    """The refusal of a publish to *topic*, with the rule."""
    why = principal.access.why_not_publish(topic)
    return Forbidden(f"{principal.name} may not publish to {topic}: {why}", value=topic)


# --- fields -----------------------------------------------------------------------------


def check_event(event: EventIn, principal: Principal, *, limit: int = EVENT_BYTES) -> bytes:
    """Check everything about *event* and return its payload as JSON, of *limit* bytes at most.

    Raises:
        InvalidTopic, Forbidden, InvalidPayload, PayloadTooLarge: By the rule it breaks.
    """
    check_topic(event.topic)
    if not principal.access.may_publish(event.topic):
        raise may_not_publish(principal, event.topic)
    check_fields(
        id=event.id,
        type=event.type,
        source=event.source,
        correlation_id=event.correlation_id,
        causation_id=event.causation_id,
        key=event.key,
        headers=event.headers,
    )
    if event.time is not None:
        to_utc(event.time)
    return check_payload(event.payload, limit=limit)


def check_fields(
    *,
    id: str | None = None,
    type: str = "custom.event",
    source: str | None = None,
    correlation_id: str | None = None,
    causation_id: str | None = None,
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Check all fields but topic, time and payload.

    Raises:
        InvalidPayload: One breaks its rule.
    """
    if not isinstance(type, str) or type not in _known:
        _check_often("type", type)
    if source is not None and (not isinstance(source, str) or source not in _known):
        _check_often("source", source)
    if id is not None:
        check_id(id)
    if correlation_id is not None:
        check_text("correlation_id", correlation_id)
    if causation_id is not None:
        check_text("causation_id", causation_id)
    if key is not None:
        check_text("key", key)
    if headers is not None:
        check_headers(headers)


def check_id(text: str) -> None:
    """An id: 1 to 64 printable ASCII characters."""
    if not isinstance(text, str) or not _ID.fullmatch(text):
        raise InvalidPayload(
            f"an id is 1 to {ID_CHARS} printable ASCII characters", value=text, limit=ID_CHARS
        )


def check_text(name: str, text: str, *, empty: bool = False) -> int:
    """A short text without control characters; how many bytes it has."""
    if not isinstance(text, str):
        raise InvalidPayload(f"{name} is a string, got {type(text).__name__}", value=text)
    if not text and not empty:
        raise InvalidPayload(f"{name} is empty")
    if _CONTROL.search(text):
        raise InvalidPayload(f"{name} has a control character", value=text)
    size = len(_utf8(name, text))
    if size > TEXT_BYTES:
        raise InvalidPayload(
            f"{name} has {size} bytes, {TEXT_BYTES} at most", value=text, limit=TEXT_BYTES
        )
    return size


def check_headers(headers: Mapping[str, str]) -> None:
    """At most 16 short texts by short names, 2 KiB together."""
    if not isinstance(headers, Mapping):
        raise InvalidPayload(f"headers are an object, got {type(headers).__name__}", value=headers)
    if len(headers) > HEADERS:
        raise InvalidPayload(f"{len(headers)} headers, {HEADERS} at most", limit=HEADERS)
    size = sum(
        check_text("a header's name", name) + check_text("a header's value", value, empty=True)
        for name, value in headers.items()
    )
    if size > HEADERS_BYTES:
        raise InvalidPayload(
            f"headers have {size} bytes, {HEADERS_BYTES} at most", limit=HEADERS_BYTES
        )


def add_header(headers: Mapping[str, str] | None, name: str, value: str) -> dict[str, str]:
    """Checked *headers* and one more, unless it is among them or they have no room for it."""
    given = dict(headers or {})
    size = sum(len(_utf8("a header", text)) for pair in given.items() for text in pair)
    full = len(given) >= HEADERS or size + len(name) + len(value) > HEADERS_BYTES
    return given if full else {name: value, **given}


def to_utc(time: datetime) -> datetime:
    """*time* in UTC.

    Raises:
        InvalidPayload: It has no offset, or lies outside the years 1 to 9999 in UTC.
    """
    if not isinstance(time, datetime) or time.utcoffset() is None:
        raise InvalidPayload("time needs an offset from UTC, such as Z", value=str(time))
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise InvalidPayload("time lies outside the years 1 to 9999", value=str(time)) from None


def _check_often(name: str, text: str) -> None:
    """Check a text that comes again and again, and remember it."""
    check_text(name, text)
    if len(_known) >= KNOWN_TEXTS:
        _known.clear()
    _known.add(text)


def _utf8(name: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidPayload(f"{name} has a lone surrogate", value=text) from None


# --- bytes from outside -----------------------------------------------------------------


def decode_event(data: bytes | msgspec.Raw) -> EventIn:
    """Read one event as JSON; of a repeated name the last counts.

    Its values still need ``check_event``, or the bus, which checks all it is given.

    Raises:
        InvalidPayload: Not JSON, or a number or text that can't be kept.
        InvalidTopic: ``topic`` is no string.
        BadRequest: A field is missing, unknown or of the wrong type.
    """
    try:
        return _decode_event(data)
    except RecursionError:
        raise InvalidPayload(f"payload is nested deeper than {DEPTH}", limit=DEPTH) from None
    except msgspec.ValidationError as error:
        raise _misfit(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _malformed(error, bytes(data)) from None


def decode_publish(data: bytes) -> EventIn | list[EventIn | BusError]:
    """Read what was sent to be published: one event, or a list with a result for each.

    Raises:
        InvalidPayload, InvalidTopic, BadRequest: As by ``decode_event``; for a list only if
            it can't be told which event of it is bad.
    """
    if not data.lstrip(b" \t\r\n").startswith(b"["):
        return decode_event(data)
    return decode_each(data, decode_event)


def decode_each(
    data: bytes, decode: Callable[[bytes | msgspec.Raw], EventIn]
) -> list[EventIn | BusError]:
    """Read a JSON list of events, each by *decode*; its refusal stands in the event's place.

    Raises:
        InvalidPayload: It can't be told which event of it is bad.
    """
    try:
        return [read_event(raw, decode) for raw in _decode_raws(data)]
    except RecursionError:
        refusal = InvalidPayload(f"payload is nested deeper than {DEPTH}", limit=DEPTH)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        refusal = _malformed(error, data)
    found = parts(data.decode(errors="replace"))
    if found is None:
        raise refusal
    return [read_event(part.encode(), decode) for part in found]


def read_event(
    raw: bytes | msgspec.Raw, decode: Callable[[bytes | msgspec.Raw], EventIn] = decode_event
) -> EventIn | BusError:
    """The event *raw*, or why it is refused: with the id that it gave, if it is JSON at all."""
    try:
        return decode(raw)
    except BusError as error:
        error.event_id = _id_of(raw)
        return error


def _id_of(raw: bytes | msgspec.Raw) -> str | None:
    try:
        given = _decode_id(raw).id
        check_id(given)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InvalidPayload):
        return None
    return given


def _malformed(error: Exception, data: bytes) -> InvalidPayload:
    if isinstance(error, UnicodeDecodeError):
        return InvalidPayload("not UTF-8", value=error.object[error.start : error.start + 16])
    if has_lone_surrogate(data.decode(errors="replace")):
        return InvalidPayload("a text has a lone surrogate: half of a character")
    return InvalidPayload(_sentence(error))


def _misfit(error: msgspec.ValidationError) -> BusError:
    text = _sentence(error)
    if "out of range" in text:
        return InvalidPayload(f"payload has a number that can't be kept: {text}")
    if text.endswith("`$.topic`"):
        return InvalidTopic(f"a topic is a string: {text}")
    return BadRequest(text)


def _sentence(error: Exception) -> str:
    text = str(error)
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]
