"""A real server in a process of its own, to be killed and started again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

START_S = 30.0


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """The first true answer of *condition*.

    Raises:
        TimeoutError: There was none in *seconds*.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.01)


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def command(name: str, *arguments: str, data: Path) -> list[str]:
    """The ``antiphon`` command *name* of this very Python, on the data folder *data*."""
    return [sys.executable, "-m", "antiphon", name, "--data", str(data), *arguments]


class Served:
    """One data folder and port, and the server on them; a context manager.

    Args:
        options: More flags for ``serve``.
        environment: Added to its environment.
    """

    def __init__(
        self, data: Path, *options: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self.data = data
        self.options = options
        self.environment = {**os.environ, **(environment or {})}
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self._ready = data.with_name(f"{data.name}.ready")
        self._log = data.with_name(f"{data.name}.server.log")

    def __enter__(self) -> Served:
        self.start()
        return self

    def __exit__(self, *why: object) -> None:
        self.end()

    @property
    def token(self) -> str:
        return (self.data / "admin-token").read_text().strip()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> float:
        """Start it and wait until it accepts connections; seconds that took."""
        self._ready.unlink(missing_ok=True)
        started = time.monotonic()
        arguments = ["--port", str(self.port), "--ready-file", str(self._ready), *self.options]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command("serve", *arguments, data=self.data),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=self.environment,
                start_new_session=True,
            )
        try:
            wait_for(self._is_ready, START_S, "the server's start")
        except TimeoutError as error:
            raise TimeoutError(f"{error}: {self._log.read_text()[-2000:]}") from None
        return time.monotonic() - started

    def _is_ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"the server ended: {self._log.read_text()[-2000:]}")
        return self._ready.exists()

    def kill(self) -> None:
        """``kill -9``, and reap it."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def end(self) -> int:
        """End it in order; its exit code."""
        if self.process is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def run(
        self, name: str, *arguments: str, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a client command against it."""
        return subprocess.run(
            command(name, *arguments, data=self.data),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def publish(self, topic: str, payload: Any = None) -> int:
        """Publish one event over HTTP; its seq."""
        body = json.dumps({"topic": topic, "payload": payload}).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/v1/events", body, headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            seq: int = json.load(answer)["results"][0]["seq"]
        return seq

    def popen(self, name: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start a client command and leave it running."""
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        return subprocess.Popen(
            command(name, *arguments, data=self.data), text=True, env=environment, **options
        )

    def events(self, *patterns: str) -> list[dict[str, Any]]:
        """Every stored event of *patterns*, through the query command."""
        found = self.run(
            "query", *(patterns or ("*",)), "--limit", "1000000", "--json", timeout=300
        )
        if found.returncode:
            raise RuntimeError(found.stderr)
        return [json.loads(line) for line in found.stdout.splitlines()]
