"""The runtime's tests under many seeds of interleaving, on asyncio's loop and on uvloop."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

SEEDS = 50
TESTS = "tests/actors"


def run(seeds: int = SEEDS, *, say: Any = print) -> dict[str, Any]:
    """Run them once for each seed; a third of the modules runs on both loops by itself."""
    passed = 0
    failures: list[str] = []
    for seed in range(1, seeds + 1):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-m", "not long", TESTS],
            env={**os.environ, "ANTIPHON_SEED": str(seed)},
            capture_output=True,
            text=True,
            check=False,
        )
        found = re.search(r"(\d+) passed", done.stdout)
        passed += int(found[1]) if found else 0
        failures += [
            f"seed {seed}: {line}" for line in done.stdout.splitlines() if line.startswith("FAILED")
        ]
        if done.returncode and not failures:
            failures.append(f"seed {seed}: pytest ended with {done.returncode}")
    result = {"seeds": seeds, "passed": passed, "failed": failures, "held": not failures}
    say(result)
    return result
