"""Which payloads are exactly JSON: what passes can be stored, and reads back equal everywhere.

Exact types, I-JSON numbers (RFC 7493), valid Unicode. msgspec alone is not enough: it writes
NaN as null, bytes as base64 and integers of any size, and ``msgspec.Raw`` passes unread.
Pure; for the bus, which checks all it is given, and for clients, which say it at once.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

import msgspec

from antiphon.errors import InvalidPayload, PayloadTooLarge

HARD_EVENT_BYTES = 900 * 1024
"""Most bytes of any payload: below NATS's 1 MiB."""
DEPTH = 64
"""Most containers inside each other, the payload itself counted."""
MAX_INT = 2**53 - 1
"""The largest integer that every JSON reader keeps exact (RFC 7493)."""

_encode = msgspec.json.Encoder().encode


def check_payload(payload: Any, *, limit: int = HARD_EVENT_BYTES) -> bytes:
    """Check *payload* and return it as JSON: what is stored is what was checked.

    Raises:
        InvalidPayload: Not exactly JSON, or nested too deep.
        PayloadTooLarge: More than *limit* bytes.
    """
    kind = type(payload)
    if kind is dict or kind is list:
        _walk(payload, limit)
    elif kind is not str:
        _check_scalar(payload)
    try:
        data = _encode(payload)
    except UnicodeEncodeError as error:
        raise InvalidPayload("payload has a lone surrogate", value=error.object) from None
    if len(data) > limit:
        raise _too_large(len(data), limit)
    return data


def _walk(payload: dict[Any, Any] | list[Any], limit: int) -> None:
    """Check everything inside a container. Branches go by how often they are taken.

    The walk is a loop, so no depth exhausts the stack, and it stops at *limit*, so a
    small object that writes out huge (one list many times in another) costs little.
    """
    stack: list[tuple[Any, int]] = [(payload, 1)]
    used = 0
    while stack:
        container, depth = stack.pop()
        used += len(container)
        if type(container) is dict:
            for key in container:
                if type(key) is not str:
                    raise _bad_key(key)
            container = container.values()
        for value in container:
            kind = type(value)
            if kind is str:
                used += len(value)
            elif kind is int:
                if not -MAX_INT <= value <= MAX_INT:
                    raise _bad_int(value)
            elif kind is dict or kind is list:
                if depth >= DEPTH:
                    raise InvalidPayload(f"payload is nested deeper than {DEPTH}", limit=DEPTH)
                stack.append((value, depth + 1))
            else:
                _check_scalar(value)
        if used > limit:
            raise _too_large(used, limit)


def _bad_key(key: object) -> InvalidPayload:
    return InvalidPayload(
        f"payload has a key that is no string but {type(key).__name__}", value=key
    )


def _check_scalar(value: Any) -> None:
    """What is neither a container nor a string. Exact types: a subclass may write otherwise."""
    kind = type(value)
    if value is None or kind is bool:
        return
    if kind is float:
        if not isfinite(value):
            raise InvalidPayload("payload has a number that JSON can't hold", value=value)
    elif kind is int:
        if not -MAX_INT <= value <= MAX_INT:
            raise _bad_int(value)
    else:
        raise InvalidPayload(
            f"payload has a {kind.__name__}; only dict, list, str, int, float, bool and None"
            " are JSON",
            value=kind.__name__,
        )


def _bad_int(value: int) -> InvalidPayload:
    shown = str(value) if value.bit_length() < 256 else f"{value.bit_length()} bits"
    return InvalidPayload(
        f"payload has an integer beyond ±{MAX_INT}; write it as a string",
        value=shown,
        limit=MAX_INT,
    )


def _too_large(size: int, limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"payload has at least {size} bytes, {limit} at most", limit=limit)
