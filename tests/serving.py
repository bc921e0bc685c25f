"""A real server as a subprocess, for tests of its clients and its page."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

START_S = 20.0


class Server:
    """``antiphon serve`` in a folder of its own; it can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.token = ""
        self.start()

    def start(self) -> None:
        """Start it, after the first time on the same port."""
        ready = self._folder / "ready.json"
        ready.unlink(missing_ok=True)
        port = self.url.rpartition(":")[2] or "0"
        command = [sys.executable, "-m", "antiphon", "serve", "--port", port]
        command += ["--data", str(self._folder / "data"), "--ready-file", str(ready)]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        said = self._wait_for(ready)
        self.url = said["url"].rstrip("/")
        self.token = Path(said["token_file"]).read_text().strip()

    def _wait_for(self, ready: Path) -> dict[str, Any]:
        assert self._process is not None
        until = time.monotonic() + START_S
        while time.monotonic() < until and self._process.poll() is None:
            try:
                said: dict[str, Any] = json.loads(ready.read_text())
                return said
            except (FileNotFoundError, json.JSONDecodeError):
                time.sleep(0.02)
        raise AssertionError(f"no server:\n{(self._folder / 'server.log').read_text()}")

    def kill(self) -> None:
        """``kill -9``."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order."""
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(START_S)
            self._process = None

    @property
    def address(self) -> str:
        """What a person opens."""
        return f"{self.url}/#token={self.token}"

    def issue(self, name: str, *, sub: Sequence[str], roles: Sequence[str] = ()) -> str:
        """Issue a token that sees *sub*, and give it."""
        grant = {"name": name, "sub": list(sub), "roles": list(roles)}
        issued: str = self._ask("POST", "/v1/tokens", grant)["token"]
        return issued

    def revoke(self, name: str) -> None:
        """Take a token away."""
        self._ask("DELETE", f"/v1/tokens/{name}")

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        request = urllib.request.Request(
            f"{self.url}{path}",
            None if body is None else json.dumps(body).encode(),
            {"content-type": "application/json", "authorization": f"Bearer {self.token}"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.loads(response.read() or b"null")

    def publish(self, events: Sequence[dict[str, Any]]) -> list[int]:
        """Publish, and give the seqs."""
        seqs: list[int] = []
        for start in range(0, len(events), 1000):
            reply = self._ask("POST", "/v1/events", list(events[start : start + 1000]))
            seqs += [result["seq"] for result in reply["results"]]
        return seqs
