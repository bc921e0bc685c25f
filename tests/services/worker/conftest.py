"""Fixtures for workers; nothing may be left when a test ends."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from antiphon.services.worker.keeper_main import descendants, processes

from .harness import Desk, MemoryLog, open_desk


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
async def desk(tmp_path: Path, log: MemoryLog) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path, log) as desk:
        yield desk


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """No test leaves a process, a zombie or a descriptor behind."""
    before = set(os.listdir("/proc/self/fd"))
    there = {process.pid for process in descendants(processes(), os.getpid())}
    yield
    left = [one for one in descendants(processes(), os.getpid()) if one.pid not in there]
    assert left == []
    assert len(os.listdir("/proc/self/fd")) <= len(before)
