"""The HTTP side: the table of operations as an ASGI application, and who is asking.

Where a request may come from at all is ``guard.py``'s; here it needs a token, unless its
operation is for anybody. What an operation does is in ``routes/``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import request_response

from antiphon.actors import ActorSystem
from antiphon.bus import Bus, Principal
from antiphon.errors import BadRequest, BusError, NotFound, Unauthorized, cut
from antiphon.gateway import page
from antiphon.gateway.audit import Audit
from antiphon.gateway.auth import Auth, bearer, cookie_name, read_cookies
from antiphon.gateway.holds import Pass
from antiphon.gateway.issuing import Issuer
from antiphon.gateway.operations import (
    NOBODY,
    Operation,
    Right,
    check_right,
    keep_pass,
    routes,
)
from antiphon.gateway.problems import HANDLERS, on_bus_error
from antiphon.gateway.publishing import Patience
from antiphon.gateway.register import Register
from antiphon.gateway.routes.documents import DocumentRoutes
from antiphon.gateway.routes.events import EventRoutes
from antiphon.gateway.routes.metrics import MetricsRoutes
from antiphon.gateway.routes.running import RunningRoutes, Workers
from antiphon.gateway.routes.server import ServerRoutes
from antiphon.gateway.routes.subscriptions import SubscriptionRoutes
from antiphon.gateway.routes.tokens import TokenRoutes
from antiphon.gateway.routes.topics import TopicRoutes
from antiphon.gateway.sse import EventStreams
from antiphon.gateway.traffic import Traffic


class Http:
    """Every route.

    Args:
        status: What ``GET /v1/status`` shows: anything that msgspec can encode.
        shutdown: Called after ``POST /v1/shutdown`` was answered.

    Attributes:
        operations: All of them.
    """

    def __init__(
        self,
        *,
        bus: Bus,
        system: ActorSystem,
        workers: Workers,
        streams: EventStreams,
        register: Register,
        auth: Auth,
        audit: Audit,
        issuer: Issuer,
        port: int,
        status: Callable[[], Any],
        shutdown: Callable[[], None],
        page_folder: page.Page,
        traffic: Traffic,
    ) -> None:
        self._auth = auth
        self._audit = audit
        self._cookie = cookie_name(port)
        self._page = page_folder
        self._patience = Patience()
        self.operations: list[Operation] = [
            *ServerRoutes(bus, auth, audit, port, status=status, shutdown=shutdown).operations(),
            *EventRoutes(bus, self._patience, audit.refused).operations(),
            *TopicRoutes(bus, system).operations(),
            *RunningRoutes(system, workers, audit).operations(),
            *SubscriptionRoutes(bus, streams, register).operations(),
            *TokenRoutes(issuer).operations(),
            *DocumentRoutes(bus, port, lambda: self.operations).operations(),
            *MetricsRoutes(bus, system, traffic, status).operations(),
            SOCKET,
        ]

    def give_up(self) -> None:
        """Wait for the log no longer: the server must end."""
        self._patience.end()

    def app(self) -> Starlette:
        """The routes as an ASGI application."""
        app = Starlette(
            routes=routes(self.operations, self._who),
            exception_handlers={**HANDLERS, BusError: self._on_bus_error},
        )
        app.router.redirect_slashes = False
        app.router.default = request_response(self._elsewhere)  # a route would hide every 405
        return app

    def pass_of(self, headers: list[tuple[bytes, bytes]]) -> Pass | None:
        """What opens a request: the token, and only without one the cookie."""
        token = bearer(headers)
        if token is not None:
            return self._auth.by_token(token)
        owners = map(self._auth.by_cookie, read_cookies(headers, self._cookie))
        return next((owner for owner in owners if owner is not None), None)

    def _who(self, operation: Operation, request: Request) -> Principal:
        if operation.right is Right.ANYBODY:
            return NOBODY
        principal = self._known(request)
        check_right(operation, principal)
        return principal

    async def _on_bus_error(self, request: Request, error: Exception) -> Response:
        """Answer a refusal; one for want of rights is written down, too."""
        assert isinstance(error, BusError)
        passed = getattr(request.state, "passed", None)
        name = passed.principal.name if isinstance(passed, Pass) else None
        self._audit.refused(error, f"{request.method} {request.url.path}", name)
        return await on_bus_error(request, error)

    def _known(self, request: Request) -> Principal:
        headers = request.scope["headers"]
        passed = self.pass_of(headers)
        if passed is None:
            given = bearer(headers) is not None
            raise Unauthorized(
                "this token is not known"
                if given
                else "a token is needed: send Authorization: Bearer TOKEN"
            )
        keep_pass(request, passed)
        return passed.principal

    async def _elsewhere(self, request: Request) -> Response:
        if not request.scope["path"].startswith("/v1/"):
            return await self._page(request)
        self._known(request)
        raise NotFound(f"nothing is at {cut(request.url.path)}", value=request.url.path)


async def _no_handshake(request: Request, principal: Principal) -> Response:
    raise BadRequest(
        "/v1/ws takes WebSocket handshakes: HTTP/1.1, no body, Upgrade: websocket,"
        " Sec-WebSocket-Version: 13, one Sec-WebSocket-Key and at most one Origin"
    )


SOCKET = Operation(
    method="GET",
    path="/v1/ws",
    summary="The WebSocket, subprotocol bus.v1.json",
    about="Its frames are in `/asyncapi.json`; the token goes into the first of them.",
    handle=_no_handshake,
    right=Right.ANYBODY,
    status=101,
)
