"""Clients that mean no good, in the full numbers: a million topics among them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

TESTS = "tests/gateway/test_abuse.py"
TOPICS = 1_000_000


def run(topics: int = TOPICS) -> dict[str, Any]:
    """Run the tests of abuse with so many topics."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", TESTS],
        env={**os.environ, "ANTIPHON_TOPICS": str(topics)},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"(\d+) passed", done.stdout)
    return {
        "topics": topics,
        "passed": int(found[1]) if found else 0,
        "failed": [line for line in done.stdout.splitlines() if line.startswith("FAILED")],
        "held": done.returncode == 0,
    }
