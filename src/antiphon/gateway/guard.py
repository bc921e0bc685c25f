"""The door: one check for HTTP and WebSocket, before anything else looks at a request.

It knows no tokens. It answers whether a request may have come from where it says it came:
DNS rebinding comes by Host; a page of another origin, another port of this
machine included, by Origin, or by Sec-Fetch-Site where a browser sends no Origin. And it puts
the security headers on every answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from antiphon.errors import Forbidden
from antiphon.gateway.headers import SECURITY_HEADERS
from antiphon.gateway.problems import problem_response, reject_socket

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
CSRF_HEADER = b"x-antiphon"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a request says about where it comes from; each header's every value."""

    socket: bool
    method: str
    path: str
    host: tuple[str, ...]
    origin: tuple[str, ...]
    site: tuple[str, ...]
    token: bool
    csrf: bool

    @classmethod
    def of(cls, scope: Scope) -> Claims:
        """Read them from an ASGI scope."""

        def values(name: bytes) -> tuple[str, ...]:
            return tuple(v.decode("latin-1") for n, v in scope["headers"] if n == name)

        return cls(
            socket=scope["type"] == "websocket",
            method=scope.get("method", "GET"),
            path=scope["path"],
            host=values(b"host"),
            origin=values(b"origin"),
            site=values(b"sec-fetch-site"),
            token=bool(values(b"authorization")),
            csrf=values(CSRF_HEADER) == ("1",),
        )


class Rules:
    """Who is let in, for a server at *port*. Pure."""

    def __init__(self, port: int) -> None:
        names = ("127.0.0.1", "localhost", "[::1]")
        self.hosts = frozenset(f"{name}:{port}" for name in names)
        if port == 80:
            self.hosts |= frozenset(names)
        self.origins = frozenset(f"http://{host}" for host in self.hosts)

    def refusal(self, claims: Claims) -> str | None:
        """Why the request is turned away, or None."""
        if len(claims.host) != 1 or claims.host[0].lower() not in self.hosts:
            return _named("host", claims.host)
        if claims.origin:
            if len(claims.origin) != 1 or claims.origin[0].lower() not in self.origins:
                return _named("origin", claims.origin)
        elif claims.path.startswith("/v1/") and not claims.socket:
            return self._without_origin(claims)
        return self._forged(claims)

    def _without_origin(self, claims: Claims) -> str | None:
        """HTTP without Origin: a program with a token, or this page's own reading."""
        if claims.token or claims.path == "/v1/login":
            return None
        if claims.method not in SAFE:
            return "a request that changes something needs an Origin or a token"
        if claims.site and claims.site[0] not in ("same-origin", "none"):
            return f"requests from a {claims.site[0]} page are not served"
        return None

    def _forged(self, claims: Claims) -> str | None:
        """A cookie is sent whether its owner wants it or not; a header of our own is not."""
        if claims.socket or claims.token or claims.method in SAFE or claims.csrf:
            return None
        if claims.path == "/v1/login":
            return None
        return "a request with a cookie needs the header X-Antiphon: 1"


def _named(what: str, values: tuple[str, ...]) -> str:
    if not values:
        return f"the {what} is missing"
    return f"the {what} {', '.join(values)[:100]!a} is not this server's"


class Guard:
    """The rules, in front of an ASGI application.

    Args:
        denied: Told of each refusal: the reason and the path.
    """

    def __init__(self, app: ASGIApp, rules: Rules, *, denied: Callable[[str, str], None]) -> None:
        self._app = app
        self._rules = rules
        self._denied = denied

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return
        claims = Claims.of(scope)
        why = self._rules.refusal(claims)
        if claims.socket:
            if why is not None:
                self._denied(why, claims.path)
                await reject_socket(send, Forbidden(why))
                return
            await self._app(scope, receive, send)
            return
        guarded = _secured(send)
        if why is not None:
            self._denied(why, claims.path)
            await problem_response(Forbidden(why))(scope, receive, guarded)
            return
        await self._app(scope, receive, guarded)


def _secured(send: Send) -> Send:
    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *SECURITY_HEADERS]
        await send(message)

    return guarded
