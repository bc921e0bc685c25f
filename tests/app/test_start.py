"""What can go wrong at the start is one line and exit code 1, never a traceback."""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.prove.server import Served


def serve(data: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Start a server that is expected to refuse."""
    return subprocess.run(
        [sys.executable, "-m", "antiphon", "serve", "--port", "0", "--data", str(data), *options],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 1, done
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in lines[0]


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused(serve(tmp_path / "data", "--port", str(port)), str(port), "in use")


@pytest.mark.parametrize("place", ["missing/ready", "file/ready"])
def test_a_ready_file_that_cannot_be_written(tmp_path: Path, place: str) -> None:
    """Said before it claims to be live."""
    (tmp_path / "file").write_text("no folder")
    done = serve(tmp_path / "data", "--ready-file", str(tmp_path / place))
    refused(done, "ready")
    assert "is live" not in done.stdout


def test_a_data_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder")
    refused(serve(tmp_path / "data"), "data folder")


def test_a_folder_whose_log_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_text("this is no database, " * 100)
    refused(serve(tmp_path), "log.db")


def test_a_folder_whose_log_is_another_programs_database(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "log.db") as other:
        other.execute("CREATE TABLE events(name TEXT)")
    other.close()
    refused(serve(tmp_path), "log.db")


def test_a_data_folder_held_by_another_server(tmp_path: Path) -> None:
    with Served(tmp_path / "data") as served:
        refused(serve(served.data), "in use", str(served.pid))
        assert served.run("status").returncode == 0


def test_a_workspace_that_is_not_there(tmp_path: Path) -> None:
    refused(serve(tmp_path / "data", "--workspace", str(tmp_path / "nowhere")), "nowhere")


def test_an_address_that_others_can_reach(tmp_path: Path) -> None:
    refused(serve(tmp_path / "data", "--host", "0.0.0.0"), "0.0.0.0")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own of 4 MiB; only root can mount one."""
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("mounting a small disk takes root on Linux")
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(place)],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("this machine doesn't let tests mount")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_is_full_already(small_disk: Path) -> None:
    with (
        (small_disk / "ballast").open("wb", buffering=0) as ballast,
        contextlib.suppress(OSError),
    ):
        while True:
            ballast.write(b"x" * 4096)
    refused(serve(small_disk / "data"), "data")


@pytest.mark.long
def test_a_disk_that_fills_up_refuses_publishes_and_recovers_by_itself(small_disk: Path) -> None:
    """Reading goes on meanwhile, and nothing acknowledged is lost."""
    with Served(small_disk / "data") as served:
        payload = '"' + "x" * 100_000 + '"'
        acknowledged = 0
        full = None
        for _ in range(100):
            done = served.run("publish", "big.one", payload)
            if done.returncode:
                full = done
                break
            acknowledged += 1
        assert full is not None, "the disk never filled up"
        assert "storage_unavailable" in full.stderr
        assert "unavailable" in served.run("status").stdout
        assert len(served.events("big.one")) == acknowledged
        subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
        for _ in range(60):
            if served.run("publish", "big.one", payload).returncode == 0:
                break
        else:
            raise AssertionError("it never recovered")
        assert len(served.events("big.one")) == acknowledged + 1


def test_the_token_is_not_printed_into_a_file(tmp_path: Path) -> None:
    with Served(tmp_path / "data") as served:
        printed = served._log.read_text()
        assert served.url in printed
        assert served.token not in printed
