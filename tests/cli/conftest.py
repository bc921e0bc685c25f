"""A real server in a process of its own, and the command line as its user has it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
WITHIN_S = 20.0


def environment(data: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANTIPHON_")}
    return {
        **kept,
        "ANTIPHON_DATA": str(data),
        "ANTIPHON_CONFIG": str(data.parent / "no-config.toml"),
        "PYTHONPATH": str(ROOT / "src"),
        "PYTHONWARNINGS": "error",
    }


def wait_for(done: Callable[[], Any], what: str) -> Any:
    """Wait until *done* gives something true."""
    deadline = time.monotonic() + WITHIN_S
    while not (found := done()):
        assert time.monotonic() < deadline, f"waited {WITHIN_S:.0f} s for {what}"
        threading.Event().wait(0.01)
    return found


class Running:
    """A command that goes on, its output collected line by line."""

    def __init__(self, arguments: tuple[str, ...], data: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "antiphon", *arguments],
            env=environment(data),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.out: list[str] = []
        self.err: list[str] = []
        pairs = ((self.process.stdout, self.out), (self.process.stderr, self.err))
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True) for pair in pairs
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream: Any, lines: list[str]) -> None:
        with stream:
            for line in stream:
                lines.append(line.rstrip("\n"))  # noqa: PERF401 - seen while the command goes on

    def wait_for_lines(self, count: int) -> list[str]:
        wait_for(lambda: len(self.out) >= count, f"{count} lines, got {self.out} {self.err}")
        return self.out

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        code = self.process.wait(WITHIN_S)
        for reader in self._readers:
            reader.join(WITHIN_S)
        return code


class Shell:
    """The command line on one data folder, and the server that it may start."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self._ready = folder / "ready.json"
        self._started: list[Running] = []
        self.server: Running | None = None
        self.port = 0

    def __call__(self, *arguments: str, input: str | None = None, **env: str) -> Any:
        return subprocess.run(
            [sys.executable, "-m", "antiphon", *arguments],
            env={**environment(self.data), **env},
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )

    def ok(self, *arguments: str, **more: Any) -> str:
        """Run a command that must succeed; give what it printed."""
        done = self(*arguments, **more)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return str(done.stdout)

    def begin(self, *arguments: str) -> Running:
        """Start a command that goes on."""
        running = Running(arguments, self.data)
        self._started.append(running)
        return running

    def serve(self) -> None:
        """Start the server, or start it again on the same port."""
        self._ready.unlink(missing_ok=True)
        options = ("--port", str(self.port), "--ready-file", str(self._ready))
        self.server = self.begin("serve", *options)
        server = self.server

        def ready() -> bool:
            assert server.process.poll() is None, server.err
            return self._ready.exists()

        wait_for(ready, "the server")
        self.port = int(json.loads(self._ready.read_text())["url"].rpartition(":")[2])

    def kill_server(self) -> None:
        assert self.server is not None
        self.server.signal(signal.SIGKILL)
        self.server.end()

    def close(self) -> None:
        for running in reversed(self._started):
            if running.process.poll() is None:
                running.signal(signal.SIGTERM)
                try:
                    running.end()
                except subprocess.TimeoutExpired:
                    running.signal(signal.SIGKILL)
                    running.end()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A data folder without a server."""
    made = Shell(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A server that the tests of a module share."""
    made = Shell(tmp_path_factory.mktemp("live"))
    made.serve()
    yield made
    made.close()
