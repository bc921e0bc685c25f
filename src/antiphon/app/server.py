"""``antiphon serve``: everything, supervised, until a signal or a client ends it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import shutil
import signal
import sys
import time
import webbrowser
from pathlib import Path
from typing import Any

import msgspec

from antiphon import __version__
from antiphon.actors import ActorRef, Backoff, Child, Supervisor
from antiphon.app.background import LOG_FORMAT, Ready, Started, start
from antiphon.app.core import SWITCH_S, Core, core, start_error
from antiphon.app.folder import DataFolder
from antiphon.app.notify import READY, STOPPING, notify
from antiphon.app.observing import Observing
from antiphon.app.process import has_terminal, raise_open_files, reload_certificate
from antiphon.app.program import Program, find_program, start_program
from antiphon.app.stats import STATS, StatsActor
from antiphon.bridges.files import (
    WATCH,
    WatchActor,
    WatchEnded,
    check_root,
)
from antiphon.bridges.otel import record_spans
from antiphon.bus import Policies, Policy, Quota
from antiphon.bus.retention import read_policies
from antiphon.errors import BusError, NameTaken, SpawnFailed, StartError
from antiphon.gateway import SESSIONS, Auth, Doors, Gateway, Tokens, load_token, open_doors
from antiphon.gateway.tls import Tls
from antiphon.messages import WorkerInfo, WorkerStart
from antiphon.services.worker import (
    WORKERS,
    ListWorkers,
    StartWorker,
    StopWorker,
    WorkersMessage,
    worker_services,
)
from antiphon.settings import Settings
from antiphon.stores import SqliteEventStore

logger = logging.getLogger(__name__)

WATCH_BACKOFF = Backoff(base=1.0, cap=30.0)

SPARE_FILES = 256
"""Files that may be open beside the connections."""
BLOCKED_S = 1.0
"""The loop is blocked when nothing else ran for so long."""

OK = 0
FAILED = 1


class AskWorkers:
    """The workers, as the gateway asks for them."""

    def __init__(self, ref: ActorRef[WorkersMessage]) -> None:
        self._ref = ref

    async def start(self, ask: WorkerStart) -> WorkerInfo:
        return await self._ref.call(StartWorker(ask))

    async def stop(self, name: str) -> WorkerInfo:
        return await self._ref.call(StopWorker(name))

    async def list(self) -> list[WorkerInfo]:
        return await self._ref.call(ListWorkers(ended=True))


class Server:
    """One server on one data folder.

    Args:
        settings: What it was started with.
        ready: Told the facts of the ready file, once connections are accepted.
        log_file: Where its log goes, if not to standard error.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        ready: Ready | None = None,
        log_file: Path | None = None,
    ) -> None:
        self.settings = settings
        self._ready = ready
        self._log_file = log_file
        self.folder = DataFolder(settings.data)
        self.started = time.monotonic()
        self.ending = asyncio.Event()
        self._announced = False

    async def run(self) -> int:
        """Serve until told to end; the exit code.

        Raises:
            StartError: It can't start.
        """
        settings = self.settings
        workspace = _workspace(settings.workspace)
        kept_by = policies(settings.retention)
        program = None if settings.actors is None else find_program(settings.actors)
        self.folder.acquire()
        try:
            token = load_token(self.folder.token)
            tokens = Tokens(self.folder.tokens)
            doors = _doors(settings)
            try:
                observing = Observing()
                store = SqliteEventStore(self.folder.log)
                async with core(
                    store,
                    observer=observing,
                    watchdog=BLOCKED_S,
                    where=self.folder.log,
                    ephemeral=settings.ephemeral,
                    schemas=self.folder.schemas,
                    retention=kept_by,
                    quota=_quota(settings),
                ) as running:
                    observing.attach(running.bus)
                    auth = Auth(token, tokens, sockets=settings.max_token_sockets)
                    return await self._serve(running, doors, auth, token, workspace, program)
            finally:
                doors.close()
        finally:
            self._take_back_facts()
            self.folder.release()

    async def _serve(
        self,
        running: Core,
        doors: Doors,
        auth: Auth,
        token: str,
        workspace: Path | None,
        program: Program | None,
    ) -> int:
        system = running.system
        services = worker_services(running.bus, self.folder.path)
        services.append(Child(STATS, lambda: StatsActor(running.bus)))
        if workspace is not None:
            services.append(self._watcher(running, workspace))
        gateway = Gateway(
            bus=running.bus,
            system=system,
            auth=auth,
            admin_file=self.folder.token,
            workers=AskWorkers(system.ref(WORKERS)),
            doors=doors,
            status=lambda: self._status(running, gateway),
            shutdown=self.ending.set,
            sockets=self.settings.max_sockets,
            connections=self.settings.max_connections,
        )
        try:
            await system.supervise(Supervisor(services), name="services")
            await system.supervise(Supervisor([Child(SESSIONS, gateway.sessions)]), name="gateway")
            if program is not None:
                await start_program(self.settings.actors or "", program, running)
        except (SpawnFailed, NameTaken) as error:
            raise start_error(error, "start") from error
        forget_spans = record_spans()  # by now the program has configured a tracer, if it does
        await gateway.start()
        try:
            self._listen_to_signals(doors.tls)
            self._announce(gateway, doors, token, workspace)
            gc.freeze()  # what was loaded by now stays: full collections need not walk it
            return await self._until_the_end(running, gateway)
        finally:
            notify(STOPPING)
            await gateway.aclose()
            if forget_spans is not None:
                forget_spans()

    def _watcher(self, running: Core, workspace: Path) -> Child[WatchEnded]:
        def make() -> WatchActor:
            return WatchActor(
                workspace,
                running.bus,
                journal_folder=self.folder.path / "watch",
                never=(self.folder.path,),
                ignore=self.settings.ignore,
            )

        make()  # a workspace that can't be watched is told now, not by a restart
        return Child(WATCH, make, backoff=WATCH_BACKOFF)

    async def _until_the_end(self, running: Core, gateway: Gateway) -> int:
        """Wait for a reason to end: told to, or given up by the supervisors."""
        told = asyncio.create_task(self.ending.wait())
        tripped = asyncio.create_task(running.system.wait())
        closed = asyncio.create_task(gateway.wait())
        await asyncio.wait((told, tripped, closed), return_when=asyncio.FIRST_COMPLETED)
        code = OK
        if tripped.done():
            print(f"antiphon: the server gave up: {tripped.result()}", file=sys.stderr)
            code = FAILED
        elif closed.done() and not told.done():
            print("antiphon: the HTTP server ended by itself", file=sys.stderr)
            code = FAILED
        for task in (told, tripped, closed):
            task.cancel()
        await asyncio.gather(told, tripped, closed, return_exceptions=True)
        return code

    def _listen_to_signals(self, tls: Tls | None) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._signalled, number)
        if tls is not None and not has_terminal():
            loop.add_signal_handler(signal.SIGHUP, reload_certificate, tls)

    def _signalled(self, number: int) -> None:
        """End in order; at the second signal, at once."""
        if self.ending.is_set():
            os._exit(128 + number)
        self.ending.set()

    def _announce(self, gateway: Gateway, doors: Doors, token: str, workspace: Path | None) -> None:
        facts = self._facts(gateway, doors)
        _write_private(self.folder.server, facts)
        if self.settings.ready_file is not None:
            _write_private(self.settings.ready_file, facts)
        self._announced = True
        page = f"{gateway.page_url}/#token={token}" if gateway.page_url else None
        if self._ready is None:
            self._print(gateway, page, workspace)
        else:
            self._ready(facts)
        notify(READY)
        if self.settings.open and page is not None:
            webbrowser.open(page)

    def _facts(self, gateway: Gateway, doors: Doors) -> dict[str, Any]:
        """What programs find the server by."""
        facts: dict[str, Any] = {
            "url": gateway.url,
            "pid": os.getpid(),
            "token_file": str(self.folder.token),
        }
        if gateway.page_url not in (None, gateway.url):
            facts["page_url"] = gateway.page_url
        if doors.tls is not None:
            facts["tls_cert"] = str(doors.tls.cert.absolute())
        if doors.unix is not None:
            facts["uds"] = str(doors.unix.path)
        if self._log_file is not None:
            facts["log_file"] = str(self._log_file)
        return facts

    def _print(self, gateway: Gateway, page: str | None, workspace: Path | None) -> None:
        # Only a person's terminal is told the token; what goes to a file may be kept or sent on.
        told = page is not None and sys.stdout.isatty()
        print(f"antiphon {__version__} is live\n")
        print(f"  open      {page if told else gateway.page_url or gateway.url}")
        if not told:
            print(f"  token     in {self.folder.token}")
        print(f"  data      {self.folder.path}")
        if workspace is not None:
            print(f"  watching  {workspace}")
        if shutil.which("antiphon") is None:
            print(f"  command   {Path(sys.executable).with_name('antiphon')}")
        print("  stop      Ctrl-C", flush=True)

    def _take_back_facts(self) -> None:
        """Nobody is to look for a server that has ended."""
        self.folder.server.unlink(missing_ok=True)
        if self.settings.ready_file is not None and self._announced:
            with contextlib.suppress(OSError):  # its folder may have gone
                self.settings.ready_file.unlink()

    def _status(self, running: Core, gateway: Gateway) -> dict[str, Any]:
        log = running.log
        actors, watchdog = running.system.actors(), running.system.watchdog
        return {
            **gateway.whereabouts(),
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": round(time.monotonic() - self.started, 1),
            "data": str(self.folder.path),
            "log_file": str(self._log_file) if self._log_file is not None else None,
            "head": log.head,
            "epoch": log.epoch,
            "store": log.status.state,
            "message": log.status.message,
            "log_bytes": log.store.size_bytes(),
            "free_bytes": _free_bytes(self.folder.path),
            "topics": len(log.topics),
            "subscriptions": log.subscriptions,
            "waiting_events": log.waiting,
            "connections": len(gateway.crowd),
            "connections_cut": gateway.crowd.cut,
            "sockets": sum(a.key.startswith("gateway/sessions/") for a in actors),
            "workers": sum(a.key.startswith("services/workers/") for a in actors),
            "actors": len(actors),
            "dead_letters": len(running.system.dead_letters),
            "loop_blocked": watchdog.blocked if watchdog is not None else 0,
            "events": log.counters,
            "refused": gateway.refusals,
            "removed": {**log.removals.counters, "size_bytes": log.removals.size_bytes},
        }


def _quota(settings: Settings) -> Quota:
    return Quota(
        events_per_s=settings.max_rate,
        events_at_once=settings.max_burst,
        bytes_per_s=settings.max_rate_bytes,
        topics=settings.max_topics,
    )


def policies(settings: dict[str, dict[str, Any]]) -> list[Policy]:
    """Read the setting ``retention``.

    Raises:
        StartError: Something in it breaks a rule.
    """
    try:
        given = read_policies(settings)
        Policies(given)
    except BusError as error:
        raise StartError(f"setting retention: {error}") from error
    return given


def _doors(settings: Settings) -> Doors:
    return open_doors(
        host=settings.host,
        port=settings.port,
        tcp=settings.tcp,
        uds=settings.uds,
        tls_cert=settings.tls_cert,
        tls_key=settings.tls_key,
        insecure_bind=settings.insecure_bind,
        host_names=settings.host_names,
        public_url=settings.public_url,
        proxies=settings.proxies,
    )


def _free_bytes(folder: Path) -> int | None:
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def _workspace(given: Path | None) -> Path | None:
    if given is None:
        return None
    check_root(given)
    return given.resolve()


def _write_private(path: Path, facts: dict[str, Any]) -> None:
    """Write JSON for its owner alone, whole or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(handle, msgspec.json.encode(facts) + b"\n")
        finally:
            os.close(handle)
        beside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise StartError(
            f"cannot write {path}: {(error.strerror or str(error)).lower()}"
        ) from error


def serve(
    settings: Settings,
    *,
    ready: Ready | None = None,
    log_file: Path | None = None,
) -> int:
    """Run a server until it is told to end; the exit code. A ``StartError`` is the caller's.

    Args:
        ready: As of ``Server``.
        log_file: As of ``Server``; whoever names it sees to the root logger.
    """
    logging.basicConfig(level=logging.WARNING, format=LOG_FORMAT)
    raise_open_files(settings.max_connections + SPARE_FILES)
    sys.setswitchinterval(SWITCH_S)

    async def run() -> int:
        return await Server(settings, ready=ready, log_file=log_file).run()

    if sys.platform == "win32":
        return asyncio.run(run())
    import uvloop

    return uvloop.run(run())


def serve_detached(settings: Settings) -> Started:
    """Run a server in the background, and return when it is ready.

    Raises:
        StartError: It can't start.
    """
    folder = DataFolder(settings.data)
    folder.acquire()  # made, and nobody else's: what else is wrong is told by the log
    folder.release()

    def run(ready: Ready) -> int:
        return serve(settings, ready=ready, log_file=folder.server_log)

    return start(run, folder.server_log)
