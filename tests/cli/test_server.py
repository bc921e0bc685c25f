"""``serve`` and what looks after it: status, shutdown, actors, config; and faults at the start."""

from __future__ import annotations

import json
import signal
import socket
import stat
from pathlib import Path

import pytest
from tests.cli.conftest import Shell


def test_the_server_is_shown_and_ended_in_order(shell: Shell) -> None:
    shell.serve()
    assert str(shell.port) in shell.ok("status")
    assert json.loads(shell.ok("status", "--json"))
    said = shell.ok("shutdown")
    assert said.endswith("has ended\n")
    assert shell.server is not None
    assert shell.server.end() == 0
    assert shell("status").returncode == 3
    assert not (shell.data / "server.json").exists()


def test_what_a_server_leaves_for_its_clients_is_for_its_owner_alone(shell: Shell) -> None:
    shell.serve()
    for name in ("server.json", "admin-token"):
        assert stat.S_IMODE((shell.data / name).stat().st_mode) == 0o600
    facts = json.loads((shell.data / "server.json").read_text())
    assert shell.server is not None
    assert facts == {
        "url": f"http://127.0.0.1:{shell.port}",
        "pid": shell.server.process.pid,
        "token_file": str(shell.data / "admin-token"),
    }


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_in_order(shell: Shell, number: int) -> None:
    shell.serve()
    assert shell.server is not None
    shell.server.signal(number)
    assert shell.server.end() == 0


@pytest.mark.long
def test_a_killed_actor_comes_back_and_the_tree_shows_it(shell: Shell) -> None:
    shell.serve()
    assert shell.ok("actors", "kill", "log/bus") == "killed log/bus\n"
    lines = shell.ok("actors", "--json").splitlines()
    actors = {actor["key"]: actor for actor in map(json.loads, lines)}
    assert actors["log/bus"]["restarts"] == 1
    assert actors["log/store"]["restarts"] == 0
    table = shell.ok("actors").splitlines()
    assert any(line.startswith("    log/bus ") for line in table)
    missing = shell("actors", "kill", "nobody")
    assert missing.returncode == 1
    assert "not_found" in missing.stderr


def one_line(shell: Shell, *arguments: str) -> str:
    done = shell("serve", "--port", "0", *arguments)
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert done.stderr.startswith("antiphon: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return str(done.stderr)


def test_a_port_in_use_is_one_line(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert port in one_line(shell, "--port", port)


def test_a_data_folder_held_by_another_server_is_one_line(shell: Shell) -> None:
    shell.serve()
    assert "in use" in one_line(shell)
    assert shell.ok("status")


def test_an_unwritable_data_folder_is_one_line(shell: Shell) -> None:
    # Root may write everywhere but where the kernel itself says no.
    place = Path("/proc/antiphon") if Path("/proc").exists() else shell.data / "below"
    if place.parent == shell.data:
        shell.data.mkdir(mode=0o500)
    assert str(place) in one_line(shell, "--data", str(place))


def test_a_file_in_place_of_the_data_folder_is_one_line(shell: Shell) -> None:
    shell.data.write_text("not a folder")
    assert str(shell.data) in one_line(shell)


def test_a_log_that_is_none_is_one_line_and_stays_untouched(shell: Shell) -> None:
    shell.data.mkdir()
    log = shell.data / "log.db"
    log.write_bytes(b"somebody's diary" * 1000)
    assert "database" in one_line(shell)
    assert log.read_bytes() == b"somebody's diary" * 1000


def test_a_wrong_setting_is_one_line_with_its_source(shell: Shell) -> None:
    done = shell("serve", ANTIPHON_PORT="lots")
    assert done.returncode == 1
    assert "setting port (from the environment)" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_workspace_that_is_no_folder_is_one_line(shell: Shell, tmp_path: Path) -> None:
    assert "nowhere" in one_line(shell, "--workspace", str(tmp_path / "nowhere"))


def test_config_tells_value_unit_and_source(shell: Shell) -> None:
    lines = [json.loads(line) for line in shell.ok("config", "--json").splitlines()]
    told = {line["name"]: line for line in lines}
    assert told["data"] == {
        "name": "data",
        "value": str(shell.data),
        "unit": None,
        "source": "environment",
    }
    assert told["port"]["source"] == "default"
    assert "SOURCE" in shell.ok("config")


def test_config_refuses_a_retention_that_serve_would_refuse(shell: Shell) -> None:
    wrong = shell("config", ANTIPHON_RETENTION='{"a.*": {"max_age": "2 days"}}')
    assert wrong.returncode == 1
    assert "max_age of policy a.*: 2 days is not a duration" in wrong.stderr
    right = shell.ok("config", ANTIPHON_RETENTION='{"a.*": {"max_age": "2d"}}')
    assert "a.*=max_age=2d" in right


def test_doctor_looks_at_everything_and_finds_nothing_wrong(shell: Shell) -> None:
    names = ["python", "sqlite", "data", "lock", "log", "disk", "port"]
    lines = shell("doctor").stdout.splitlines()
    assert [line.split()[1] for line in lines] == names
    shell.serve()
    lines = shell.ok("doctor").splitlines()
    assert [line.split()[0] for line in lines] == ["ok"] * len(names), lines


def test_help_names_every_command(shell: Shell) -> None:
    said = shell.ok("--help")
    events = ("publish", "tail", "query", "topics", "watch")
    workers = ("run", "ps", "logs", "stop")
    server = ("serve", "status", "shutdown", "actors", "config", "doctor", "bench")
    for command in (*events, *workers, *server):
        assert f" {command} " in said
