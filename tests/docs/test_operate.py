"""What docs/operate.md tells people to run and to write into their systems works as it stands."""

from __future__ import annotations

import configparser
import json
import os
import plistlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from tests.docs.blocks import Block, fence, runnable

from antiphon.gateway import limits

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operate.md").read_text("utf-8")
SHELL = [
    pytest.param(
        block, id=f"line {block.line}", marks=[pytest.mark.long] * (block.code.count("\n") > 5)
    )
    for block in runnable(PAGE, "sh")
]
UNITS = ("user-unit", "system-unit")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A home of its own, and an ``antiphon`` of these sources in the path."""
    command = tmp_path / "bin" / "antiphon"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m antiphon "$@"\n')
    command.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANTIPHON_")}
    return {
        **kept,
        "HOME": str(tmp_path),
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "ANTIPHON_PORT": "0",
        "ANTIPHON_CONFIG": str(tmp_path / "none.toml"),
        "ANTIPHON_DATA": str(tmp_path / "data"),
    }


@pytest.mark.parametrize("block", SHELL)
def test_commands_of_the_page_run_as_they_stand(
    block: Block, tmp_path: Path, environment: dict[str, str]
) -> None:
    try:
        done = subprocess.run(
            ["sh", "-eu", "-c", block.code],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=55,
            check=False,
        )
        assert done.returncode == 0, (done.stdout, done.stderr)
        left = list(tmp_path.rglob("server.json"))
        assert not left
    finally:
        for facts in tmp_path.rglob("server.json"):
            with suppress(ProcessLookupError):
                os.kill(json.loads(facts.read_text())["pid"], signal.SIGKILL)


def test_backup_and_moving_are_among_them() -> None:
    text = "".join(block.code for block in runnable(PAGE, "sh"))
    assert "antiphon backup" in text
    assert "tar -C moved" in text


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_one_that_systemd_takes(name: str, tmp_path: Path) -> None:
    unit = tmp_path / "antiphon.service"
    # Where the command lies is this machine's; the test below runs it.
    unit.write_text(re.sub(r"ExecStart=\S+", "ExecStart=/bin/sh", fence(PAGE, f"ini {name}")))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def _started(arguments: list[str], tmp_path: Path, environment: dict[str, str]) -> None:
    """Run a server as a service manager would, until it says that it is ready."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        process = subprocess.Popen(
            ["antiphon", *arguments],
            env={**environment, "NOTIFY_SOCKET": str(tmp_path / "notify")},
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            assert manager.recv(100) == b"READY=1"
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("name", UNITS)
def test_the_command_of_a_unit_starts_a_server(
    name: str, tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(fence(PAGE, f"ini {name}"))
    _, *arguments = shlex.split(unit["Service"]["ExecStart"])
    assert unit["Service"]["Type"] == "notify"
    for place in ("/var/lib/antiphon", "/run/antiphon"):
        (tmp_path / Path(place).name).mkdir(exist_ok=True)
    placed = [part.replace("/var/lib/antiphon", str(tmp_path / "data")) for part in arguments]
    placed = [part.replace("/run/antiphon", str(tmp_path / "antiphon")) for part in placed]
    monkeypatch.setenv("PATH", environment["PATH"])
    _started(placed, tmp_path, environment)


def test_the_property_list_is_one_and_its_command_starts_a_server(
    tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = plistlib.loads(fence(PAGE, "xml launchd").encode())
    _, *arguments = listed["ProgramArguments"]
    monkeypatch.setenv("PATH", environment["PATH"])
    _started(arguments, tmp_path, environment)


def test_the_limits_of_the_page_are_those_of_the_server() -> None:
    table = PAGE.partition("## Limits")[2]
    for words in (
        f"| connections | {limits.CONNECTIONS:,} ",
        f"| WebSockets | {limits.SOCKETS:,} ",
        f"| TLS handshake, headers, `hello` | {limits.HANDSHAKE_S:g} s each ",
        f"| headers | {limits.HEADERS_BYTES // 1024} KiB ",
        f"| body | {limits.BODY_BYTES // 1024**2} MiB, in {limits.BODY_S:g} s ",
        f"| WebSocket frame | {limits.FRAME_BYTES // 1024**2} MiB ",
        f"| events a publish | {limits.PUBLISH_EVENTS:,} ",
        f"| subscriptions of a WebSocket | {limits.SUBSCRIPTIONS}, of {limits.LIMITS.patterns} ",
        f"{limits.IDLE_FRAMES:,} at once, then {limits.IDLE_FRAMES_PER_S} a second ",
        f"| an answer that isn't taken | {limits.WRITE_S:g} s ",
    ):
        assert words in table
    assert limits.HEADERS_S == limits.HELLO_S == limits.HANDSHAKE_S
