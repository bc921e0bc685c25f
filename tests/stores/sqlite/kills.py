"""Rounds of a publisher that is killed, on one log; after each, the log is compared."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.stores.sqlite.ledger import CURSORS_TRIED, Ledger

ROOT = Path(__file__).parents[3]
PUBLISHER = "tests.stores.sqlite.publisher"
POINTS = {"committed": 60, "wal-sync": 60, "db-write": 60, "trim": 12, "wal-write": 400, "never": 0}
"""Where a publisher dies, and at most at the how manieth time."""
WITHIN_S = 30


def kill_rounds(path: Path, rounds: int, *, seed: int = 1) -> dict[str, Any]:
    """Kill as many publishers; the counts of what was seen.

    Raises:
        AssertionError: Something acknowledged or shown was lost, moved or doubled.
    """
    chance = random.Random(seed)
    ledger = Ledger()
    counts = Counter[str]()
    names = list(POINTS)
    for number in range(rounds):
        name = names[number % len(names)]
        point = f"{name}:{chance.randint(1, POINTS[name] or 1)}"
        _run(path, f"{seed}.{number}", point, chance, ledger)
        counts[f"killed_{name.replace('-', '_')}"] += 1
        counts["unanswered"] += len(ledger.tried - ledger.acknowledged.keys())
        picks = [chance.randrange(1 << 30) for _ in range(CURSORS_TRIED)]
        counts["unanswered_but_stored"] += asyncio.run(ledger.check(path, picks))
        counts["cursors_gone_on_from"] += len(picks)
    counts["acknowledged"] = len(ledger.acknowledged)
    counts["shown"] = len(ledger.shown)
    return {name: counts[name] for name in sorted(counts)}


def _run(path: Path, seed: str, point: str, chance: random.Random, ledger: Ledger) -> None:
    """Let one publisher live until it is dead, and take in what it said."""
    with subprocess.Popen(
        [sys.executable, "-m", PUBLISHER, str(path), seed, point],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        patience = chance.randint(1, 600)
        for line in child.stdout:
            if not line.endswith("\n"):
                break
            ledger.hear(line)
            patience -= 1
            if point.startswith("never") and patience == 0:
                child.kill()
        code = child.wait(WITHIN_S)
    assert code == -signal.SIGKILL, f"the publisher ended by itself with {code}"
