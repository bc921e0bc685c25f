"""What survives a publisher killed at any point, and a power cut at any moment."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from tests.stores.sqlite.kills import kill_rounds
from tests.stores.sqlite.power import power_rounds

ROUNDS_OF_A_LOG = 40
"""After so many kills another log is begun: each round reads all of it."""


def run_crashes(rounds: int = 200, *, say: Any = print) -> dict[str, Any]:
    """Kill a process that publishes, reads, trims and checkpoints; count what was seen."""
    counts = Counter[str]()
    failure = None
    with tempfile.TemporaryDirectory(prefix="antiphon-prove-") as made:
        for number, at in enumerate(range(0, rounds, ROUNDS_OF_A_LOG)):
            try:
                path = Path(made) / f"{number}.db"
                counts.update(kill_rounds(path, min(ROUNDS_OF_A_LOG, rounds - at), seed=number))
            except Exception as error:  # a log that doesn't open again is a failure too
                failure = f"{type(error).__name__}: {error}"
                break
            say(dict(counts))
    return {"kills": rounds, **counts, "failure": failure, "held": failure is None}


def run_power(rounds: int = 100, *, say: Any = print) -> dict[str, Any]:
    """Cut the power of a log under load; count what was seen."""
    counts: dict[str, Any] = {}
    failure = None
    with tempfile.TemporaryDirectory(prefix="antiphon-prove-") as made:
        try:
            counts = power_rounds(Path(made), rounds)
        except Exception as error:  # a log that doesn't open again is a failure too
            failure = f"{type(error).__name__}: {error}"
    result = {**counts, "failure": failure, "held": failure is None}
    say(result)
    return result
