"""An event in its publisher's words: the wire JSON, but for what the writer adds.

Most events give nothing but a topic and a payload. For those all of the text but id,
time and payload is the same each time, and is kept.
"""

from __future__ import annotations

import time as clock
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from antiphon.bus.access import Principal
from antiphon.bus.schemas import Ruled
from antiphon.messages import Event

FRESH_S = 0.001
"""A reading of the clock serves for so long: many events are published at once."""

_encode = msgspec.json.Encoder().encode


class Letterhead(NamedTuple):
    """What is known of one topic for one principal that may publish to it.

    Attributes:
        ephemeral: Its events are handed on but not kept.
        schemas: What its payloads must fit.
        words: The JSON between an event's id and its time, all defaults.
    """

    ephemeral: bool
    schemas: tuple[Ruled, ...]
    words: bytes

    @classmethod
    def of(
        cls, topic: str, principal: Principal, *, ephemeral: bool, schemas: tuple[Ruled, ...]
    ) -> Letterhead:
        """Write it; *topic* was checked."""
        fields = {
            "topic": topic,
            "type": "custom.event",
            "source": principal.source,
            "principal": principal.name,
        }
        return cls(ephemeral, schemas, b'",%b,"time":"' % _encode(fields)[1:-1])


class Stamp:
    """The present time, read anew after a millisecond."""

    def __init__(self) -> None:
        self._read_at = 0.0
        self._text = b""

    def __call__(self) -> bytes:
        """As RFC 3339 in UTC, with microseconds."""
        now = clock.monotonic()
        if now - self._read_at > FRESH_S:
            self._read_at = now
            text = datetime.now(UTC).isoformat(timespec="microseconds")
            self._text = text.removesuffix("+00:00").encode() + b"Z"
        return self._text


def plain(head: Letterhead, id: str, time: bytes, payload: bytes) -> bytes:
    """The body of an event that gives only its *payload*; see ``Pending.body``."""
    return b'"id":"%b%b%b","payload":%b}' % (id.encode(), head.words, time, payload)


def full(payload: bytes, **fields: Any) -> bytes:
    """The body of any event; *fields* are those of ``Event``."""
    return _encode(Event(payload=msgspec.Raw(payload), **fields))[1:]
