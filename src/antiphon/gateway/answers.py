"""Answers of JSON, never kept by anybody on the way."""

from __future__ import annotations

from starlette.responses import Response

from antiphon.gateway.problems import encode


def json(body: object, *, status: int = 200) -> Response:
    """*body*, anything that msgspec can encode, as JSON."""
    return json_bytes(encode(body), status=status)


def json_bytes(body: bytes, *, status: int = 200, media: str = "application/json") -> Response:
    """JSON that is written already, of the content type *media*."""
    return Response(body, status, {"cache-control": "no-store"}, media)
