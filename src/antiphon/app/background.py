"""``serve --detach``: the server in a process of its own, which outlives its terminal.

The process forks twice, so that the server leads no session and no terminal can become its
own; whoever started it waits until it says that it is ready, or ends.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import msgspec

from antiphon.errors import AntiphonError, StartError

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
READY_S = 60.0
"""Seconds to wait until it is ready."""
LOG_BYTES = 4 * 1024 * 1024
"""Of its log file, then it is renamed to ``.1`` in the place of an older one."""
LAST_LINES = 20

Ready = Callable[[dict[str, Any]], None]


class NotStartedError(StartError):
    """The server in the background ended before it was ready.

    Attributes:
        said: The last lines of its log.
    """

    def __init__(self, log: Path, said: list[str]) -> None:
        why = said[0].removeprefix("antiphon: ") if len(said) == 1 else f"see {log}"
        super().__init__(f"the server did not start: {why}")
        self.said = said if len(said) > 1 else []


class LogFile(RotatingFileHandler):
    """The log and all that the process prints, in one file for its owner alone."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8")
        self.setFormatter(logging.Formatter(LOG_FORMAT))
        self._take_output()

    def _open(self) -> Any:
        handle = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.fchmod(handle, 0o600)
        return os.fdopen(handle, "a", encoding="utf-8")

    def doRollover(self) -> None:  # noqa: N802 - logging's name
        super().doRollover()
        self._take_output()

    def _take_output(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        assert self.stream is not None
        for standard in (1, 2):
            os.dup2(self.stream.fileno(), standard)


class Started(NamedTuple):
    """The server in the background; *facts* as in its ready file."""

    pid: int
    facts: dict[str, Any]


def start(run: Callable[[Ready], int], log: Path) -> Started:
    """Run *run* in the background; it calls what it is given once it is ready.

    Raises:
        NotStartedError: It ended before.
        StartError: It is not ready after *READY_S*.
    """
    before = log.stat().st_size if log.exists() else 0
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _leave(run, log, writer)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb", buffering=0) as told:
        return _wait(told.fileno(), log, before)


def _wait(told: int, log: Path, before: int) -> Started:
    deadline = time.monotonic() + READY_S
    said = b""
    while not said.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([told], [], [], left)[0]:
            raise StartError(f"the server is not ready after {READY_S:.0f} s; see {log}")
        more = os.read(told, 65536)
        if not more:
            raise NotStartedError(log, _last_lines(log, before))
        said += more
    facts = msgspec.json.decode(said, type=dict[str, Any])
    return Started(facts["pid"], facts)


def _last_lines(log: Path, before: int) -> list[str]:
    """What *log* says since it had *before* bytes, cut short."""
    try:
        with log.open("rb") as written:
            written.seek(before if log.stat().st_size >= before else 0)
            lines = written.read().decode("utf-8", "replace").splitlines()
    except OSError as error:
        return [f"its log can't be read: {error}"]
    return lines[-LAST_LINES:]


def _leave(run: Callable[[Ready], int], log: Path, writer: int) -> NoReturn:
    """In the child: become a process that nobody waits for, and never return."""
    code = 1
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the server handles it
        code = _run(run, log, writer)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _run(run: Callable[[Ready], int], log: Path, writer: int) -> int:
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.close(nothing)
    logging.getLogger().addHandler(LogFile(log))

    def ready(facts: dict[str, Any]) -> None:
        with suppress(BrokenPipeError):  # whoever started it waits no more
            os.write(writer, msgspec.json.encode(facts) + b"\n")
        os.close(writer)

    try:
        return run(ready)
    except AntiphonError as error:
        print(f"antiphon: {error}", file=sys.stderr)
        return 1
