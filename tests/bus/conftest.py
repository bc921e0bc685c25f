"""A running bus on each kind of store, and small helpers to read from it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from antiphon.app import Core, core
from antiphon.bus import EventStore
from antiphon.stores import MemoryEventStore, SqliteEventStore


@pytest.fixture(params=["memory", "sqlite"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], EventStore]:
    """Makes the store; called again it opens the same data (memory: the same object)."""
    if request.param == "sqlite":
        return lambda: SqliteEventStore(tmp_path / "log.db")
    memory = MemoryEventStore()
    return lambda: memory


@pytest.fixture
async def running(new_store: Callable[[], EventStore]) -> AsyncIterator[Core]:
    async with core(new_store()) as running:
        yield running


async def until(condition: Callable[[], bool], deadline: float = 10.0) -> None:
    """Wait for *condition*, in the loop's own ticks.

    Raises:
        TimeoutError: It didn't come true within *deadline* seconds.
    """
    async with asyncio.timeout(deadline):
        while not condition():
            await asyncio.sleep(0.001)
