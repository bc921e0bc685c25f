"""The gateway as a whole: the ASGI application, and uvicorn serving it in the running loop.

Who keeps it alive is ``app.py``'s: signals, the order of starting and ending, the actor
that owns it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from antiphon.actors import ActorSystem
from antiphon.bus import Bus
from antiphon.errors import NotFound, StartError, StorageUnavailable
from antiphon.gateway import page
from antiphon.gateway.audit import Audit
from antiphon.gateway.auth import Auth
from antiphon.gateway.crowd import Crowd
from antiphon.gateway.doors import BACKLOG, Doors
from antiphon.gateway.guard import Guard, Rules
from antiphon.gateway.holds import Pass
from antiphon.gateway.http import Http
from antiphon.gateway.issuing import Issuer
from antiphon.gateway.limits import CONNECTIONS, FRAME_BYTES, HANDSHAKE_S, SOCKETS
from antiphon.gateway.operations import pass_of
from antiphon.gateway.problems import reject_socket
from antiphon.gateway.protocols import PatientHttp, ResoluteSocket
from antiphon.gateway.register import Register
from antiphon.gateway.routes.running import Workers
from antiphon.gateway.seats import Seats
from antiphon.gateway.sessions import SESSIONS, SessionsActor
from antiphon.gateway.sse import EventStreams
from antiphon.gateway.traffic import Traffic
from antiphon.gateway.watched import Watched
from antiphon.gateway.ws import SocketEndpoint

logger = logging.getLogger(__name__)

FAREWELL_S = 3.0
"""Seconds for connections' actors to answer and say goodbye."""
DRAIN_S = 3.0
"""Seconds for HTTP requests in hand to be answered after that."""
LOOK_S = 0.01
"""Seconds between looks at what is still in hand."""
PATIENCE_S = 2.0
"""Seconds of these for the log; then publishes in hand are answered without it."""


class Gateway:
    """HTTP and WebSocket, on all that the server listens on.

    ``sessions`` goes under a supervisor, with the key ``SESSIONS``, before ``start``.

    Args:
        doors: Where to listen; closed by ``aclose``.
        status: What ``GET /v1/status`` shows: anything that msgspec can encode.
        shutdown: Called when ``POST /v1/shutdown`` was answered.
        web: The folder of the built page.
        sockets: Most WebSockets and event streams at a time.
        connections: Most connections at a time, those included.
        admin_file: Where the admin token is kept, for replacing it.

    Attributes:
        url: Where programs of this machine reach it.
        page_url: Where browsers find the page; None if they can't.
        crowd: Its connections.
    """

    def __init__(
        self,
        *,
        bus: Bus,
        system: ActorSystem,
        auth: Auth,
        workers: Workers,
        doors: Doors,
        status: Callable[[], Any],
        shutdown: Callable[[], None],
        web: Path = page.FOLDER,
        sockets: int = SOCKETS,
        connections: int = CONNECTIONS,
        admin_file: Path | None = None,
    ) -> None:
        self._bus = bus
        self._auth = auth
        self._doors = doors
        self._going = False
        self.port = doors.port
        self.url = doors.url
        self.page_url = doors.page_url
        self._traffic = Traffic()
        self._audit = Audit(bus, system.clock)
        self._issuer = Issuer(bus, auth, self._audit, admin_file)
        self._register = Register()
        self._seats = seats = Seats(sockets, lambda: self._going)
        self._streams = EventStreams(bus, seats, self._register, hold=self._hold)
        self._http = Http(
            bus=bus,
            streams=self._streams,
            register=self._register,
            system=system,
            workers=workers,
            auth=auth,
            audit=self._audit,
            issuer=self._issuer,
            port=self.port,
            status=status,
            shutdown=shutdown,
            page_folder=page.Page(web),
            traffic=self._traffic,
        )
        self._routes = self._http.app()
        self._sockets = SocketEndpoint(
            system.ref(SESSIONS), guest=self._guest, seats=seats, traffic=self._traffic
        )
        guard = Guard(
            self._route,
            Rules(doors.tcp_names(), doors.unix_names()),
            denied=self._denied,
            proxies=doors.proxies,
        )
        self.app = Watched(guard, self._traffic)
        self.crowd = Crowd(connections)
        self._server = _Server(self._config(), doors, self.crowd)
        self._serving: asyncio.Task[None] | None = None

    # --- for app.py -------------------------------------------------------------------------

    def sessions(self) -> SessionsActor:
        """The factory of the actor with the key ``SESSIONS``."""
        return SessionsActor(
            self._bus,
            auth=self._auth,
            audit=self._audit,
            going=lambda: self._going,
            register=self._register,
        )

    @property
    def refusals(self) -> dict[str, int]:
        """How often something was refused, by the rule: for ``GET /v1/status``."""
        quotas = self._bus.quotas
        by_rates = {} if quotas is None else quotas.counters
        return {
            **self._audit.counters,
            "connections": self._auth.holds.refused,
            "sockets": self._seats.refused,
            "sockets_cut": self._seats.cut,
            **by_rates,
        }

    def whereabouts(self) -> dict[str, str]:
        """Where it can be reached, for people."""
        unix = self._doors.unix
        found = {"url": self.url}
        if self.page_url not in (None, self.url):
            found["page_url"] = str(self.page_url)
        if unix is not None:
            found["uds"] = str(unix.path)
        return found

    async def start(self) -> None:
        """Accept connections from now on."""
        self._issuer.start()
        self._serving = asyncio.create_task(self._server.serve(), name="gateway")
        ready = asyncio.create_task(self._server.ready.wait())
        await asyncio.wait((self._serving, ready), return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            ready.cancel()
            await self._serving  # raises what went wrong
            raise StartError("the HTTP server ended at its start")

    async def wait(self) -> None:
        """Return when serving has ended, or raise what ended it."""
        assert self._serving is not None
        await asyncio.shield(self._serving)

    async def aclose(self) -> None:
        """Accept no more, answer what is in hand, say goodbye to every socket. Idempotent."""
        self._going = True
        self._streams.end("the server is shutting down")
        await self._say_goodbye()
        self._server.end()
        if self._serving is None:
            self._doors.close()
        else:
            asyncio.get_running_loop().call_later(PATIENCE_S, self._http.give_up)
            await asyncio.wait((self._serving,))
            self._doors.close()
        try:
            await self._issuer.aclose()
        except StorageUnavailable as error:
            logger.warning("when tokens were last used is not kept: %s", error)

    async def _say_goodbye(self) -> None:
        living = list(self._sockets.living)
        for ref in living:
            ref.stop("the server is shutting down")
        if not living:
            return
        waits = [asyncio.create_task(ref.wait()) for ref in living]
        _, late = await asyncio.wait(waits, timeout=FAREWELL_S)
        for task in late:
            task.cancel()
        if late:
            logger.warning("%d connections did not end in %g s", len(late), FAREWELL_S)

    # --- the application --------------------------------------------------------------------

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._routes(scope, receive, send)
        elif scope["path"] == "/v1/ws":
            await self._sockets(scope, receive, send)
        else:
            await reject_socket(send, NotFound("WebSockets are at /v1/ws"))

    def _denied(self, reason: str, path: str, client: str | None) -> None:
        self._traffic.denied += 1
        self._audit.denied(reason, path, client)

    def _hold(self, request: Request, ended: Callable[[str], None]) -> Callable[[], None]:
        """Count a long answer among its token's connections, and end it with the token."""
        return self._auth.hold(pass_of(request), ended)

    def _guest(self, scope: Scope) -> Pass | None:
        """What the cookie opens; it counts only with an Origin, which the guard has checked."""
        headers = scope["headers"]
        if not any(name == b"origin" for name, _ in headers):
            return None
        return self._http.pass_of(headers)

    def _config(self) -> uvicorn.Config:
        logging.getLogger("uvicorn.error").addFilter(_no_fault_of_ours)
        return uvicorn.Config(
            self.app,
            http=PatientHttp,
            ws=ResoluteSocket,
            ws_max_size=FRAME_BYTES,
            ws_per_message_deflate=False,
            ws_ping_interval=None,
            ws_ping_timeout=None,
            lifespan="off",
            log_config=None,
            log_level=logging.ERROR,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=30,
            backlog=BACKLOG,
        )


def _no_fault_of_ours(record: logging.LogRecord) -> bool:
    """Text that isn't UTF-8 is logged with a traceback; its sender is told, that is enough."""
    return not record.msg.startswith("Invalid UTF-8")


class _Server(uvicorn.Server):
    """uvicorn on *doors*, without its signal handlers and its polling, saying when it listens."""

    def __init__(self, config: uvicorn.Config, doors: Doors, crowd: Crowd) -> None:
        super().__init__(config)
        self._doors = doors
        self._crowd = crowd
        self.ready = asyncio.Event()
        self._end = asyncio.Event()

    def end(self) -> None:
        """Let ``serve`` shut down and return."""
        self.should_exit = True
        self._end.set()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):  # keeps the Date header
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._end.wait(), 1.0)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; but TLS on TCP alone, and no handshake may last."""
        loop = asyncio.get_running_loop()
        tcp, unix, tls = self._doors.tcp, self._doors.unix, self._doors.tls
        self.servers = []
        if tcp is not None and tls is not None:
            serving = loop.create_server(
                self._protocol,
                sock=tcp,
                ssl=tls.context,
                backlog=BACKLOG,
                ssl_handshake_timeout=HANDSHAKE_S,
                ssl_shutdown_timeout=HANDSHAKE_S,
            )
            self.servers.append(await serving)
        elif tcp is not None:
            self.servers.append(await loop.create_server(self._protocol, sock=tcp, backlog=BACKLOG))
        if unix is not None:
            self.servers.append(
                await loop.create_unix_server(self._protocol, sock=unix.socket, backlog=BACKLOG)
            )
        self.started = True
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, which waits a tenth of a second where there is nothing to wait for."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        try:
            async with asyncio.timeout(DRAIN_S):
                await self._drained()
        except TimeoutError:
            late = list(self.server_state.tasks)
            logger.warning("%d requests were not answered in %g s", len(late), DRAIN_S)
            for task in late:
                task.cancel("the server is shutting down")

    async def _drained(self) -> None:
        state = self.server_state
        while state.connections or state.tasks:
            await asyncio.sleep(LOOK_S)
        for server in self.servers:
            await server.wait_closed()

    def _protocol(self) -> PatientHttp:
        return PatientHttp(self.config, self.server_state, {}, crowd=self._crowd)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
