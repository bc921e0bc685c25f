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
from antiphon.gateway.forwarded import Proxies, behind, on_unix, values
from antiphon.gateway.headers import SECURITY_HEADERS
from antiphon.gateway.names import NOTHING, Names
from antiphon.gateway.problems import problem_response, reject_socket

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
CSRF_HEADER = b"x-antiphon"
PRIVATE = ("/v1/", "/metrics", "/asyncapi.json")
"""Where a cookie opens something; all else is the same for everybody: the page, its files,
``/health`` and what describes the operations."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a request says about where it comes from; each header's every value.

    Attributes:
        unix: It came on the Unix socket.
        asked: The host that a believed proxy was asked for.
    """

    socket: bool
    method: str
    path: str
    host: tuple[str, ...]
    origin: tuple[str, ...]
    site: tuple[str, ...]
    token: bool
    csrf: bool
    unix: bool = False
    asked: tuple[str, ...] = ()

    @classmethod
    def of(cls, scope: Scope, proxies: Proxies) -> Claims:
        """Read them from an ASGI scope."""
        return cls(
            socket=scope["type"] == "websocket",
            method=scope.get("method", "GET"),
            path=scope["path"],
            host=values(scope, b"host"),
            origin=values(scope, b"origin"),
            site=values(scope, b"sec-fetch-site"),
            token=bool(values(scope, b"authorization")),
            csrf=values(scope, CSRF_HEADER) == ("1",),
            unix=on_unix(scope),
            asked=values(scope, b"x-forwarded-host") if proxies.believes(scope) else (),
        )


class Rules:
    """Who is let in. Pure.

    Args:
        tcp: The names of the server on TCP.
        unix: Its names on the Unix socket.
    """

    def __init__(self, tcp: Names, unix: Names = NOTHING) -> None:
        self._tcp = tcp
        self._unix = unix

    def refusal(self, claims: Claims) -> str | None:
        """Why the request is turned away, or None."""
        names = self._unix if claims.unix else self._tcp
        if not _is_one_of(names.hosts, claims.host):
            return _named("host", claims.host)
        if claims.asked and not _is_one_of(names.hosts, claims.asked):
            return _named("forwarded host", claims.asked)
        if claims.origin:
            if not _is_one_of(names.origins, claims.origin):
                return _named("origin", claims.origin)
        elif claims.path.startswith(PRIVATE) and not claims.socket:
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


def _is_one_of(allowed: frozenset[str], given: tuple[str, ...]) -> bool:
    return len(given) == 1 and given[0].lower() in allowed


def _named(what: str, values: tuple[str, ...]) -> str:
    if not values:
        return f"the {what} is missing"
    given = ", ".join(values)[:100]
    return f"the {what} {given!a} is not this server's: --host-name and --public-url add names"


class Guard:
    """The rules, in front of an ASGI application.

    Args:
        denied: Told of each refusal: the reason, the path and the client's address.
        proxies: Whose word about their clients is believed.
    """

    def __init__(
        self,
        app: ASGIApp,
        rules: Rules,
        *,
        denied: Callable[[str, str, str | None], None],
        proxies: Proxies,
    ) -> None:
        self._app = app
        self._rules = rules
        self._denied = denied
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return
        claims = Claims.of(scope, self._proxies)
        scope = behind(scope, self._proxies)
        why = self._rules.refusal(claims)
        if why is not None:
            self._denied(why, claims.path, scope["client"][0] if scope.get("client") else None)
        if claims.socket:
            if why is not None:
                await reject_socket(send, Forbidden(why))
                return
            await self._app(scope, receive, send)
            return
        guarded = _secured(send)
        if why is not None:
            await problem_response(Forbidden(why))(scope, receive, guarded)
            return
        await self._app(scope, receive, guarded)


def _secured(send: Send) -> Send:
    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *SECURITY_HEADERS]
        await send(message)

    return guarded
