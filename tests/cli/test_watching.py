"""``watch`` tells of a folder's changes, also of those made while it or the server was away."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from tests.cli.conftest import Shell, wait_for


def told(shell: Shell) -> list[tuple[str, str]]:
    lines = shell.ok("query", "file.*", "--json", "--limit", "1000").splitlines()
    return [(e["topic"].rpartition(".")[2], e["payload"]["path"]) for e in map(json.loads, lines)]


@pytest.mark.long
def test_changes_are_told_across_its_own_and_the_servers_absence(
    shell: Shell, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "old").write_text("here before")
    shell.serve()

    watch = shell.begin("watch", str(folder), "--ignore", "*.log")
    wait_for(lambda: told(shell) == [("created", "deep/old")], "what is there")
    (folder / "noise.log").write_text("left out")
    (folder / "new").write_text("1")
    wait_for(lambda: ("created", "new") in told(shell), "the new file")

    shell.kill_server()
    (folder / "meanwhile").write_text("2")
    shell.serve()
    wait_for(lambda: ("created", "meanwhile") in told(shell), "what the server missed")

    watch.signal(signal.SIGINT)
    assert watch.end() == 0
    (folder / "new").unlink()
    shell.begin("watch", str(folder), "--ignore", "*.log")
    wait_for(lambda: ("deleted", "new") in told(shell), "what the watcher missed")
    assert told(shell) == [
        ("created", "deep/old"),
        ("created", "new"),
        ("created", "meanwhile"),
        ("deleted", "new"),
    ]


def test_what_cannot_be_watched_is_one_line(shell: Shell, tmp_path: Path) -> None:
    done = shell("watch", str(tmp_path / "nowhere"))
    assert done.returncode == 1
    assert done.stderr.startswith("antiphon: cannot watch")
    assert done.stderr.count("\n") == 1
