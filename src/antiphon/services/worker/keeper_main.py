"""The keeper: a small helper process that starts commands and never leaves one behind.

The server starts it by path, ``python -I -S keeper_main.py FD``, and talks to it over
the socket FD. It uses the standard library only and never imports antiphon. It has one
thread, so it may fork, which the threaded server must not.

Each command gets a *shim*, a fork of the keeper that is its parent, makes itself the
child subreaper (Linux) and does nothing but wait. Whatever the command starts stays a
descendant of its shim, also a daemon that forked twice and called setsid, so it is
always known whose it is, and the shim's last ``wait`` tells that nothing is left.
When the keeper dies, the kernel tells the shim, which then kills what it has.

When the socket closes (the server ended, even by ``kill -9``) the keeper runs the ladder
for every command (SIGHUP and SIGCONT, 2 s, SIGTERM, 3 s, SIGKILL) and exits.

Without ``/proc`` and child subreapers (macOS) a command's processes are found by
``ps`` and ``os.getsid``: its session and their descendants. There a process that makes a
session of its own is lost from sight once its parent has ended; and if the keeper and the
server are both killed at the same time, nobody is left to end what runs.

Out of reach everywhere: processes of another user (setuid programs); they are reported
as stuck. Leaves out: output (the command writes into the server's own pipes), restarts.

Messages, both ways: four bytes of length (big-endian), then a JSON object.

- to the keeper: ``start {id, argv, cwd, env}`` with three descriptors (stdin, stdout,
  stderr) by SCM_RIGHTS; ``stop {id}``
- from it: ``ready {pid}``; ``started {id, pid, shim}``; ``refused {id, stage, errno}``;
  ``exited {id, code | signal | lost}``; ``stuck {id, pids}``; ``empty {id}``, the last of
  an id; ``crash {trace}``
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, NoReturn

LINUX = sys.platform.startswith("linux")
LONGEST_MESSAGE = 8 * 1024 * 1024
STDIO = 3

_LENGTH = struct.Struct(">I")
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


# --- messages -------------------------------------------------------------------------------


def pack(message: dict[str, Any]) -> bytes:
    """Write one message as it crosses the socket."""
    data = json.dumps(message, separators=(",", ":")).encode()
    return _LENGTH.pack(len(data)) + data


class Unpacker:
    """Puts messages together from the pieces in which they arrive."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The messages that *data* completes.

        Raises:
            ValueError: If a length is over ``LONGEST_MESSAGE``; the stream is lost then.
        """
        self._buffer += data
        messages = []
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > LONGEST_MESSAGE:
                raise ValueError(f"a message of {length} bytes, the limit is {LONGEST_MESSAGE}")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                break
            messages.append(json.loads(self._buffer[_LENGTH.size : end]))
            del self._buffer[:end]
        return messages


# --- the ladder -----------------------------------------------------------------------------


class Ladder:
    """Decides which signals are due; pure, times in monotonic seconds.

    SIGHUP and SIGCONT at once, SIGTERM after 2 s, SIGKILL after 5 s and again every
    50 ms, since what forks meanwhile must be met too. ``stuck`` says that 5 s of
    SIGKILL did not help; from then on it is tried once a second.
    """

    TERM_AFTER = 2.0
    KILL_AFTER = 5.0
    KILL_EVERY = 0.05
    STUCK_AFTER = 10.0
    STUCK_EVERY = 1.0

    def __init__(self, now: float) -> None:
        self._begun = now
        self._rungs: list[tuple[float, tuple[signal.Signals, ...]]] = [
            (now, (signal.SIGHUP, signal.SIGCONT)),
            (now + self.TERM_AFTER, (signal.SIGTERM,)),
            (now + self.KILL_AFTER, (signal.SIGKILL,)),
        ]

    def due(self, now: float) -> tuple[signal.Signals, ...]:
        """The signals to send now, the mildest first; each rung is given once, but the last."""
        signals: tuple[signal.Signals, ...] = ()
        while self._rungs and self._rungs[0][0] <= now:
            signals += self._rungs.pop(0)[1]
        if not self._rungs:
            pause = self.STUCK_EVERY if self.stuck(now) else self.KILL_EVERY
            self._rungs.append((now + pause, (signal.SIGKILL,)))
        return signals

    def wait(self, now: float) -> float:
        """Seconds until the next rung."""
        return max(0.0, self._rungs[0][0] - now)

    def stuck(self, now: float) -> bool:
        return now - self._begun >= self.STUCK_AFTER

    def hasten(self, now: float) -> None:
        """Go to SIGKILL at once."""
        self._rungs = [(now, (signal.SIGKILL,))]


# --- the process table ----------------------------------------------------------------------


class Process(NamedTuple):
    """One row of the process table; ``session`` is -1 where it can't be read."""

    pid: int
    parent: int
    session: int
    zombie: bool


def processes() -> list[Process]:
    """Every process of this machine that can be seen."""
    return _from_proc() if LINUX else _from_ps()


def _from_proc() -> list[Process]:
    table = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", "rb") as file:
            # "pid (name) state ppid pgrp session …"; the name may hold anything, also ")"
            state, parent, _, session = file.read().rpartition(b")")[2].split(None, 4)[:4]
            table.append(Process(int(entry), int(parent), int(session), state in b"ZX"))
    return table


def _from_ps() -> list[Process]:
    import subprocess

    with subprocess.Popen(
        ["/bin/ps", "-axo", "pid=,ppid=,stat="], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as ps:
        listing, _ = ps.communicate()
    if ps.returncode:
        raise OSError(errno.EIO, "ps could not list the processes")
    table = []
    for line in listing.splitlines():
        pid, parent, state = line.split(None, 2)
        session = -1
        with contextlib.suppress(OSError):
            session = os.getsid(int(pid))
        if int(pid) != ps.pid:
            table.append(Process(int(pid), int(parent), session, state.startswith(b"Z")))
    return table


def descendants(table: Iterable[Process], root: int) -> list[Process]:
    """The processes below *root*, without *root*; parents before their children."""
    children: dict[int, list[Process]] = {}
    for process in table:
        children.setdefault(process.parent, []).append(process)
    found = list(children.get(root, ()))
    for process in found:
        if process.pid != process.parent:
            found.extend(children.get(process.pid, ()))
    return found


def members(shim: int, leader: int, *, shim_lives: bool = True) -> list[int]:
    """The living processes of one command, found now.

    With a living subreaper these are the descendants of *shim*; else the session of
    *leader* and all their descendants.
    """
    table = processes()
    if LINUX and shim_lives:
        found = descendants(table, shim)
    else:
        found = [p for p in table if leader and leader in (p.session, p.pid)]
        found += [below for p in found for below in descendants(table, p.pid)]
    return sorted({p.pid for p in found if not p.zombie} - {shim, os.getpid()})


def send(pids: Iterable[int], signals: Iterable[signal.Signals]) -> None:
    """Send each of *signals* to each of *pids*; who is gone or not ours is passed over."""
    for pid in pids:
        for number in signals:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)


# --- the shim and its command ---------------------------------------------------------------


def _nothing(*_: object) -> None:
    """A handler, unlike SIG_IGN, is not inherited by the command."""


def stay_deaf() -> None:
    """Make the signals that a terminal or a shell sends to everybody do nothing here."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(number, _nothing)


def _load_prctl() -> Callable[[int, int], int] | None:
    if not LINUX:
        return None
    import ctypes

    prctl = ctypes.CDLL(None, use_errno=True).prctl
    return lambda option, value: int(prctl(option, value, 0, 0, 0))


class Command(NamedTuple):
    """What to start; all bytes, as the kernel takes them."""

    argv: list[bytes]
    cwd: bytes
    env: dict[bytes, bytes]
    stdio: list[int]


def read_command(message: dict[str, Any], stdio: list[int]) -> Command:
    def raw(text: str) -> bytes:
        return text.encode("utf-8", "surrogateescape")

    return Command(
        [raw(part) for part in message["argv"]],
        raw(message["cwd"]),
        {raw(name): raw(value) for name, value in message["env"].items()},
        stdio,
    )


def become(command: Command, failures: int) -> NoReturn:
    """Turn this fresh fork into the command; what fails is written to *failures*."""
    stage = "session"
    try:
        os.setsid()
        stage = "stdio"
        for target, source in enumerate(command.stdio):
            os.dup2(source, target)
        stage = "cwd"
        os.chdir(command.cwd)
        stage = "exec"
        _fresh_signals()
        os.execvpe(command.argv[0], command.argv, command.env)
    except OSError as error:
        os.write(failures, f"{stage} {error.errno or 0}".encode())
    except BaseException:
        os.write(failures, f"{stage} {errno.EINVAL}".encode())
    finally:
        os._exit(127)


def _fresh_signals() -> None:
    for number in signal.valid_signals():
        # SIGKILL, SIGSTOP and a few that the C library keeps for itself refuse
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


class Shim:
    """The life of a shim: start the command, wait for all that comes of it, report."""

    def __init__(self, report: int, prctl: Callable[[int, int], int] | None) -> None:
        self._report = report
        self._prctl = prctl
        self._leader = 0

    def run(self, command: Command, keeper: int) -> None:
        signal.set_wakeup_fd(-1)
        _close_all_but({0, 1, 2, self._report, *command.stdio})
        stay_deaf()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, self._purge)
        if self._prctl is not None:
            self._prctl(_PR_SET_CHILD_SUBREAPER, 1)
            self._prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() == keeper and self._start(command):
            self._wait()
        self._tell({"event": "empty"})

    def _tell(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # the keeper is gone; SIGTERM is on its way
            os.write(self._report, json.dumps(message).encode() + b"\n")

    def _start(self, command: Command) -> bool:
        reading, writing = os.pipe()
        try:
            self._leader = os.fork()
        except OSError as error:
            self._tell({"event": "refused", "stage": "fork", "errno": error.errno})
            return False
        if self._leader == 0:
            become(command, writing)
        for fd in (writing, *command.stdio):
            os.close(fd)
        failure = os.read(reading, 100).split()  # ends at once when exec closes the pipe
        os.close(reading)
        if not failure:
            self._tell({"event": "started", "pid": self._leader, "shim": os.getpid()})
            return True
        os.waitpid(self._leader, 0)
        self._tell({"event": "refused", "stage": failure[0].decode(), "errno": int(failure[1])})
        return False

    def _wait(self) -> None:
        while True:
            try:
                pid, status = os.wait()
            except ChildProcessError:
                break
            if pid == self._leader:
                self._tell({"event": "exited", **how(status)})
        if self._prctl is None:
            while members(os.getpid(), self._leader):
                time.sleep(0.1)

    def _purge(self, *_: object) -> NoReturn:
        """Kill everything and end: the keeper has died, or somebody wants this shim gone."""
        while self._leader:
            left = members(os.getpid(), self._leader)
            send(left, [signal.SIGKILL])
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            if not left:
                break
            time.sleep(0.01)
        os._exit(1)


def how(status: int) -> dict[str, int]:
    """A wait status as ``{"code": n}`` or ``{"signal": n}``."""
    if os.WIFSIGNALED(status):
        return {"signal": os.WTERMSIG(status)}
    return {"code": os.WEXITSTATUS(status)}


def _close_all_but(kept: set[int]) -> None:
    for fd in [int(name) for name in os.listdir("/dev/fd")]:
        if fd not in kept:
            with contextlib.suppress(OSError):  # the one that listed the folder
                os.close(fd)


# --- the keeper -----------------------------------------------------------------------------


class Session:
    """What the keeper knows of one command."""

    def __init__(self, id: str, shim: int, report: int) -> None:
        self.id = id
        self.shim = shim
        self.report = report
        self.unread = b""
        self.leader = 0
        self.ladder: Ladder | None = None
        self.to_stop = False
        self.exited = False
        self.empty = False
        self.lost = False
        self.told_stuck = False


class Keeper:
    """The loop: takes commands, forwards the shims' reports, climbs the ladders."""

    def __init__(self, server: socket.socket) -> None:
        self._server: socket.socket | None = server
        self._unpacker = Unpacker()
        self._fds: list[int] = []
        self._out = bytearray()
        self._sessions: dict[str, Session] = {}
        self._selector = selectors.DefaultSelector()
        self._prctl = _load_prctl()
        self._wake_r, self._wake_w = os.pipe()

    def run(self) -> None:
        server = self._server
        assert server is not None
        stay_deaf()
        if self._prctl is not None:
            self._prctl(_PR_SET_CHILD_SUBREAPER, 1)  # for what a killed shim leaves
        signal.signal(signal.SIGCHLD, _nothing)
        for fd in (self._wake_r, self._wake_w):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._wake_w, warn_on_full_buffer=False)
        server.setblocking(False)
        self._selector.register(server, selectors.EVENT_READ, self._on_server)
        self._selector.register(self._wake_r, selectors.EVENT_READ, self._on_signal)
        self._send({"event": "ready", "pid": os.getpid()})
        while self._server is not None or self._sessions:
            for key, mask in self._selector.select(self._timeout()):
                key.data(mask)
            self._climb()

    # the server's side

    def _on_server(self, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._flush()
        if mask & selectors.EVENT_READ and self._server is not None:
            self._receive(self._server)

    def _receive(self, server: socket.socket) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(server, 256 * 1024, 64)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data, fds = b"", []
        for fd in fds:
            os.set_inheritable(fd, False)
        self._fds += fds
        if not data:
            self._server_gone()
            return
        for message in self._unpacker.feed(data):
            if message["op"] == "start":
                self._start(message)
            elif message["id"] in self._sessions:
                self._stop(self._sessions[message["id"]])

    def _server_gone(self) -> None:
        if self._server is None:
            return
        self._selector.unregister(self._server)
        self._server.close()
        self._server = None
        self._out.clear()
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()
        for session in self._sessions.values():
            session.ladder = session.ladder or Ladder(time.monotonic())

    def _send(self, message: dict[str, Any]) -> None:
        if self._server is not None:
            self._out += pack(message)
            self._flush()

    def _flush(self) -> None:
        if self._server is None:
            return
        try:
            while self._out:
                del self._out[: self._server.send(self._out)]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self._server_gone()
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
        self._selector.modify(self._server, events, self._on_server)

    # commands

    def _start(self, message: dict[str, Any]) -> None:
        id = message["id"]
        stdio, self._fds = self._fds[:STDIO], self._fds[STDIO:]
        try:
            if len(stdio) < STDIO:
                raise OSError(errno.EMFILE, "descriptors were cut off")
            self._fork(id, read_command(message, stdio))
        except OSError as error:
            self._send({"event": "refused", "id": id, "stage": "fork", "errno": error.errno})
            self._send({"event": "empty", "id": id})
        finally:
            for fd in stdio:
                os.close(fd)

    def _fork(self, id: str, command: Command) -> None:
        keeper = os.getpid()
        reading, writing = os.pipe()
        try:
            shim = os.fork()
        except OSError:
            os.close(reading)
            raise
        else:
            if shim == 0:
                self._be_shim(Shim(writing, self._prctl), command, keeper)
        finally:
            os.close(writing)
        self._sessions[id] = session = Session(id, shim, reading)
        os.set_blocking(reading, False)
        self._selector.register(reading, selectors.EVENT_READ, lambda _: self._on_report(session))

    def _be_shim(self, shim: Shim, command: Command, keeper: int) -> NoReturn:
        try:
            shim.run(command, keeper)
        finally:
            os._exit(0)

    def _stop(self, session: Session) -> None:
        session.to_stop = True
        if session.leader and session.ladder is None:  # else when it has started
            session.ladder = Ladder(time.monotonic())

    def _on_report(self, session: Session) -> None:
        try:
            data = os.read(session.report, 65536)
        except (BlockingIOError, InterruptedError):
            return
        if not data:
            self._report_ended(session)
            return
        *lines, session.unread = (session.unread + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            session.leader = message.get("pid", session.leader)
            session.exited = session.exited or message["event"] in ("exited", "refused")
            session.empty = session.empty or message["event"] == "empty"
            if not session.empty:
                self._send({**message, "id": session.id})
        if session.to_stop:
            self._stop(session)

    def _report_ended(self, session: Session) -> None:
        self._selector.unregister(session.report)
        os.close(session.report)
        session.report = -1
        if session.empty:
            self._forget(session)
            return
        session.lost = True
        if not session.exited:
            session.exited = True
            self._send({"event": "exited", "id": session.id, "lost": True})
        session.ladder = Ladder(time.monotonic())
        session.ladder.hasten(time.monotonic())

    def _forget(self, session: Session) -> None:
        self._reap()
        del self._sessions[session.id]
        self._send({"event": "empty", "id": session.id})

    # time and children

    def _timeout(self) -> float | None:
        now = time.monotonic()
        waits = [s.ladder.wait(now) for s in self._sessions.values() if s.ladder is not None]
        return min(waits, default=None)

    def _climb(self) -> None:
        now = time.monotonic()
        for session in list(self._sessions.values()):
            if session.ladder is None or session.ladder.wait(now) > 0:
                continue
            signals = session.ladder.due(now)
            left = self._members(session)
            send(left, signals)
            if session.lost and not left:
                self._forget(session)
            elif session.ladder.stuck(now):
                self._stuck(session, left)

    def _members(self, session: Session) -> list[int]:
        found = members(session.shim, session.leader, shim_lives=not session.lost)
        if session.lost:  # orphans of a killed shim have come to the keeper itself
            shims = {other.shim for other in self._sessions.values()}
            table = processes()
            for process in table:
                if process.parent == os.getpid() and process.pid not in shims:
                    if not process.zombie:
                        found.append(process.pid)
                    found += [p.pid for p in descendants(table, process.pid) if not p.zombie]
        return found

    def _stuck(self, session: Session, pids: list[int]) -> None:
        if not pids:  # only the shim is left, and doesn't come to say so
            send([session.shim], [signal.SIGKILL])
            return
        if not session.told_stuck:
            session.told_stuck = True
            self._send({"event": "stuck", "id": session.id, "pids": pids})
        if self._server is None:
            del self._sessions[session.id]  # nobody is left to tell

    def _on_signal(self, _: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_r, 4096)
        self._reap()

    def _reap(self) -> None:
        """Also wake whatever shim was stopped: it has an exit to tell, or a command to kill."""
        with contextlib.suppress(ChildProcessError):
            while (child := os.waitpid(-1, os.WNOHANG | os.WUNTRACED))[0]:
                pid, status = child
                if os.WIFSTOPPED(status):
                    send([pid], [signal.SIGCONT])


def main() -> None:
    server = socket.socket(fileno=int(sys.argv[1]))
    server.set_inheritable(False)
    keeper = Keeper(server)
    try:
        keeper.run()
    except BaseException:
        import traceback

        trace = traceback.format_exc()
        with contextlib.suppress(OSError):
            server.setblocking(True)
            server.sendall(pack({"event": "crash", "trace": trace}))
        raise


if __name__ == "__main__":
    main()
