"""The result of one publish, as the server writes it: an event's place, or why it has none."""

from __future__ import annotations

import msgspec

from antiphon.client.problems import error_from
from antiphon.errors import BusError
from antiphon.messages import Published, Refused


def read_result(raw: bytes | msgspec.Raw) -> Published | Refused:
    """One result; two untagged Structs can't be one msgspec union, but one has "error".

    Raises:
        msgspec.DecodeError: It is neither.
    """
    # Within a text the quotes would be escaped.
    kind: type[Published | Refused] = Refused if b'"error":' in bytes(raw) else Published
    return msgspec.json.decode(raw, type=kind)


def error_of(refused: Refused) -> BusError:
    """The error that a refusal tells of."""
    fault = refused.error
    return error_from(
        fault.code,
        fault.message,
        value=fault.value,
        limit=fault.limit,
        retry_after_ms=fault.retry_after_ms,
        last_seq=fault.last_seq,
    )
