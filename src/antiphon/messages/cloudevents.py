"""Events as CloudEvents 1.0 in JSON, both ways. Pure.

========================  ===================================================
Antiphon                  CloudEvents
========================  ===================================================
id, type, time            the same
payload                   ``data``
topic                     ``subject``
source                    ``source``, percent-encoded where it is no
                          URI-reference; then ``sourcetext`` has it as it is
seq                       ``sequence``: 20 digits
recorded                  ``recordedtime``
principal                 ``authid``
key                       ``partitionkey``
correlation_id            ``correlationid``
causation_id              ``causationid``
headers                   ``headers``: a string that holds a JSON object
========================  ===================================================

Of another program's event, every attribute that is not in this table becomes a header
of that name.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

import msgspec

from antiphon.errors import InvalidPayload, InvalidTopic, cut
from antiphon.messages.event import Event, EventIn

SPEC_VERSION = "1.0"
SEQUENCE_DIGITS = 20
HEADERS = "headers"

_URI_REFERENCE = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+")
_URI_CHARS = ":/?#[]@!$&'()*+,;="
_SEQUENCE = re.compile(rf"[0-9]{{1,{SEQUENCE_DIGITS}}}")
_NAME = re.compile(r"[a-z0-9]{1,200}")
_TEXTS = {
    "correlationid": "correlation_id",
    "causationid": "causation_id",
    "partitionkey": "key",
}
_OURS = frozenset(
    {"specversion", "id", "type", "source", "sourcetext", "subject", "time", "data"}
    | {"datacontenttype", "sequence", "recordedtime", "authid", HEADERS, *_TEXTS}
)

_encode = msgspec.json.Encoder().encode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
_decode_headers = msgspec.json.Decoder(dict[str, str]).decode


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A CloudEvent 1.0 in JSON, as it comes and goes; other attributes become headers.

    Attributes:
        id: Of the event; 1 to 64 printable ASCII characters.
        source: Who says so, a URI reference.
        type: What kind it is.
        subject: The topic.
        time: When it happened, by the publisher's clock.
        datacontenttype: Of ``data``, which is JSON in any case.
        data: The payload: any JSON.
        sequence: The seq, in 20 digits. Of those that come in, it is not kept.
        recordedtime: When it was stored. Of those that come in, it is not kept.
        authid: The principal. Of those that come in, it is not kept.
        sourcetext: The source, where it is no URI reference as it stands.
        correlationid: The piece of work it belongs to.
        causationid: The id of the event that led to it.
        partitionkey: What it is about.
        headers: The headers, as a JSON object in a string.
    """

    specversion: Literal["1.0"]
    id: str
    source: str
    type: str
    subject: str
    time: datetime | None = None
    datacontenttype: str | None = None
    data: Any = None
    sequence: str | None = None
    recordedtime: datetime | None = None
    authid: str | None = None
    sourcetext: str | None = None
    correlationid: str | None = None
    causationid: str | None = None
    partitionkey: str | None = None
    headers: str | None = None


class Received(NamedTuple):
    """A CloudEvent, read.

    Attributes:
        event: As a publisher hands it in.
        principal: Who had published it (``authid``); None if it isn't told.
        seq: Its position where it came from (``sequence``), if it had one.
    """

    event: EventIn
    principal: str | None
    seq: int | None


def to_cloudevent(event: Event) -> dict[str, Any]:
    """Write *event* as a CloudEvent; absent fields are left out, ``data`` is always there."""
    source = uri_reference(event.source)
    attributes = {
        "specversion": SPEC_VERSION,
        "id": event.id,
        "source": source,
        "sourcetext": None if source == event.source else event.source,
        "type": event.type,
        "subject": event.topic,
        "time": _time(event.time),
        "datacontenttype": "application/json",
        "sequence": None if event.seq is None else f"{event.seq:0{SEQUENCE_DIGITS}d}",
        "recordedtime": None if event.recorded is None else _time(event.recorded),
        "authid": event.principal,
        "correlationid": event.correlation_id,
        "causationid": event.causation_id,
        "partitionkey": event.key,
        HEADERS: None if event.headers is None else _encode(event.headers).decode(),
    }
    given = {name: value for name, value in attributes.items() if value is not None}
    return {**given, "data": event.payload}


def encode_cloudevent(event: Event) -> bytes:
    """Write *event* as the JSON of a CloudEvent."""
    return _encode(to_cloudevent(event))


def decode_cloudevent(data: bytes | msgspec.Raw) -> Received:
    """Read the JSON of one CloudEvent; see ``from_cloudevent``."""
    try:
        return from_cloudevent(_decode_object(data))
    except RecursionError:
        raise InvalidPayload("data is nested too deep") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidPayload(f"no JSON object: {error}", value=bytes(data)[:80]) from None


def from_cloudevent(found: dict[str, Any]) -> Received:
    """Read a CloudEvent; what a topic or a payload may be is the bus's to check.

    Raises:
        InvalidTopic: It has no ``subject``, which becomes the topic.
        InvalidPayload: An attribute is missing or of a wrong type, or ``data`` is binary.
    """
    version = found.get("specversion")
    if version != SPEC_VERSION:
        raise InvalidPayload(f"specversion must be {SPEC_VERSION}, got {cut(version)}")
    if found.get("data_base64") is not None:
        raise InvalidPayload("data_base64 can't be kept: a payload is JSON")
    if found.get("subject") is None:
        raise InvalidTopic("no subject: it becomes the topic")
    event = EventIn(
        id=_text(found, "id"),
        topic=_text(found, "subject"),
        type=_text(found, "type"),
        source=_optional(found, "sourcetext") or _text(found, "source"),
        time=_moment(found),
        payload=found.get("data"),
        headers=_headers(found),
        correlation_id=_optional(found, "correlationid"),
        causation_id=_optional(found, "causationid"),
        key=_optional(found, "partitionkey"),
    )
    return Received(event, _optional(found, "authid"), _sequence(found))


def uri_reference(text: str) -> str:
    """Percent-encode *text* where it has what no URI-reference may have."""
    if _URI_REFERENCE.fullmatch(text):
        return text
    return quote(text, safe=_URI_CHARS)


def _time(time: datetime) -> str:
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _moment(found: dict[str, Any]) -> datetime | None:
    text = _optional(found, "time")
    try:
        return None if text is None else msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        raise InvalidPayload(f"time is no RFC 3339 time: {cut(text)}", value=text) from None


def _sequence(found: dict[str, Any]) -> int | None:
    text = found.get("sequence")
    if not isinstance(text, str) or not _SEQUENCE.fullmatch(text):
        return None  # another program's, of a form of its own
    return int(text)


def _headers(found: dict[str, Any]) -> dict[str, str] | None:
    """Our own headers, and the attributes that have no other place."""
    headers: dict[str, str] = {}
    for name, value in found.items():
        if name not in _OURS and value is not None:
            headers[name] = _attribute(name, value)
    kind = _optional(found, "datacontenttype")
    if kind is not None and kind.partition(";")[0].strip().lower() != "application/json":
        headers["datacontenttype"] = kind
    own = _optional(found, HEADERS)
    if own is not None:
        try:
            headers |= _decode_headers(own)
        except msgspec.DecodeError:
            raise InvalidPayload(
                f"{HEADERS} must hold a JSON object of strings, got {cut(own)}", value=own
            ) from None
    return headers if headers or own is not None else None


def _attribute(name: str, value: Any) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidPayload(f"an attribute's name is of a-z and 0-9, got {cut(name)}", value=name)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int)):
        return str(value)
    raise InvalidPayload(f"{name} must be a string, a number or a boolean", value=value)


def _optional(found: dict[str, Any], name: str) -> str | None:
    return None if found.get(name) is None else _text(found, name)


def _text(found: dict[str, Any], name: str) -> str:
    value = found.get(name)
    if not isinstance(value, str) or not value:
        what = "missing" if value is None else f"no string, or empty: {cut(value)}"
        raise InvalidPayload(f"{name} is {what}", value=value)
    return value
