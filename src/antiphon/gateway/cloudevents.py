"""CloudEvents over HTTP, both ways: binary, structured and batched. Pure.

What an attribute becomes is in ``messages/cloudevents.py``; here is how it travels.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any, TypeAlias
from urllib.parse import quote, unquote_to_bytes

import msgspec

from antiphon.bus.event_rules import decode_each
from antiphon.errors import BadRequest, BusError, InvalidPayload, cut
from antiphon.messages import Event, EventIn
from antiphon.messages.cloudevents import (
    decode_cloudevent,
    encode_cloudevent,
    from_cloudevent,
    to_cloudevent,
)

RawHeaders: TypeAlias = Iterable[tuple[bytes, bytes]]

STRUCTURED = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch+json"
JSON = "application/json"

PREFIX = b"ce-"
NO_HEADER = frozenset({"data", "datacontenttype"})
"""Attributes that are the body and its Content-Type, never headers."""

_NAME = re.compile(r"[a-z0-9]+")
_JSON_MEDIA = re.compile(r"application/json|text/json|[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+\+json")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.S)
_SAFE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')

_decode_event = msgspec.json.Decoder(Event).decode
_decode_json = msgspec.json.Decoder().decode


class Mode(Enum):
    """How a request carries CloudEvents."""

    BINARY = "binary"
    STRUCTURED = "structured"
    BATCHED = "batched"


# --- in ---------------------------------------------------------------------------------


def mode_of(headers: RawHeaders) -> Mode | None:
    """How the request carries CloudEvents; None if it carries none.

    Raises:
        BadRequest: Its content type is one of CloudEvents that is not read here.
    """
    kept = list(headers)
    media = _media(_content_type(kept))
    if media.startswith("application/cloudevents"):
        if media not in (STRUCTURED, BATCHED):
            raise BadRequest(
                f"CloudEvents are read as {STRUCTURED} or {BATCHED}, got {cut(media)}", value=media
            )
        return Mode.STRUCTURED if media == STRUCTURED else Mode.BATCHED
    return Mode.BINARY if any(name.startswith(PREFIX) for name, _ in kept) else None


def read_cloudevents(
    mode: Mode, headers: RawHeaders, body: bytes
) -> EventIn | list[EventIn | BusError]:
    """What a request wants published; for a batch, a refusal may stand in an event's place.

    Raises:
        BadRequest, InvalidPayload, InvalidTopic: By the rule that it breaks, with the attribute.
    """
    if mode is Mode.BATCHED:
        return decode_each(body, lambda raw: decode_cloudevent(raw).event)
    if mode is Mode.STRUCTURED:
        return decode_cloudevent(body).event
    kept = list(headers)
    found = _attributes(kept)
    kind = _content_type(kept)
    if kind:
        found["datacontenttype"] = kind
    if body:
        found["data"] = _data(kind, body)
    return from_cloudevent(found).event


def _attributes(headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for raw, value in headers:
        if not raw.startswith(PREFIX):
            continue
        name = raw[len(PREFIX) :].decode("latin-1")
        if not _NAME.fullmatch(name):
            raise InvalidPayload(f"an attribute's name is of a-z and 0-9, got {cut(name)}")
        if name in NO_HEADER:
            raise InvalidPayload(f"{name} has no header: it is the body, or its Content-Type")
        if name in found:
            raise InvalidPayload(f"ce-{cut(name)} is given twice")
        found[name] = _unescaped(name, value)
    return found


def _unescaped(name: str, value: bytes) -> str:
    """Take a quoted string apart, as older writers made them; then percent-decode once."""
    text = value.decode("latin-1")
    quoted = _QUOTED.fullmatch(text)
    if quoted is not None:
        text = re.sub(r"\\(.)", r"\1", quoted[1], flags=re.S)
    try:
        return unquote_to_bytes(text.encode("latin-1")).decode()
    except UnicodeDecodeError:
        raise InvalidPayload(f"ce-{cut(name)} is not UTF-8", value=text) from None


def _data(kind: str, body: bytes) -> Any:
    if not _JSON_MEDIA.fullmatch(_media(kind)):
        raise BadRequest(
            f"a payload is JSON: the content type must be application/json or …+json,"
            f" got {cut(kind) or 'none'}",
            value=kind or None,
        )
    try:
        return _decode_json(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidPayload(f"data is no JSON: {error}", value=body[:80]) from None


def _content_type(headers: list[tuple[bytes, bytes]]) -> str:
    found = [value for name, value in headers if name == b"content-type"]
    return found[0].decode("latin-1").strip() if found else ""


def _media(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


# --- out --------------------------------------------------------------------------------


def preferred(accept: str, offered: Sequence[str]) -> str:
    """Which of *offered* an ``Accept`` header likes best; the first, if it likes none more."""
    asked = [_weighed(part) for part in accept.split(",") if part.strip()]
    if not asked:
        return offered[0]
    return max(offered, key=lambda media: _liking(media, asked))


def _weighed(part: str) -> tuple[str, float]:
    media, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return media, min(1.0, max(0.0, float(value)))
            except ValueError:
                return media, 0.0
    return media, 1.0


def _liking(media: str, asked: list[tuple[str, float]]) -> float:
    """By the most specific range that names *media*."""
    for range_ in (media, media.partition("/")[0] + "/*", "*/*"):
        weights = [weight for name, weight in asked if name == range_]
        if weights:
            return max(weights)
    return 0.0


def as_structured(event: bytes) -> bytes:
    """One stored event as a CloudEvent in JSON."""
    return encode_cloudevent(_decode_event(event))


def as_batch(events: Iterable[bytes]) -> bytes:
    """Stored events as a batch."""
    return b"[%s]" % b",".join(map(as_structured, events))


def as_binary(event: bytes) -> tuple[dict[str, str], bytes]:
    """The headers and the body of one stored event in binary mode."""
    attributes = to_cloudevent(_decode_event(event))
    data = attributes.pop("data")
    kind = attributes.pop("datacontenttype")
    headers = {f"ce-{name}": quote(value, safe=_SAFE) for name, value in attributes.items()}
    return {**headers, "content-type": kind}, msgspec.json.encode(data)
