"""A user's own actors run inside the server, supervised, and are seen and killed like all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.prove.server import Served, wait_for

from antiphon.app.program import find_program
from antiphon.errors import StartError

ECHO = """
import antiphon

class Echo(antiphon.Actor[str]):
    def __init__(self, bus):
        self.bus = bus

    async def pre_start(self, ctx):
        await antiphon.subscribe(self.bus, ctx.myself, "ask.*")

    async def handle_event(self, event, ctx):
        await antiphon.publish_event(self.bus, "answer.echo", event.payload)

def actors(app):
    return [antiphon.Child(antiphon.Key("echo"), lambda: Echo(app.bus))]

def broken(app):
    raise RuntimeError("no coffee")

def odd(app):
    return 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "echoing.py").write_text(ECHO)
    return tmp_path


@pytest.mark.long
def test_they_run_in_the_server_and_survive_a_kill(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    with Served(folder / "data", "--actors", "echoing:actors") as served:
        served.publish("ask.one", "hello")
        wait_for(lambda: served.events("answer.*"), 10, "the first answer")
        assert served.run("actors", "kill", "echo").returncode == 0
        served.publish("ask.two", "again")
        wait_for(lambda: len(served.events("answer.*")) == 2, 10, "the second answer")
        assert [event["payload"] for event in served.events("answer.*")] == ["hello", "again"]
        shown = [json.loads(line) for line in served.run("actors", "--json").stdout.splitlines()]
        [echo] = [actor for actor in shown if actor["key"] == "echo"]
        assert (echo["generation"], echo["restarts"]) == (2, 1)
        assert echo["parent"].startswith("user/")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("echoing:broken", "no coffee"),
        ("echoing:odd", "'int'"),
        ("echoing:nothing", "nothing"),
        ("nowhere_at_all:actors", "nowhere_at_all"),
        ("justname", "MODULE:FUNCTION"),
    ],
)
def test_what_cannot_be_loaded_or_started_is_one_line(folder: Path, name: str, why: str) -> None:
    options = ["--port", "0", "--data", str(folder / "data"), "--actors", name]
    done = subprocess.run(
        [sys.executable, "-m", "antiphon", "serve", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 1
    [line] = done.stderr.strip().splitlines()
    assert name in line
    assert why in line


def test_only_a_function_will_do() -> None:
    with pytest.raises(StartError, match="is no function"):
        find_program("antiphon:__version__")
