"""Every HTTP request, from outside of all that handles it: counted, and a step of its trace.

What a request publishes belongs to the trace that it names in ``traceparent``, or to one
that begins here, if spans are written down.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from antiphon.actors import Trace, tracing
from antiphon.actors.spans import Span, begin_span, recording
from antiphon.gateway.traffic import OTHER, VISIT, Traffic, Visit

TRACEPARENT = b"traceparent"


class Watched:
    """An ASGI application, with an eye on its HTTP requests."""

    def __init__(self, app: ASGIApp, traffic: Traffic) -> None:
        self._app = app
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = perf_counter()
        visit = scope[VISIT] = Visit()
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._traffic.answered(visit.operation or OTHER, status, perf_counter() - begun)
            await send(message)

        parent = _parent(scope)
        span = _begin(scope, parent) if recording() else None
        if span is not None:
            try:
                with tracing(span.trace):
                    await self._app(scope, receive, watched)
            finally:
                _end(span, visit.operation, status)
        elif parent is not None:
            with tracing(parent.step()):
                await self._app(scope, receive, watched)
        else:
            await self._app(scope, receive, watched)


def _parent(scope: Scope) -> Trace | None:
    """What the request says that it belongs to; nothing, if that can't be read."""
    for name, value in scope["headers"]:
        if name == TRACEPARENT:
            try:
                return Trace.parse(value.decode("latin-1").strip())
            except ValueError:
                return None
    return None


def _begin(scope: Scope, parent: Trace | None) -> Span | None:
    told = {
        "http.request.method": scope["method"],
        "url.path": scope["path"],
        "url.scheme": scope["scheme"],
        "network.protocol.version": scope["http_version"],
    }
    return begin_span(scope["method"], "server", parent, told)


def _end(span: Span, operation: str | None, status: int) -> None:
    told: dict[str, Any] = {"http.response.status_code": status}
    if operation is not None:
        told["http.route"] = operation.partition(" ")[2]
    failed = str(status) if status >= 500 or not status else None
    span.end(failed, name=operation, attributes=told)
