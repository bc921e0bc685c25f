"""A ``tail --json`` left open, checked as it prints."""

from __future__ import annotations

import json
import subprocess
import threading
from typing import Any

from benchmarks.prove.server import Served


class OpenTail:
    """Reads one tail's lines in a thread and keeps the seqs and ids, in order.

    Attributes:
        seqs, ids: Of every event printed so far.
    """

    def __init__(self, served: Served, *patterns: str) -> None:
        self.seqs: list[int] = []
        self.ids: list[str] = []
        self._process = served.popen(
            "tail",
            *patterns,
            "--from",
            "earliest",
            "--json",
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event: dict[str, Any] = json.loads(line)
            self.ids.append(event["id"])
            self.seqs.append(event["seq"])

    @property
    def last(self) -> int:
        return self.seqs[-1] if self.seqs else 0

    def doubled(self) -> int:
        """How many lines repeat an event or go back."""
        return sum(b <= a for a, b in zip(self.seqs, self.seqs[1:], strict=False))

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._thread.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
