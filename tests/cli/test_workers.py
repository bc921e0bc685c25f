"""How a worker's events become a command's output, its exit code and its environment."""

from __future__ import annotations

import pytest

from antiphon.cli.workers import Shown, WorkerEvent, environment, exit_code, why
from antiphon.errors import BadRequest


def test_only_harmless_variables_and_those_asked_for_reach_a_command() -> None:
    ours = {"PATH": "/bin", "LC_ALL": "C", "AWS_SECRET": "s", "ANTIPHON_TOKEN": "t", "EXTRA": "x"}
    assert environment(ours, ["EXTRA", "MORE=a=b"]) == {
        "PATH": "/bin",
        "LC_ALL": "C",
        "EXTRA": "x",
        "MORE": "a=b",
    }


@pytest.mark.parametrize("asked", ["ABSENT", "=x", ""])
def test_a_variable_that_is_not_there_is_refused(asked: str) -> None:
    with pytest.raises(BadRequest):
        environment({}, [asked])


@pytest.mark.parametrize(
    ("what", "payload", "code"),
    [
        ("complete", {"exit_code": 0}, 0),
        ("complete", {}, 0),
        ("failed", {"exit_code": 3}, 3),
        ("failed", {"signal": 9}, 137),
        ("failed", {"reason": "server_lost"}, 1),
        ("cancelled", {"signal": 15}, 143),
        ("cancelled", {}, 130),
    ],
)
def test_an_end_becomes_the_exit_code_that_a_shell_would_give(
    what: str, payload: dict[str, object], code: int
) -> None:
    assert exit_code(what, payload) == code


def test_an_end_is_told_in_words() -> None:
    assert why({"signal": 9}) == "ended by SIGKILL"
    assert why({"signal": 250}) == "ended by signal 250"
    assert why({"exit_code": 2}) == "exit code 2"
    assert why({"reason": "server_lost"}) == "server lost"
    assert why({"message": "not found: x", "exit_code": 127}) == "not found: x"


def test_output_goes_to_the_stream_that_it_came_from(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Shown()
    for stream in ("stdout", "stderr"):
        payload = {"stream": stream, "lines": [f"{stream} 1", "\tx"], "from_line": 1}
        shown.take(WorkerEvent(topic="worker.w.progress", payload=payload))
    assert shown.code is None
    out, err = capsys.readouterr()
    assert out == "stdout 1\n\tx\n"
    assert err == "stderr 1\n\tx\n"


def test_a_restart_is_told_and_is_no_end(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Shown()
    payload = {"exit_code": 1, "delay_ms": 500}
    shown.take(WorkerEvent(topic="worker.w.restarting", payload=payload))
    assert shown.code is None
    assert capsys.readouterr().err == "antiphon: exit code 1; starting again in 0.5 s\n"


def test_a_command_that_could_not_be_started_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Shown()
    payload = {"exit_code": 127, "reason": "not_found", "message": "not found: nix"}
    shown.take(WorkerEvent(topic="worker.w.failed", payload=payload))
    assert shown.code == 127
    assert capsys.readouterr().err == "antiphon: not found: nix\n"
