"""Each check of ``doctor`` says ok, warn or fail, and what to do."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from pathlib import Path

from antiphon.cli.doctor import (
    check_disk,
    check_folder,
    check_lock,
    check_port,
    check_python,
    check_sqlite,
)


def test_python_is_compared_with_the_oldest_that_works() -> None:
    assert check_python((3, 10, 9)).state == "fail"
    assert check_python((3, 11, 0)).state == "ok"


def test_the_sqlite_that_comes_along_is_a_safe_one() -> None:
    assert check_sqlite().state == "ok"


def test_a_folder_that_is_private_or_can_be_made_is_fine(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    assert check_folder(tmp_path).state == "ok"
    assert check_folder(tmp_path / "not" / "yet").state == "ok"


def test_a_folder_open_to_others_is_a_warning_with_the_remedy(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    found = check_folder(tmp_path)
    assert (found.state, found.advice) == ("warn", f"chmod 700 {tmp_path}")


def test_a_file_in_place_of_the_folder_fails(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.touch()
    assert check_folder(place).state == "fail"
    assert check_folder(place / "below").state == "fail"


def test_a_held_lock_names_its_holder_and_is_still_held_afterwards(tmp_path: Path) -> None:
    assert check_lock(tmp_path).about == "free"
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        assert str(os.getpid()) in check_lock(tmp_path).about
    assert check_lock(tmp_path).about == "free"


def test_the_disk_is_measured_where_the_folder_will_be(tmp_path: Path) -> None:
    assert "free" in check_disk(tmp_path / "not" / "yet").about


def test_a_port_in_use_fails_and_a_free_one_does_not(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert check_port("127.0.0.1", port, tmp_path).state == "fail"
    assert check_port("127.0.0.1", 0, tmp_path).state == "ok"


def test_what_a_killed_server_left_behind_is_no_fault(tmp_path: Path) -> None:
    facts = {"url": "http://127.0.0.1:1", "pid": 1, "token_file": "x"}
    (tmp_path / "server.json").write_text(json.dumps(facts))
    assert check_port("127.0.0.1", 0, tmp_path).state == "ok"
