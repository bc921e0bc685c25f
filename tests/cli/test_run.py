"""``run``, ``ps``, ``logs`` and ``stop`` with real commands."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from tests.cli.conftest import Shell, wait_for


def test_a_command_is_followed_to_its_end_and_gives_its_exit_code(live: Shell) -> None:
    program = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    done = live("run", "--", sys.executable, "-c", program)
    assert done.returncode == 3
    assert done.stdout == "out\n"
    assert "err\n" in done.stderr


def test_every_line_arrives_in_order(live: Shell) -> None:
    done = live("run", "--", "seq", "5000")
    assert done.stdout.split() == [str(n) for n in range(1, 5001)]
    assert done.returncode == 0


def test_it_starts_in_the_callers_folder_with_a_chosen_environment(
    live: Shell, tmp_path: Path
) -> None:
    program = "import os, json; print(json.dumps([os.getcwd(), dict(os.environ)]))"
    arguments = ["run", "--cwd", str(tmp_path), "-e", "SHOWN", "-e", "SET=1", "--"]
    done = live(*arguments, sys.executable, "-c", program, SHOWN="yes", HIDDEN_KEY="s")
    where, env = json.loads(done.stdout)
    assert where == os.path.realpath(tmp_path)
    assert (env["SHOWN"], env["SET"]) == ("yes", "1")
    assert "HIDDEN_KEY" not in env
    assert not any(name.startswith("ANTIPHON_") for name in env)


def test_a_command_that_is_not_there_is_told_as_by_a_shell(live: Shell) -> None:
    done = live("run", "--", "no-such-program")
    assert done.returncode == 127
    assert "not found: no-such-program" in done.stderr


def test_the_commands_own_options_stay_its_own(live: Shell) -> None:
    assert live.ok("run", "echo", "--name", "-d") == "--name -d\n"


def test_ctrl_c_cancels_the_worker(live: Shell) -> None:
    run = live.begin("run", "--name", "cancelled", "--", "sh", "-c", "echo on; sleep 600")
    run.wait_for_lines(1)
    run.signal(signal.SIGINT)
    assert run.end() == 130
    ends = live.ok("query", "worker.cancelled.cancelled", "--json").splitlines()
    assert len(ends) == 1


@pytest.mark.long
def test_a_detached_worker_is_listed_followed_and_stopped(live: Shell) -> None:
    said = live.ok("run", "-d", "--name", "bg", "--", "sh", "-c", "echo one; sleep 600")
    assert said == "bg\n"
    assert _listed(live, "bg")["argv"][0] == "sh"
    assert "bg" in live.ok("ps")
    wait_for(lambda: live.ok("logs", "bg") == "one\n", "the first line")
    logs = live.begin("logs", "bg", "-f")
    logs.wait_for_lines(1)
    assert live.ok("stop", "bg") == "stopped bg\n"
    assert logs.end() == 128 + signal.SIGHUP
    assert logs.out == ["one"]
    assert live.ok("logs", "bg") == "one\n"
    wait_for(lambda: _listed(live, "bg")["state"] == "ended", "its place among the ended")
    assert _listed(live, "bg")["signal"] == signal.SIGHUP
    again = live("stop", "bg")
    assert again.returncode == 1
    assert "not_found" in again.stderr


def _listed(live: Shell, id: str) -> dict[str, Any]:
    (worker,) = (w for w in map(json.loads, live.ok("ps", "--json").splitlines()) if w["id"] == id)
    return cast("dict[str, Any]", worker)


def test_a_worker_that_never_was_has_no_logs(live: Shell) -> None:
    done = live("logs", "nobody")
    assert done.returncode == 1
    assert "no worker nobody" in done.stderr


def test_a_restart_is_told_while_it_is_followed(live: Shell, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    script = f"echo hi; test -e {mark} || {{ touch {mark}; exit 4; }}"
    done = live("run", "--restart", "on-failure", "--", "sh", "-c", script)
    assert done.returncode == 0
    assert done.stdout == "hi\nhi\n"
    assert "exit code 4; starting again" in done.stderr
