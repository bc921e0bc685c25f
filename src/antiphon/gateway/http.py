"""The HTTP side: each route as a few lines around the bus, the actors and the workers.

Refusals are raised, and become problem+json in ``problems.py``. Who may ask at all is
``guard.py``'s; every route but ``/health``, ``/v1/login`` and the page needs a token here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from antiphon import __version__
from antiphon.actors import ActorSystem
from antiphon.bus import ADMIN, JANITOR, Bus, Page, Principal, ReportRetention, forget
from antiphon.bus.event_rules import decode_publish
from antiphon.bus.store import StoreCorrupt, StoreUnavailable
from antiphon.errors import (
    ActorDead,
    BadRequest,
    Forbidden,
    NotFound,
    StorageUnavailable,
    Unauthorized,
    cut,
)
from antiphon.gateway import page
from antiphon.gateway.auth import COOKIE_S, Auth, bearer, cookie_name, read_cookies
from antiphon.gateway.bodies import decode, read_json
from antiphon.gateway.limits import LOGIN_BYTES, PUBLISH_EVENTS
from antiphon.gateway.problems import HANDLERS, encode
from antiphon.gateway.publishing import Patience, result, results, submit
from antiphon.gateway.queries import patterns_of, query_of
from antiphon.messages import (
    EventIn,
    Forget,
    Health,
    Level,
    Login,
    PublishReply,
    WorkerInfo,
    WorkerStart,
)

LEVELS: dict[str, Level] = {"synced": "synced", "committed": "committed", "none": "none"}


class Workers(Protocol):
    """What the gateway asks of the workers.

    Raises:
        BusError: By every method: ``NotFound``, ``BadRequest`` and so on, for the asker.
    """

    async def start(self, ask: WorkerStart) -> WorkerInfo: ...

    async def stop(self, name: str) -> WorkerInfo: ...

    async def list(self) -> list[WorkerInfo]: ...


class Http:
    """Every route.

    Args:
        status: What ``GET /v1/status`` shows: anything that msgspec can encode.
        shutdown: Called after ``POST /v1/shutdown`` was answered.
    """

    def __init__(
        self,
        *,
        bus: Bus,
        system: ActorSystem,
        workers: Workers,
        auth: Auth,
        port: int,
        status: Callable[[], Any],
        shutdown: Callable[[], None],
        page_folder: page.Page,
    ) -> None:
        self._bus = bus
        self._system = system
        self._workers = workers
        self._auth = auth
        self._cookie = cookie_name(port)
        self._status = status
        self._shutdown = shutdown
        self._page = page_folder
        self._patience = Patience()

    def give_up(self) -> None:
        """Wait for the log no longer: the server must end."""
        self._patience.end()

    def app(self) -> Starlette:
        """The routes as an ASGI application."""
        return Starlette(routes=self._routes(), exception_handlers=HANDLERS)

    def _routes(self) -> list[BaseRoute]:
        def route(path: str, method: str, handler: Handler) -> Route:
            return Route(path, handler, methods=[method])

        asked = self._for_known
        return [
            route("/health", "GET", self._health),
            route("/v1/login", "POST", self._login),
            _split("/v1/events", GET=asked(self._query_events), POST=asked(self._publish_events)),
            route("/v1/events/{seq}", "GET", asked(self._event)),
            route("/v1/topics", "GET", asked(self._topics)),
            route("/v1/schemas", "GET", asked(self._schemas)),
            _split(
                "/v1/schemas/{pattern}",
                PUT=asked(self._set_schema),
                DELETE=asked(self._remove_schema),
            ),
            route("/v1/retention", "GET", asked(self._retention)),
            route("/v1/forget", "POST", asked(self._forget)),
            route("/v1/actors", "GET", asked(self._actors)),
            route("/v1/actors/{key:path}/kill", "POST", asked(self._kill)),
            _split("/v1/workers", GET=asked(self._list_workers), POST=asked(self._start_worker)),
            route("/v1/workers/{id}", "DELETE", asked(self._stop_worker)),
            route("/v1/status", "GET", asked(self._show_status)),
            route("/v1/shutdown", "POST", asked(self._shut_down)),
            route("/v1/ws", "GET", _no_handshake),
            route("/v1/{rest:path}", "GET", asked(_nowhere)),
            route("/{name:path}", "GET", self._page.__call__),
        ]

    # --- who ------------------------------------------------------------------------------

    def principal_of(self, headers: list[tuple[bytes, bytes]]) -> Principal | None:
        """Whose request it is: the token's, and only without one the cookie's."""
        token = bearer(headers)
        if token is not None:
            return self._auth.by_token(token)
        owners = map(self._auth.by_cookie, read_cookies(headers, self._cookie))
        return next((owner for owner in owners if owner is not None), None)

    def _for_known(self, handler: KnownHandler) -> Handler:
        async def known(request: Request) -> Response:
            headers = request.scope["headers"]
            principal = self.principal_of(headers)
            if principal is None:
                given = bearer(headers) is not None
                raise Unauthorized(
                    "this token is not known" if given else "a token is needed: none was given"
                )
            return await handler(request, principal)

        return known

    async def _login(self, request: Request) -> Response:
        login = decode(await read_json(request, limit=LOGIN_BYTES), Login)
        if self._auth.by_token(login.token) is None:
            raise Unauthorized("this token is not known")
        response = Response(status_code=204, headers={"cache-control": "no-store"})
        response.set_cookie(
            self._cookie,
            self._auth.make_cookie(),
            max_age=COOKIE_S,
            path="/",
            httponly=True,
            samesite="strict",
        )
        return response

    # --- events ---------------------------------------------------------------------------

    async def _publish_events(self, request: Request, principal: Principal) -> Response:
        level = _level(request)
        events = decode_publish(await read_json(request))
        if isinstance(events, EventIn):
            (one,) = submit(self._bus, [events], principal, level)
            return _json(PublishReply(results=[await result(one, self._patience)]))
        if not 1 <= len(events) <= PUBLISH_EVENTS:
            raise BadRequest(
                f"a list has 1 to {PUBLISH_EVENTS} events, got {len(events)}",
                limit=PUBLISH_EVENTS,
            )
        submitted = submit(self._bus, events, principal, level)
        return _json(PublishReply(results=await results(submitted, self._patience)))

    async def _query_events(self, request: Request, principal: Principal) -> Response:
        patterns, wanted = query_of(request.query_params.multi_items())
        return _json_bytes(_page(await self._bus.query(patterns, **wanted, principal=principal)))

    async def _event(self, request: Request, principal: Principal) -> Response:
        text = request.path_params["seq"]
        if not (text.isascii() and text.isdigit() and len(text) <= 16):
            raise BadRequest(f"a seq is a number, got {cut(text)}", value=text)
        event = await self._bus.get(int(text), principal=principal)
        if event is None:
            raise NotFound(f"no event {int(text)}", value=text)
        return _json_bytes(event)

    async def _topics(self, request: Request, principal: Principal) -> Response:
        patterns = patterns_of(request.query_params.multi_items())
        return _json(self._bus.topics(patterns, principal=principal))

    async def _schemas(self, request: Request, principal: Principal) -> Response:
        found = self._bus.schemas()
        may_see = principal.access.may_subscribe
        return _json({name: schema for name, schema in found.items() if may_see(name)})

    async def _set_schema(self, request: Request, principal: Principal) -> Response:
        schema = decode(await read_json(request), dict[str, Any])
        return await self._change_schema(request, principal, schema)

    async def _remove_schema(self, request: Request, principal: Principal) -> Response:
        return await self._change_schema(request, principal, None)

    async def _change_schema(self, request: Request, principal: Principal, schema: Any) -> Response:
        if principal is not ADMIN:
            raise Forbidden(f"{principal.name} may not change schemas: the admin token may")
        await self._bus.set_schema(request.path_params["pattern"], schema, principal=principal)
        return Response(status_code=204)

    async def _retention(self, request: Request, principal: Principal) -> Response:
        if not principal.access.is_admin:
            raise Forbidden(f"{principal.name} may not see what is kept how long")
        try:
            report = await self._system.ref(JANITOR).call(ReportRetention())
        except ActorDead as error:
            raise StorageUnavailable(f"the janitor is not there: {error}") from error
        return _json(report)

    async def _forget(self, request: Request, principal: Principal) -> Response:
        ask = decode(await read_json(request), Forget)
        try:
            done = await forget(
                self._bus, pattern=ask.pattern, id=ask.id, principal=principal, dry_run=ask.dry_run
            )
        except (StoreUnavailable, StoreCorrupt) as error:
            raise StorageUnavailable(f"not everything was forgotten: {error}") from error
        return _json(done)

    # --- actors and workers ---------------------------------------------------------------

    async def _actors(self, request: Request, principal: Principal) -> Response:
        return _json(self._system.actors())

    async def _kill(self, request: Request, principal: Principal) -> Response:
        await read_json(request, empty=True)
        key = request.path_params["key"]
        ref = self._system.lookup(key)
        if ref is None:
            raise NotFound(f"no actor {cut(key)}", value=key)
        if key == "root":
            raise Forbidden("root is the whole server: shut it down instead", value=key)
        if key == "user":
            raise Forbidden("user is not started again: kill what runs under it", value=key)
        ref.kill(f"by {principal.name}")
        return Response(status_code=204)

    async def _list_workers(self, request: Request, principal: Principal) -> Response:
        return _json(await self._workers.list())

    async def _start_worker(self, request: Request, principal: Principal) -> Response:
        ask = decode(await read_json(request), WorkerStart)
        return _json(await self._workers.start(ask), status=201)

    async def _stop_worker(self, request: Request, principal: Principal) -> Response:
        return _json(await self._workers.stop(request.path_params["id"]), status=202)

    # --- the server -----------------------------------------------------------------------

    async def _health(self, request: Request) -> Response:
        status = self._bus.status
        return _json(
            Health(
                status="ok" if status.state == "ok" else "degraded",
                version=__version__,
                head=self._bus.head,
                epoch=self._bus.epoch,
                store=status.state,
                message=status.message,
            )
        )

    async def _show_status(self, request: Request, principal: Principal) -> Response:
        return _json(self._status())

    async def _shut_down(self, request: Request, principal: Principal) -> Response:
        await read_json(request, empty=True)
        response = _json({"status": "shutting down"}, status=202)
        response.background = BackgroundTask(self._end_server)
        return response

    async def _end_server(self) -> None:
        self._shutdown()  # from a coroutine, since Starlette runs plain functions in a thread


Handler = Callable[[Request], Awaitable[Response]]
KnownHandler = Callable[[Request, Principal], Awaitable[Response]]


def _split(path: str, **handlers: Handler) -> Route:
    """One route for a path with several methods, so that a wrong one is answered 405 with all."""

    async def by_method(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await handlers[method](request)

    return Route(path, by_method, methods=list(handlers))


async def _nowhere(request: Request, principal: Principal) -> Response:
    raise NotFound(f"nothing is at {cut(request.url.path)}", value=request.url.path)


async def _no_handshake(request: Request) -> Response:
    raise BadRequest(
        "/v1/ws takes WebSocket handshakes: HTTP/1.1, no body, Upgrade: websocket,"
        " Sec-WebSocket-Version: 13, one Sec-WebSocket-Key and at most one Origin"
    )


def _level(request: Request) -> Level:
    text = request.query_params.get("level", "synced")
    if text not in LEVELS:
        raise BadRequest(f"level must be one of {', '.join(LEVELS)}, got {cut(text)}", value=text)
    return LEVELS[text]


def _page(found: Page) -> bytes:
    return b'{"events":[%s],"cursor":%s,"next":%s}' % (
        b",".join(found.data),
        encode(found.cursor),
        encode(found.next),
    )


def _json(body: object, *, status: int = 200) -> Response:
    return _json_bytes(encode(body), status=status)


def _json_bytes(body: bytes, *, status: int = 200) -> Response:
    return Response(body, status, {"cache-control": "no-store"}, "application/json")
