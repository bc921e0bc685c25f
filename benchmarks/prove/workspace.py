"""The watcher on a copy of a real source tree, under a storm of changes, without pauses.

After each step the fold of the events must equal the disk.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from antiphon.client import HttpClient
from antiphon.client.endpoint import Endpoint
from benchmarks.prove.server import Served, wait_for

FILES = 1000
SETTLE_S = 60.0
SAVED = b"# saved\n"
APPENDED = b"# appended\n"


def _copy_tree(to: Path, wanted: int) -> int:
    """Copy *wanted* source files of the standard library into new nested folders."""
    library = Path(sysconfig.get_paths()["stdlib"])
    copied = 0
    for path in sorted(library.rglob("*.py")):
        inside = path.relative_to(library)
        if "site-packages" in inside.parts or "__pycache__" in inside.parts:
            continue
        target = to / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        copied += 1
        if copied == wanted:
            break
    return copied


def disk(root: Path) -> dict[str, int]:
    """Every file below *root* and its size."""
    return {
        str(path.relative_to(root)): path.stat().st_size
        for path in root.rglob("*")
        if path.is_file()
    }


class Fold:
    """What the events say is there, and what was wrong about any of them."""

    def __init__(self) -> None:
        self.files: dict[str, int] = {}
        self.seq = 0
        self.wrong: list[str] = []
        self._first: dict[str, int] = {}
        self.counts: dict[str, int] = {}
        self.sizes: list[tuple[str, int]] = []

    def had(self, there: dict[str, int]) -> None:
        """Remember each path's first size: later ones are that and what was appended."""
        self._first = {**there, **self._first}

    def impossible(self) -> list[str]:
        """Events whose size their path never had; a copy grows from 0 to its first size."""
        wrong = []
        for path, size in self.sizes:
            first = self._first.get(path, len("brief"))
            if size > first and size - first not in (len(SAVED), len(SAVED + APPENDED)):
                wrong.append(f"{path} never had {size} bytes")
        return wrong

    def take(self, event: dict[str, Any]) -> None:
        path, what = event["payload"]["path"], event["topic"].removeprefix("file.")
        self.counts[what] = self.counts.get(what, 0) + 1
        known = path in self.files
        if known != (what != "created"):
            self.wrong.append(f"{what} of {path}, which was {'there' if known else 'not there'}")
        if what == "deleted":
            self.files.pop(path, None)
        else:
            self.files[path] = event["payload"]["size_bytes"]
            self.sizes.append((path, self.files[path]))
        self.seq = event["seq"]

    def catch_up(self, served: Served) -> None:
        """Take every event after the last one taken."""
        with HttpClient(Endpoint(served.url, served.token)) as client:
            while True:
                page = json.loads(
                    client.get(f"/v1/events?pattern=file.*&after={self.seq}&limit=500")
                )
                for event in page["events"]:
                    self.take(event)
                if not page["next"]:
                    return


def run(files: int = FILES, *, say: Any = print) -> dict[str, Any]:
    """Run the storm; what was seen at each step, and whether all held."""
    steps: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="antiphon-prove-") as made:
        root = Path(made) / "work"
        _copy_tree(root / "own", 200)
        fold = Fold()
        with Served(Path(made) / "data", "--workspace", str(root)) as served:

            def check(step: str) -> None:
                there = disk(root)
                fold.had(there)

                def equal() -> bool:
                    fold.catch_up(served)
                    return fold.files == there

                try:
                    wait_for(equal, SETTLE_S, step)
                    same = True
                except TimeoutError:
                    same = False
                line = {"step": step, "files": len(there), "fold": len(fold.files), "equal": same}
                steps.append(line)
                say(line)

            check("at the start")
            _copy_tree(root / "new" / "deep" / "tree", files)
            check("a tree copied in")
            storm = list((root / "new").rglob("*.py"))
            for path in storm:
                beside = path.with_name(f".{path.name}.tmp")
                beside.write_bytes(path.read_bytes() + SAVED)
                os.replace(beside, path)
            for path in storm:
                with path.open("ab") as file:
                    file.write(APPENDED)
            for n in range(200):
                brief = root / f"brief{n}.txt"
                brief.write_text("brief")
                brief.unlink()
            check("saved, appended, 200 created and deleted")
            shutil.rmtree(root / "new")
            shutil.rmtree(root / "own")
            check("all deleted")
    fold.wrong += fold.impossible()
    held = all(step["equal"] for step in steps) and not fold.wrong
    return {"steps": steps, "events": fold.counts, "wrong": fold.wrong[:10], "held": held}


def run_this(seconds: float = 120.0, *, say: Any = print) -> dict[str, Any]:
    """``antiphon run`` shows every line; ``yes`` fills neither log nor memory."""
    with (
        tempfile.TemporaryDirectory(prefix="antiphon-prove-") as made,
        Served(Path(made) / "data") as served,
    ):
        zen = subprocess.run(
            [sys.executable, "-c", "import this"], capture_output=True, text=True, check=True
        ).stdout
        shown = served.run("run", "--", sys.executable, "-c", "import this").stdout
        server = psutil.Process(served.pid)
        before = server.memory_info().rss
        started = served.run("run", "-d", "--name", "flood", "--", "yes")
        grown = []
        for _ in range(2):
            time.sleep(seconds / 2)
            grown.append(round((server.memory_info().rss - before) / 2**20, 1))
        stopped = served.run("stop", "flood")
        sizes = [path.stat().st_size for path in served.data.glob("log.db*")]
        result = {
            "every_line_shown": shown == zen,
            "yes_seconds": seconds,
            "log_mib": round(sum(sizes) / 2**20, 1),
            "rss_growth_mib": grown,
            "codes": [started.returncode, stopped.returncode],
        }
        say(result)
        result["held"] = (
            shown == zen
            and grown[1] < 256
            and grown[1] - grown[0] < 64
            and sum(sizes) < 256 * 2**20
            and result["codes"] == [0, 0]
        )
        return result
