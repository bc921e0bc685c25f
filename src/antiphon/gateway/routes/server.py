"""The server itself: is it up, how is it, who comes in, its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response

from antiphon import __version__
from antiphon.bus import Bus, Principal
from antiphon.errors import Unauthorized
from antiphon.gateway.answers import json
from antiphon.gateway.audit import Audit
from antiphon.gateway.auth import Auth, cookie_name
from antiphon.gateway.bodies import decode, json_of
from antiphon.gateway.limits import LOGIN_BYTES
from antiphon.gateway.operations import Operation, Right
from antiphon.messages import Health, Login


class ServerRoutes:
    """``/health``, ``/v1/login``, ``/v1/status`` and ``/v1/shutdown``.

    Args:
        status: What ``GET /v1/status`` shows: anything that msgspec can encode.
        shutdown: Called after ``POST /v1/shutdown`` was answered.
    """

    def __init__(
        self,
        bus: Bus,
        auth: Auth,
        audit: Audit,
        port: int,
        *,
        status: Callable[[], Any],
        shutdown: Callable[[], None],
    ) -> None:
        self._bus = bus
        self._auth = auth
        self._audit = audit
        self._cookie = cookie_name(port)
        self._status = status
        self._shutdown = shutdown

    def operations(self) -> list[Operation]:
        return [
            Operation(
                method="GET",
                path="/health",
                summary="Whether the server is up, and how its log is",
                handle=self._health,
                right=Right.ANYBODY,
                answers=Health,
            ),
            Operation(
                method="POST",
                path="/v1/login",
                summary="A token for a cookie",
                handle=self._login,
                right=Right.ANYBODY,
                body=Login,
                body_bytes=LOGIN_BYTES,
                status=204,
                codes=("unauthorized",),
            ),
            Operation(
                method="GET",
                path="/v1/status",
                summary="The server on one screen",
                handle=self._show,
                right=Right.ADMIN,
                answers=dict[str, Any],
            ),
            Operation(
                method="POST",
                path="/v1/shutdown",
                summary="End the server, after this answer",
                handle=self._end,
                right=Right.ADMIN,
                optional_body=True,
                answers=dict[str, str],
                status=202,
            ),
        ]

    async def _health(self, request: Request, principal: Principal) -> Response:
        status = self._bus.status
        return json(
            Health(
                status="ok" if status.state == "ok" else "degraded",
                version=__version__,
                head=self._bus.head,
                epoch=self._bus.epoch,
                store=status.state,
            )
        )

    async def _login(self, request: Request, principal: Principal) -> Response:
        login = decode(json_of(request), Login)
        passed = self._auth.by_token(login.token)
        if passed is None:
            raise Unauthorized("this token is not known")
        cookie, seconds = self._auth.make_cookie(passed)
        response = Response(status_code=204, headers={"cache-control": "no-store"})
        response.set_cookie(
            self._cookie,
            cookie,
            max_age=seconds,
            path="/",
            httponly=True,
            samesite="strict",
            secure=_is_secure(request),
        )
        return response

    async def _show(self, request: Request, principal: Principal) -> Response:
        return json(self._status())

    async def _end(self, request: Request, principal: Principal) -> Response:
        json_of(request, empty=True)
        self._audit.did("server.shutdown", {}, principal)
        response = json({"status": "shutting down"}, status=202)
        response.background = BackgroundTask(self._end_server)
        return response

    async def _end_server(self) -> None:
        self._shutdown()  # from a coroutine, since Starlette runs plain functions in a thread


def _is_secure(request: Request) -> bool:
    """Whether the browser came by TLS; its Origin says so too where a proxy forgets to."""
    origin = request.headers.get("origin", "")
    return request.url.scheme == "https" or origin.lower().startswith("https://")
