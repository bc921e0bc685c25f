"""The watcher as a supervised actor on a real bus. docs/semantics/files.md#server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from antiphon.actors import Backoff, Child, Supervisor
from antiphon.app import Core, core
from antiphon.bridges.files import WATCH, WatchActor
from antiphon.messages import Event
from antiphon.stores import MemoryEventStore

from .folding import State, disk, eventually


@pytest.fixture
async def running() -> AsyncIterator[Core]:
    async with core(MemoryEventStore()) as running:
        yield running


async def supervise(running: Core, root: Path, data: Path) -> None:
    child = Child(
        WATCH,
        lambda: WatchActor(root, running.bus, journal_folder=data / "watch", never=(data,)),
        backoff=Backoff(base=0.01),
    )
    await running.system.supervise(Supervisor([child], intensity=20), name="services")


class Reader:
    """Folds the events of a bus as they come."""

    def __init__(self) -> None:
        self.files: dict[str, State] = {}

    async def read(self, running: Core) -> None:
        async with running.bus.events("file.*", start="earliest") as events:
            async for event in events:
                self.fold(event)

    def fold(self, event: Event) -> None:
        path = event.payload["path"]
        if event.topic == "file.deleted":
            del self.files[path]
        else:
            assert (event.topic == "file.created") == (path not in self.files)
            self.files[path] = (event.payload["size_bytes"], event.payload["mtime"])


@pytest.mark.long
async def test_killed_again_and_again_it_tells_every_state_once(
    running: Core, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    await supervise(running, root, tmp_path / "data")
    reader = Reader()
    reading = asyncio.create_task(reader.read(running))
    watcher = running.system.ref(WATCH)
    for i in range(5):
        for k in range(50):
            (root / f"f{k}").write_text("x" * i)
            (root / f"g{i}-{k}").write_text("x")
        watcher.kill()
        await eventually(lambda: reader.files == disk(root))

    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert running.bus.head >= 300


async def test_stopped_it_lets_go_of_its_journal(running: Core, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "f").touch()
    await supervise(running, root, tmp_path / "data")
    await eventually(lambda: running.bus.head == 1)
    watcher = running.system.ref(WATCH)

    async with asyncio.timeout(3):
        watcher.stop()
        await watcher.wait_generation()
        (root / "g").touch()
        await eventually(lambda: running.bus.head == 2)
