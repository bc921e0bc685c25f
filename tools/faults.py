"""Put each known fault into a copy of the sources, and see a test fail.

A fault is a file ``tests/faults/NAME.fault``: what is wrong, the test that must see it,
the file, and one piece of text with what takes its place. A fault that no test sees is
a hole in the tests. ``make faults`` runs all; give names to run some.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "tests" / "faults"
FORM = re.compile(
    r"what: (?P<what>.+)\nseen by: (?P<test>\S+)\nfile: (?P<file>\S+)\n"
    r"<<<<\n(?P<old>.*?)====\n(?P<new>.*?)>>>>\n",
    re.S,
)
WITHIN_S = 60


@dataclass(frozen=True)
class Fault:
    """One fault; *test* is the id of the test that must fail with it."""

    name: str
    what: str
    test: str
    file: str
    old: str
    new: str

    @classmethod
    def read(cls, path: Path) -> Fault:
        """Raise ValueError if the file isn't of the form."""
        found = FORM.fullmatch(path.read_text("utf-8"))
        if found is None:
            raise ValueError(f"{path.name} is no fault: see tools/faults.py for the form")
        return cls(path.stem, **found.groupdict())

    def applied(self, root: Path = ROOT) -> str:
        """The file's text with the fault; raise ValueError if its place is not found once."""
        text = (root / self.file).read_text("utf-8")
        if text.count(self.old) != 1:
            raise ValueError(
                f"{self.name}: its text stands {text.count(self.old)} times in {self.file}"
            )
        return text.replace(self.old, self.new)


def faults(names: list[str] | None = None) -> list[Fault]:
    """All of them, or those named."""
    paths = sorted(FOLDER.glob("*.fault"))
    return [Fault.read(path) for path in paths if not names or path.stem in names]


def is_seen(fault: Fault) -> bool:
    """Whether its test fails, on a copy of the sources that has it."""
    with tempfile.TemporaryDirectory(prefix="antiphon-fault-") as made:
        copy = Path(made) / "src"
        shutil.copytree(ROOT / "src", copy, ignore=shutil.ignore_patterns("__pycache__", "web"))
        web = Path(made) / "web"
        shutil.copytree(ROOT / "web", web, ignore=shutil.ignore_patterns("node_modules"))
        (Path(made) / fault.file).write_text(fault.applied(), "utf-8")
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pytest", "-q", "-x", "--timeout", "20", fault.test],
                cwd=ROOT,
                env={
                    **os.environ,
                    "PYTHONPATH": str(copy),
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "ANTIPHON_WEB": str(web),
                },
                capture_output=True,
                text=True,
                timeout=WITHIN_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return True  # a test that hangs has failed
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{fault.name}: pytest ended with {done.returncode}\n{done.stdout}")
    return done.returncode == 1


def main() -> int:
    """Run them two at a time; 1 if any was not seen."""
    parser = argparse.ArgumentParser(prog="faults", description="See every known fault by a test.")
    parser.add_argument("names", nargs="*", metavar="NAME")
    known = faults(parser.parse_args().names)
    holes = 0
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for fault, seen in zip(known, pool.map(is_seen, known), strict=True):
            holes += not seen
            told = f"seen by {fault.test}" if seen else f"NOT SEEN by {fault.test}"
            print(f"{fault.what}: {told}", flush=True)
    print(f"{len(known)} faults, {holes} not seen")
    return 1 if holes or not known else 0


if __name__ == "__main__":
    sys.exit(main())
