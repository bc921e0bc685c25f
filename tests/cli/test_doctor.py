"""Each check of ``doctor`` says ok, warn or fail, and what to do."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from pathlib import Path

import pytest
from tests.cli.conftest import Shell
from tests.stores.sqlite.damaged import content, make, overwrite

from antiphon.cli.doctor import (
    REPAIR,
    check_disk,
    check_folder,
    check_lock,
    check_log,
    check_port,
    check_python,
    check_sqlite,
    repair_log,
)
from antiphon.errors import AntiphonError
from antiphon.stores.sqlite import damage


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


# --- the log --------------------------------------------------------------------------------


@pytest.fixture
def damaged(tmp_path: Path) -> Shell:
    """A data folder whose log has lost some pages."""
    shell = Shell(tmp_path)
    shell.data.mkdir(mode=0o700)
    make(shell.data / "log.db", content(300))
    overwrite(shell.data / "log.db", 0.4, 0.5)
    return shell


def findings(text: str) -> dict[str, dict[str, str]]:
    return {found["name"]: found for found in map(json.loads, text.splitlines())}


def test_no_log_yet_is_fine_and_a_whole_one_is_counted(tmp_path: Path) -> None:
    assert [found.state for found in check_log(tmp_path)] == ["ok"]
    make(tmp_path / "log.db", content(20))
    (found,) = check_log(tmp_path)
    assert found.state == "ok"
    assert "20 events, head 20" in found.about


def test_what_is_no_log_fails_with_advice(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(b"not a database, but long enough to be read\n" * 100)
    (found,) = check_log(tmp_path)
    assert (found.state, found.advice) == ("fail", REPAIR)


def test_a_damaged_log_is_found_repaired_and_served_again(
    damaged: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each with what was saved, what was lost, and where the damaged file is."""
    assert [found.advice for found in check_log(damaged.data)][-1] == REPAIR
    assert repair_log(damaged.data, as_json=True) == 0
    repaired = findings(capsys.readouterr().out)
    saved = int(repaired["saved"]["about"].partition(" ")[0])
    assert 200 < saved < 300
    assert Path(repaired["saved"]["about"].rpartition(" ")[2]).exists()
    assert f"{300 - saved} seqs at most" in repaired["lost"]["about"]
    assert repaired["log"]["state"] == "ok"
    assert "all in order" in damaged.ok("doctor", "--repair"), "nothing is left to do"
    assert len(list(damaged.data.glob("log.damaged-*.db"))) == 1


def test_a_repair_that_saves_nothing_warns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "log.db").write_bytes(b"not a database at all" * 100)
    assert repair_log(tmp_path, as_json=True) == 0
    told = findings(capsys.readouterr().out)
    assert (told["saved"]["state"], told["lost"]["state"]) == ("warn", "warn")


def test_a_log_that_a_server_holds_is_not_repaired(damaged: Shell) -> None:
    before = (damaged.data / "log.db").read_bytes()
    with (damaged.data / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = damaged("doctor", "--repair")
    assert done.returncode == 1
    assert "in use" in done.stderr
    assert (damaged.data / "log.db").read_bytes() == before


def test_there_is_nothing_to_repair_without_a_log(tmp_path: Path) -> None:
    with pytest.raises(AntiphonError, match=r"log\.db is missing"):
        repair_log(tmp_path)


def test_a_noted_damage_that_is_no_more_is_told_and_forgotten(tmp_path: Path) -> None:
    make(tmp_path / "log.db", content(20))
    damage.note(tmp_path / "log.db", "it was bad")
    assert "the note is gone" in check_log(tmp_path)[0].about
    assert "note" not in check_log(tmp_path)[0].about
