"""The server's side of the keeper: start it, hand it commands, hear what became of them.

Nothing here blocks the loop but the start of the keeper itself (a few milliseconds).
What the keeper does and the messages stand in ``keeper_main.py``. Leaves out: what to do
with output and ends (``command.py``), starting a new keeper (``keeper_actor.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from signal import SIGCONT, SIGKILL, SIGTERM
from typing import Any

from antiphon.errors import AntiphonError
from antiphon.ids import new_id
from antiphon.services.worker import keeper_main

_log = logging.getLogger(__name__)

READY_WITHIN = 15.0
GONE_WITHIN = keeper_main.Ladder.KILL_AFTER + 1.0


class KeeperLost(AntiphonError):
    """The keeper process ended, or did not come up; nothing can be started by it."""


@dataclass(frozen=True, slots=True)
class Started:
    """The command runs. ``pid`` is also its session's id."""

    pid: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The command could not be started.

    Attributes:
        stage: ``cwd``, ``exec``, ``fork``, ``stdio``, ``session``; ``lost`` or ``shim_lost``.
        errno: The system's number for it, 0 for the last two.
    """

    stage: str
    errno: int = 0


@dataclass(frozen=True, slots=True)
class Exited:
    """How the command's first process ended; both are None when that can't be known.

    Attributes:
        shim_lost: It can't be known since the shim, its parent, ended first.
    """

    code: int | None = None
    signal: int | None = None
    shim_lost: bool = False

    @property
    def lost(self) -> bool:
        return self.code is None and self.signal is None


class Session:
    """One command in the keeper's care, with all that it starts.

    Attributes:
        stdout, stderr: Read ends of its pipes, non-blocking; yours until ``close``.
        started, exited, empty: Resolve in this order, each once, never with an exception.
            ``empty`` means that no process is left, or that the rest can't be killed.
        stuck: The processes that survived SIGKILL (another user's, or in the kernel).
    """

    def __init__(self, id: str, keeper: Keeper, stdout: int, stderr: int) -> None:
        loop = asyncio.get_running_loop()
        self.id = id
        self.stdout = stdout
        self.stderr = stderr
        self.started: asyncio.Future[Started | Refused] = loop.create_future()
        self.exited: asyncio.Future[Exited] = loop.create_future()
        self.empty: asyncio.Future[None] = loop.create_future()
        self.shim = 0
        self.leader = 0
        self.stuck: tuple[int, ...] = ()
        self._keeper = keeper
        self._open = True

    def stop(self) -> None:
        """Begin the ladder; safe to repeat, from any state."""
        self._keeper.stop(self)

    def close(self) -> None:
        """Let go of the pipes; what the command writes from now on fails in it."""
        if self._open:
            self._open = False
            os.close(self.stdout)
            os.close(self.stderr)

    def hear(self, message: dict[str, Any]) -> None:
        match message["event"]:
            case "started":
                self.shim, self.leader = message["shim"], message["pid"]
                _settle(self.started, Started(message["pid"]))
            case "refused":
                self._never_ran(Refused(message["stage"], message["errno"]))
            case "exited":
                self._never_ran(Refused("shim_lost"))
                code, number = message.get("code"), message.get("signal")
                _settle(self.exited, Exited(code, number, shim_lost="lost" in message))
            case "stuck":
                self.stuck = tuple(message["pids"])
                _settle(self.empty, None)
            case "empty":
                self._never_ran(Refused("lost"))
                _settle(self.empty, None)

    def lose(self) -> None:
        self._never_ran(Refused("lost"))
        _settle(self.exited, Exited())

    def _never_ran(self, why: Refused) -> None:
        if not self.started.done():
            self.started.set_result(why)
            _settle(self.exited, Exited())


class Keeper:
    """One keeper process, and the sessions in its care. Made by ``Keeper.start``.

    Attributes:
        lost: Resolves with the reason when the process is gone without ``close``;
            by then every session has ended, and ``clean_up`` kills what is left of them.
    """

    def __init__(self, process: subprocess.Popen[bytes], server: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._process = process
        self._socket: socket.socket | None = server
        self._unpacker = keeper_main.Unpacker()
        self._out: deque[tuple[memoryview, tuple[int, ...]]] = deque()
        self._sessions: dict[str, Session] = {}
        self._orphans: list[Session] = []
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._gone = asyncio.Event()
        self.lost: asyncio.Future[str] = self._loop.create_future()
        threading.Thread(target=self._wait, name="antiphon-keeper", daemon=True).start()
        self._loop.add_reader(server.fileno(), self._read)

    @classmethod
    async def start(cls) -> Keeper:
        """Start a keeper process and wait until it is ready.

        Raises:
            KeeperLost: If it ends first, or isn't ready within 15 s.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            try:
                process = _spawn(theirs.fileno())
            except OSError:
                ours.close()
                raise
        keeper = cls(process, ours)
        either: list[asyncio.Future[Any]] = [keeper._ready, keeper.lost]
        try:
            await asyncio.wait(either, timeout=READY_WITHIN, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            keeper.close()
            raise
        if not keeper._ready.done():
            keeper.close()
            why = keeper.lost.result() if keeper.lost.done() else f"silent for {READY_WITHIN:g} s"
            raise KeeperLost(f"the keeper did not start: {why}")
        return keeper

    @property
    def pid(self) -> int:
        return self._process.pid

    def launch(self, argv: Sequence[str], *, cwd: str, env: Mapping[str, str]) -> Session:
        """Start a command; the session tells how it goes.

        Raises:
            KeeperLost: If the process is gone or closed.
            OSError: If there are no descriptors left for its pipes.
        """
        if self._socket is None:
            raise KeeperLost("the keeper is gone, nothing can be started")
        (stdin, out_w, err_w), (out_r, err_r) = _stdio()
        session = Session(new_id(), self, out_r, err_r)
        self._sessions[session.id] = session
        start = {"op": "start", "id": session.id, "argv": list(argv), "cwd": cwd, "env": dict(env)}
        self._post(start, (stdin, out_w, err_w))
        return session

    def stop(self, session: Session) -> None:
        if self._socket is not None and session.id in self._sessions:
            self._post({"op": "stop", "id": session.id})

    def close(self) -> None:
        """Let the process go: it ends its sessions by the ladder, then itself."""
        self._hang_up()
        if self._orphans:  # lost before, and nobody came to clean up
            left = [(s.shim, s.leader) for s in self._orphans if s.leader]
            threading.Thread(target=kill_left, args=(left,), daemon=True).start()
        for session in (*self._sessions.values(), *self._orphans):
            session.lose()
            _settle(session.empty, None)
        self._sessions.clear()
        self._orphans.clear()

    async def aclose(self, timeout: float = GONE_WITHIN) -> bool:
        """``close``, then wait until the process is gone; False if it wasn't in time."""
        self.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._gone.wait(), timeout)
        return self._gone.is_set()

    async def wait_lost(self) -> str:
        """The reason, once the process is gone without ``close``."""
        return await asyncio.shield(self.lost)

    async def clean_up(self) -> None:
        """After ``lost``: kill what is left of the sessions it had."""
        orphans, self._orphans = self._orphans, []
        await asyncio.to_thread(kill_left, [(s.shim, s.leader) for s in orphans if s.leader])
        for session in orphans:
            _settle(session.empty, None)

    # the socket

    def _post(self, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
        idle = not self._out
        self._out.append((memoryview(keeper_main.pack(message)), fds))
        if idle:
            self._write()

    def _write(self) -> None:
        server = self._socket
        if server is None:
            return
        try:
            while self._out:
                data, fds = self._out[0]
                sent = socket.send_fds(server, [data], fds) if fds else server.send(data)
                _close_all(fds)
                self._out.popleft()
                if sent < len(data):
                    self._out.appendleft((data[sent:], ()))
        except (BlockingIOError, InterruptedError):
            self._loop.add_writer(server.fileno(), self._write)
        except OSError as error:
            self._lose(f"cannot write to it: {error.strerror}")
        else:
            self._loop.remove_writer(server.fileno())

    def _read(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(256 * 1024)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(f"cannot read from it: {error.strerror}")
            return
        if not data:
            self._lose("it ended")
            return
        try:
            messages = self._unpacker.feed(data)
        except ValueError as error:
            self._lose(f"it speaks in tongues: {error}")
            return
        for message in messages:
            self._hear(message)

    def _hear(self, message: dict[str, Any]) -> None:
        if message["event"] == "ready":
            _settle(self._ready, None)
        elif message["event"] == "crash":
            _log.error("the keeper crashed:\n%s", message["trace"])
        elif session := self._sessions.get(message["id"]):
            if message["event"] == "empty":
                del self._sessions[session.id]
            session.hear(message)

    def _hang_up(self) -> None:
        if self._socket is None:
            return
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        self._socket = None
        for _, fds in self._out:
            _close_all(fds)
        self._out.clear()

    def _lose(self, why: str) -> None:
        self._hang_up()
        self._orphans += self._sessions.values()
        self._sessions.clear()
        for session in self._orphans:
            session.lose()
        _settle(self.lost, why)

    # the process

    def _wait(self) -> None:
        """In a thread of its own, so that the process is reaped whoever forgets it."""
        self._process.wait()
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            self._loop.call_soon_threadsafe(self._gone.set)


def kill_left(sessions: Iterable[tuple[int, int]], *, within: float = 3.0) -> bool:
    """Kill the commands of a dead keeper, each given as (shim, first process); blocks.

    On Linux the kernel has told their shims, who do the same; this makes sure, and wakes
    those that are stopped, so that they hear it.
    """
    left = list(sessions)
    shims = [shim for shim, _ in left]
    deadline = time.monotonic() + within
    if not keeper_main.LINUX:
        keeper_main.send(shims, [SIGTERM])
    while left and time.monotonic() < deadline:
        living = [(s, keeper_main.members(*s, shim_lives=False)) for s in left]
        left = [session for session, pids in living if pids]
        for _, pids in living:
            keeper_main.send(pids, [SIGKILL])
        keeper_main.send(shims, [SIGCONT])  # after the look: who could stop them is gone
        if left:
            time.sleep(0.02)
    return not left


def _spawn(fd: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-X", "utf8", keeper_main.__file__, str(fd)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,  # it may outlive us; what it has to say comes by the socket
        cwd="/",
        pass_fds=(fd,),
        start_new_session=True,
    )


def _stdio() -> tuple[tuple[int, int, int], tuple[int, int]]:
    """The command's stdin, stdout and stderr, and our ends of the last two."""
    opened: list[int] = []
    try:
        opened.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        opened += os.pipe()
        opened += os.pipe()
    except OSError:
        _close_all(opened)
        raise
    stdin, out_r, out_w, err_r, err_w = opened
    os.set_blocking(out_r, False)
    os.set_blocking(err_r, False)
    return (stdin, out_w, err_w), (out_r, err_r)


def _close_all(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)


def _settle(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)
