"""How one run of a command ended, and what its event says. Pure."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import Any

from antiphon.errors import cut
from antiphon.messages import WorkerStart
from antiphon.services.worker.keeper import Exited, Refused

NOT_FOUND = 127
NOT_EXECUTABLE = 126


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one run.

    Attributes:
        exit_code, signal: By the system; a command that could not be started has 127 or
            126, as shells have it.
        reason, message: Where there is more to say: ``not_found``, ``not_executable``,
            ``bad_cwd``, ``not_started``, ``keeper_lost``, ``shim_lost``, ``unkillable``.
        ran_s: From start to exit.
        background: Processes that it left behind were still there 250 ms later.
        pids: Those that can't be killed.
    """

    exit_code: int | None = None
    signal: int | None = None
    reason: str | None = None
    message: str | None = None
    ran_s: float = 0.0
    background: bool = False
    started: bool = True
    pids: tuple[int, ...] = ()

    @property
    def failed(self) -> bool:
        return self.exit_code != 0

    @property
    def lost(self) -> bool:
        return self.reason in ("keeper_lost", "shim_lost")

    def payload(self) -> dict[str, Any]:
        """What there is to say, without what there isn't."""
        told = {
            "exit_code": self.exit_code,
            "signal": self.signal,
            "reason": self.reason,
            "message": self.message,
            "ran_ms": round(self.ran_s * 1000) if self.started else None,
            "background": self.background or None,
            "pids": list(self.pids) or None,
        }
        return {name: value for name, value in told.items() if value is not None}


def keeper_lost(ran_s: float = 0.0) -> Outcome:
    return Outcome(reason="keeper_lost", message="the keeper process ended", ran_s=ran_s)


def shim_lost(ran_s: float = 0.0) -> Outcome:
    return Outcome(reason="shim_lost", message="its parent, the shim, was killed", ran_s=ran_s)


def of_refusal(refused: Refused, start: WorkerStart) -> Outcome:
    """Why it could not be started, in words."""
    number = refused.errno
    program = cut(start.argv[0])
    why = os.strerror(number).lower() if number else "unknown"
    match refused.stage, number:
        case "lost", _:
            return keeper_lost()
        case "shim_lost", _:
            return shim_lost()
        case "cwd", _:
            reason, message = "bad_cwd", f"cannot start in {cut(start.cwd or '/')}: {why}"
        case "exec", errno.ENOENT | errno.ENOTDIR:
            message = f"not found: {program}"
            if "/" in start.argv[0]:
                message += " (or the interpreter that it names)"
            return Outcome(NOT_FOUND, reason="not_found", message=message, started=False)
        case "exec", errno.EACCES | errno.ENOEXEC | errno.EISDIR:
            reason, message = "not_executable", f"not executable: {program}: {why}"
        case stage, _:
            reason, message = "not_started", f"cannot start {program}: {why} ({stage})"
    return Outcome(NOT_EXECUTABLE, reason=reason, message=message, started=False)


def not_started(start: WorkerStart, error: OSError) -> Outcome:
    """This process could not even ask for it."""
    why = (error.strerror or str(error)).lower()
    message = f"cannot start {cut(start.argv[0])}: {why}"
    return Outcome(NOT_EXECUTABLE, reason="not_started", message=message, started=False)


def of_exit(
    exited: Exited | None, *, ran_s: float, background: bool, stuck: tuple[int, ...]
) -> Outcome:
    """How it ended; *exited* is None where it did not, though it was killed."""
    if exited is None:
        return Outcome(
            reason="unkillable",
            message=f"could not be killed: {', '.join(map(str, stuck))}",
            ran_s=ran_s,
            pids=stuck,
        )
    if exited.lost:
        return shim_lost(ran_s) if exited.shim_lost else keeper_lost(ran_s)
    return Outcome(exited.code, exited.signal, ran_s=ran_s, background=background)
