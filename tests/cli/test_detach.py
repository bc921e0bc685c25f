"""A server in the background: one that failed is told at once; one that runs ends as any other."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.gateway.certificates import issue

from antiphon.app.folder import DataFolder
from antiphon.cli.find import find
from antiphon.client.endpoint import Endpoint, NoServer
from antiphon.client.http import HttpClient
from antiphon.client.plain import PlainBus
from antiphon.client.remote import RemoteBus
from antiphon.errors import StartError

from .conftest import ROOT, Shell, wait_for


def over(endpoint: Endpoint) -> PlainBus:
    """A client of exactly this endpoint."""
    return PlainBus(lambda: RemoteBus(lambda: endpoint))


def is_free(folder: Path) -> bool:
    """Whether no process holds the folder; one that ended may still wait to be reaped."""
    held = DataFolder(folder)
    try:
        held.acquire()
    except StartError:
        return False
    held.release()
    return True


@pytest.fixture
def detached(shell: Shell) -> Iterator[Callable[..., int]]:
    """Starts a server in the background; gives its process."""
    pids: list[int] = []

    def start(*options: str) -> int:
        said = shell.ok("serve", "--detach", "--port", "0", *options)
        pids.append(int(re.findall(r"process  (\d+)", said)[0]))
        return pids[-1]

    yield start
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_it_is_ready_when_the_command_returns_and_shutdown_ends_it(
    shell: Shell, detached: Callable[..., int]
) -> None:
    pid = detached()
    log = shell.data / "server.log"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    shown = json.loads(shell.ok("status", "--json"))
    assert (shown["pid"], shown["log_file"]) == (pid, str(log))
    assert os.getsid(pid) != pid, "a leader of a session may be given a terminal"
    assert os.getsid(pid) != os.getsid(0)

    again = shell("serve", "--detach", "--port", "0")
    assert again.returncode == 1
    assert f"data folder {shell.data} is in use by process {pid}" in again.stderr

    shell.ok("shutdown")
    wait_for(lambda: is_free(shell.data), "the end of the process")
    assert not (shell.data / "server.json").exists()
    token = (shell.data / "admin-token").read_text().strip()
    assert token not in log.read_text()


def test_why_it_did_not_start_is_told_by_the_command_that_started_it(shell: Shell) -> None:
    done = shell("serve", "--detach", "--port", "0", "--host", "192.0.2.1", "--insecure-bind")
    assert done.returncode == 1
    assert re.fullmatch(
        r"antiphon: the server did not start: cannot listen on 192.0.2.1:0: .*\n", done.stderr
    )
    assert not (shell.data / "server.json").exists()


def test_a_failure_of_several_lines_is_shown_with_its_file(shell: Shell, tmp_path: Path) -> None:
    ending = "    os.write(2, b'line\\n' * 30 + b'why\\n')\n    os._exit(3)\n"
    (tmp_path / "broken.py").write_text(f"import os\n\n\ndef actors(core):\n{ending}")
    done = shell(
        *("serve", "--detach", "--port", "0", "--actors", "broken:actors"),
        PYTHONPATH=f"{tmp_path}:{ROOT / 'src'}",
    )
    assert done.returncode == 1
    first, *said = done.stderr.splitlines()
    assert first == f"antiphon: the server did not start: see {shell.data / 'server.log'}"
    assert said == ["line"] * 19 + ["why"]


def test_its_log_has_a_bound_and_takes_what_is_printed(tmp_path: Path) -> None:
    """Whatever writes to the descriptors of the process lands in the newest file."""
    program = f"""
import logging, os, pathlib
from antiphon.app import background
background.LOG_BYTES = 1000
log = background.LogFile(pathlib.Path({str(tmp_path / "server.log")!r}))
logging.getLogger().addHandler(log)
for number in range(100):
    logging.warning("line %d", number)
os.write(2, b"printed at last\\n")
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    files = sorted(tmp_path.glob("server.log*"))
    assert [file.name for file in files] == ["server.log", "server.log.1"]
    assert all(file.stat().st_size <= 1100 for file in files)
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    assert files[0].read_text().endswith("printed at last\n")


def test_over_tls_and_a_unix_socket_clients_find_it_and_check_who_it_is(
    shell: Shell, detached: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its very certificate, not by the name in it; elsewhere as `SSL_CERT_FILE` says."""
    monkeypatch.delenv("ANTIPHON_TOKEN", raising=False)
    made, other = issue(tmp_path / "tls"), issue(tmp_path / "other")
    sock = tmp_path / "bus.sock"
    pid = detached("--tls-cert", str(made.cert), "--tls-key", str(made.key), "--uds", str(sock))
    local = find(shell.data, None)
    assert local.url.startswith("https://127.0.0.1:")
    for endpoint in (local, find(shell.data, f"unix://{sock}")):
        assert reaches(endpoint)
        with over(endpoint) as bus:
            assert bus.publish("a.b").seq is not None

    elsewhere = Endpoint(local.url, local.token)  # as from another machine, without its files
    for ca, trusted in ((made.ca, True), (other.ca, False)):
        monkeypatch.setenv("SSL_CERT_FILE", str(ca))
        assert reaches(elsewhere) is trusted
        if not trusted:
            with pytest.raises(NoServer, match="its certificate is not trusted"):
                over(elsewhere).__enter__()

    other.cert.replace(made.cert)
    other.key.replace(made.key)
    assert not reaches(local)
    os.kill(pid, signal.SIGHUP)
    wait_for(lambda: reaches(local), "the renewed certificate")
    shell.ok("shutdown", "--url", f"unix://{sock}")
    assert not sock.exists()


def reaches(endpoint: Endpoint) -> bool:
    try:
        with HttpClient(endpoint) as client:
            return client.status()["store"] == "ok"
    except NoServer as error:
        if "its certificate is not trusted" not in str(error):
            raise
        return False
