"""Errors as ``application/problem+json``, for HTTP answers and refused handshakes."""

from __future__ import annotations

import logging
import math

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Send

from antiphon.bus.store import StoreCorrupt, StoreUnavailable
from antiphon.errors import ActorError, AntiphonError, BusError, StorageUnavailable
from antiphon.gateway.faults import problem, retry_after_ms
from antiphon.gateway.headers import SECURITY_HEADERS

logger = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"

encode = msgspec.json.Encoder().encode


def headers_of(error: BusError) -> dict[str, str]:
    """What goes with the body."""
    headers = {"cache-control": "no-store"}
    wait_ms = retry_after_ms(error)
    if wait_ms is not None:
        headers["retry-after"] = str(max(1, math.ceil(wait_ms / 1000)))
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return headers


def problem_response(error: BusError, *, status: int | None = None) -> Response:
    """The answer that says *error*."""
    body = problem(error, status=status)
    return Response(encode(body), body.status, headers_of(error), PROBLEM_JSON)


async def reject_socket(send: Send, error: BusError) -> None:
    """Answer a WebSocket handshake with *error*, before anything is accepted."""
    body = problem(error)
    headers = headers_of(error) | {"content-type": PROBLEM_JSON}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    raw += SECURITY_HEADERS
    await send({"type": "websocket.http.response.start", "status": body.status, "headers": raw})
    await send({"type": "websocket.http.response.body", "body": encode(body)})


async def on_bus_error(request: Request, error: Exception) -> Response:
    """Answer a refusal."""
    assert isinstance(error, BusError)
    return problem_response(error)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Answer what Starlette refuses by itself: no such route, no such method."""
    assert isinstance(error, HTTPException)
    refusal = BusError(f"{request.method} {request.url.path}: {error.detail.lower()}")
    if error.status_code == 404:
        refusal.code = "not_found"
    response = problem_response(refusal, status=error.status_code)
    response.headers.update(error.headers or {})
    return response


async def on_actor_error(request: Request, error: Exception) -> Response:
    """Answer for an actor that didn't: it may be there again in a moment."""
    assert isinstance(error, AntiphonError)
    return problem_response(StorageUnavailable(f"a part of the server did not answer: {error}"))


async def on_store_error(request: Request, error: Exception) -> Response:
    """Answer for a disk that can't be read just now, or was found damaged."""
    assert isinstance(error, AntiphonError)
    return problem_response(StorageUnavailable(str(error)))


async def on_crash(request: Request, error: Exception) -> Response:
    """Answer a fault of the program. Its traceback is logged, and nothing of the request."""
    refusal = BusError("the server failed at this request; its log says how")
    refusal.code = "internal"
    return problem_response(refusal, status=500)


HANDLERS = {
    BusError: on_bus_error,
    HTTPException: on_http_error,
    ActorError: on_actor_error,
    StoreUnavailable: on_store_error,
    StoreCorrupt: on_store_error,
    Exception: on_crash,
}
