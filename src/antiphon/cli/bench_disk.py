"""What every bench on a disk needs: a folder that is on one, the loop, and percentiles."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import psutil

from antiphon.app.core import SWITCH_S
from antiphon.errors import StartError

Progress = Callable[[str], None]
Figures = dict[str, Any]


def measured(work: Callable[[Path], Coroutine[Any, Any, Figures]], folder: Path | None) -> Figures:
    """Run *work* on the server's loop in a new folder, and add what disk it was.

    Args:
        folder: Where the files go, removed afterwards; on a disk, not in memory.

    Raises:
        StartError: *folder* is in memory.
    """
    sys.setswitchinterval(SWITCH_S)
    with tempfile.TemporaryDirectory(prefix="antiphon-bench-", dir=folder) as made:
        place = Path(made).resolve()
        facts = {"filesystem": filesystem(place), "fsync_p50_ms": round(fsync_p50_ms(place), 3)}
        if sys.platform == "win32":
            return {**asyncio.run(work(place)), **facts}
        import uvloop

        return {**uvloop.run(work(place)), **facts}


def fsync_p50_ms(folder: Path) -> float:
    times = []
    with (folder / "fsync").open("wb") as file:
        for _ in range(100):
            file.write(b"x" * 4096)
            file.flush()
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


def filesystem(folder: Path) -> str:
    """The type of the file system that *folder* is on.

    Raises:
        StartError: It lives in memory, where fsync means nothing.
    """
    best = max(
        (p for p in psutil.disk_partitions(all=True) if folder.is_relative_to(p.mountpoint)),
        key=lambda p: len(p.mountpoint),
        default=None,
    )
    kind = best.fstype if best is not None else "unknown"
    if kind in ("tmpfs", "ramfs"):
        raise StartError(f"{folder} is on {kind}, where fsync means nothing; choose another --dir")
    return kind


def percentile_ms(values: list[float], share: float) -> float:
    """In milliseconds; 0 if there are none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000
