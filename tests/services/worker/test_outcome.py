"""Outcome: what the event of an end says, and what it leaves out."""

from __future__ import annotations

import errno

import pytest

from antiphon.messages import WorkerStart
from antiphon.services.worker.keeper import Exited, Refused
from antiphon.services.worker.outcome import Outcome, not_started, of_exit, of_refusal

START = WorkerStart(argv=["prog"], cwd="/here")


def test_an_exit_tells_its_code_or_signal_and_how_long_it_ran() -> None:
    done = of_exit(Exited(code=0), ran_s=1.5, background=False, stuck=())
    assert (done.failed, done.payload()) == (False, {"exit_code": 0, "ran_ms": 1500})
    shot = of_exit(Exited(signal=9), ran_s=0, background=True, stuck=())
    assert (shot.failed, shot.payload()) == (True, {"signal": 9, "ran_ms": 0, "background": True})


def test_an_exit_that_nobody_saw_is_the_keepers_loss() -> None:
    lost = of_exit(Exited(), ran_s=2, background=False, stuck=())
    assert (lost.failed, lost.lost, lost.reason) == (True, True, "keeper_lost")


def test_a_lost_shim_is_told_apart_from_a_lost_keeper() -> None:
    lost = of_exit(Exited(shim_lost=True), ran_s=2, background=False, stuck=())
    assert (lost.failed, lost.lost, lost.reason) == (True, True, "shim_lost")


def test_what_cannot_be_killed_is_named() -> None:
    stuck = of_exit(None, ran_s=0, background=True, stuck=(7, 8))
    assert stuck.payload()["pids"] == [7, 8]
    assert stuck.payload()["message"] == "could not be killed: 7, 8"


@pytest.mark.parametrize(
    ("refused", "reason", "code", "message"),
    [
        (Refused("exec", errno.ENOENT), "not_found", 127, "not found: prog"),
        (Refused("exec", errno.ENOTDIR), "not_found", 127, "not found: prog"),
        (
            Refused("exec", errno.EACCES),
            "not_executable",
            126,
            "not executable: prog: permission denied",
        ),
        (
            Refused("exec", errno.ENOEXEC),
            "not_executable",
            126,
            "not executable: prog: exec format error",
        ),
        (
            Refused("exec", errno.E2BIG),
            "not_started",
            126,
            "cannot start prog: argument list too long (exec)",
        ),
        (
            Refused("cwd", errno.ENOENT),
            "bad_cwd",
            126,
            "cannot start in /here: no such file or directory",
        ),
        (
            Refused("fork", errno.EAGAIN),
            "not_started",
            126,
            "cannot start prog: resource temporarily unavailable (fork)",
        ),
        (Refused("lost"), "keeper_lost", None, "the keeper process ended"),
        (Refused("shim_lost"), "shim_lost", None, "its parent, the shim, was killed"),
    ],
)
def test_a_refusal_is_put_into_words(
    refused: Refused, reason: str, code: int | None, message: str
) -> None:
    """With the exit codes that shells have for it."""
    outcome = of_refusal(refused, START)
    assert (outcome.reason, outcome.exit_code, outcome.message) == (reason, code, message)
    assert outcome.failed


def test_a_server_out_of_descriptors_says_so() -> None:
    outcome = not_started(START, OSError(errno.EMFILE, "Too many open files"))
    assert outcome.message == "cannot start prog: too many open files"
    assert "ran_ms" not in outcome.payload()
    assert not Outcome(exit_code=0).failed
