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
from antiphon.gateway.guard import Guard, Rules
from antiphon.gateway.holds import Pass
from antiphon.gateway.http import Http
from antiphon.gateway.issuing import Issuer
from antiphon.gateway.limits import FRAME_BYTES, SOCKETS
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

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
BACKLOG = 1024
FAREWELL_S = 3.0
"""Seconds for connections' actors to answer and say goodbye."""
DRAIN_S = 3
"""Seconds for HTTP requests in hand to be answered after that."""
PATIENCE_S = 2.0
"""Seconds of these for the log; then publishes in hand are answered without it."""


def bind(host: str, port: int) -> socket.socket:
    """A listening socket on this machine; port 0 picks a free one.

    Raises:
        StartError: The address is not of this machine, or the port is in use.
    """
    if host not in LOOPBACK:
        raise StartError(f"cannot listen on {host}: only 127.0.0.1, ::1 and localhost are served")
    address = "127.0.0.1" if host == "localhost" else host
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
        listening.listen(BACKLOG)  # now, since two that only bind don't meet
    except (OSError, OverflowError) as error:
        listening.close()
        raise StartError(f"cannot listen on {address}:{port}: {_why(error)}") from error
    listening.setblocking(False)
    return listening


def _why(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


class Gateway:
    """HTTP and WebSocket on one listening socket.

    ``sessions`` goes under a supervisor, with the key ``SESSIONS``, before ``start``.

    Args:
        listening: From ``bind``; closed by ``aclose``.
        status: What ``GET /v1/status`` shows: anything that msgspec can encode.
        shutdown: Called when ``POST /v1/shutdown`` was answered.
        web: The folder of the built page.
        sockets: Most WebSockets and event streams at a time.
        admin_file: Where the admin token is kept, for replacing it.
    """

    def __init__(
        self,
        *,
        bus: Bus,
        system: ActorSystem,
        auth: Auth,
        workers: Workers,
        listening: socket.socket,
        status: Callable[[], Any],
        shutdown: Callable[[], None],
        web: Path = page.FOLDER,
        sockets: int = SOCKETS,
        admin_file: Path | None = None,
    ) -> None:
        self._bus = bus
        self._auth = auth
        self._listening = listening
        self._going = False
        host, self.port = listening.getsockname()[:2]
        self.url = f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"
        self._traffic = Traffic()
        self._audit = Audit(bus, system.clock)
        self._issuer = Issuer(bus, auth, self._audit, admin_file)
        self._register = Register()
        seats = Seats(sockets, lambda: self._going)
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
        guard = Guard(self._route, Rules(self.port), denied=self._denied)
        self.app = Watched(guard, self._traffic)
        self._server = _Server(self._config())
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
            **by_rates,
        }

    async def start(self) -> None:
        """Accept connections from now on."""
        self._issuer.start()
        self._serving = asyncio.create_task(self._server.serve([self._listening]), name="gateway")
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
            self._listening.close()
        else:
            asyncio.get_running_loop().call_later(PATIENCE_S, self._http.give_up)
            await asyncio.wait((self._serving,))
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

    def _denied(self, reason: str, path: str) -> None:
        self._traffic.denied += 1
        self._audit.denied(reason, path)

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
            timeout_graceful_shutdown=DRAIN_S,
            backlog=BACKLOG,
        )


def _no_fault_of_ours(record: logging.LogRecord) -> bool:
    """Text that isn't UTF-8 is logged with a traceback; its sender is told, that is enough."""
    return not record.msg.startswith("Invalid UTF-8")


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers and its polling, saying when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
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
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
