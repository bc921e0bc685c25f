"""Reading request bodies: JSON only, as they are, of a bounded size, in a bounded time."""

from __future__ import annotations

import asyncio
import re
from typing import TypeVar

import msgspec
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request

from antiphon.errors import BadRequest, PayloadTooLarge, cut
from antiphon.gateway.limits import BODY_BYTES, BODY_S

T = TypeVar("T")

_CHARSET = re.compile(r""";\s*charset\s*=\s*["']?([^\s;"']*)""", re.I)

SWALLOW = 16
"""So many times the limit is read and dropped, so that the body's sender hears why."""


def json_of(request: Request, *, empty: bool = False) -> bytes:
    """The body, not decoded yet; *empty*: it may be absent, of any type.

    Raises:
        BadRequest: It is not said to be JSON.
    """
    body = body_of(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (empty and not body and not kind):
        raise BadRequest(
            f"the content type must be application/json, got {cut(kind) or 'none'}", value=kind
        )
    return body


def body_of(request: Request) -> bytes:
    """The body, of whatever type: of an operation that takes one."""
    body = request.state.body
    assert isinstance(body, bytes)
    return body


async def keep_body(request: Request, *, limit: int = BODY_BYTES) -> None:
    """Wait for the body and keep it for the handler.

    Raises:
        BadRequest: It did not come in time, is packed, or of another charset than UTF-8.
        PayloadTooLarge: It has more than *limit* bytes.
    """
    body = await _read(request, limit)
    _check_coding(request.headers)
    request.state.body = body


async def _read(request: Request, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                size += len(part)
                if size <= limit:
                    parts.append(part)
                elif size > SWALLOW * limit:
                    break
    except TimeoutError:
        raise BadRequest(f"the body did not come within {BODY_S:g} s") from None
    except ClientDisconnect:
        raise BadRequest("the body ended early") from None
    if size > limit:
        raise PayloadTooLarge(
            f"a body of at least {size} bytes is over the limit of {limit}", limit=limit
        )
    return b"".join(parts)


def _check_coding(headers: Headers) -> None:
    """Refuse what would be read as something else than its sender wrote."""
    for coding in headers.getlist("content-encoding"):
        if coding.strip().lower() != "identity":
            raise _unsupported(f"a body is sent as it is, got the content encoding {cut(coding)}")
    for charset in _CHARSET.findall(headers.get("content-type", "")):
        if charset.lower() not in ("utf-8", "utf8"):
            raise _unsupported(f"a body is in UTF-8, got the charset {cut(charset)}")


def _unsupported(why: str) -> BadRequest:
    refusal = BadRequest(why)
    refusal.status = 415
    return refusal


def decode(body: bytes, kind: type[T]) -> T:
    """*body* as a Struct.

    Raises:
        BadRequest: It is none.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body is no {kind.__name__}: {error}") from None
