"""Helpers: a publisher that keeps what it gets, and the fold of events against the disk."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

from antiphon.bridges.files import FolderWatcher
from antiphon.bridges.files.events import mtime, shown
from antiphon.bus.access import SYSTEM
from antiphon.bus.event_rules import check_event
from antiphon.errors import IdConflict
from antiphon.messages import EventIn

DEADLINE_S = 20.0

State = tuple[int, str | None]


class Recorder:
    """An idempotent log in memory that refuses on demand.

    Attributes:
        accept: How many more events are taken before ``failure`` is raised; None: all.
    """

    def __init__(self) -> None:
        self.events: list[EventIn] = []
        self.by_id: dict[str, EventIn] = {}
        self.accept: int | None = None
        self.failure: Exception | None = None
        self.tries = 0

    async def publish_batch(self, events: Sequence[EventIn], /) -> None:
        self.tries += 1
        await asyncio.sleep(0)
        for event in events:
            if self.accept is not None:
                if self.accept == 0:
                    assert self.failure is not None
                    raise self.failure
                self.accept -= 1
            self._take(event)

    def _take(self, event: EventIn) -> None:
        check_event(event, SYSTEM)
        assert event.id is not None
        before = self.by_id.get(event.id)
        if before is None:
            self.by_id[event.id] = event
            self.events.append(event)
        elif before != event:
            raise IdConflict(f"id {event.id} was given before")

    def fold(self) -> dict[str, State]:
        """The files that the events say are there; checks that they make sense."""
        return fold(self.events)

    def told(self) -> list[tuple[str, str]]:
        return [(event.topic.removeprefix("file."), event.payload["path"]) for event in self.events]


def fold(events: Iterable[EventIn]) -> dict[str, State]:
    files: dict[str, State] = {}
    for event in events:
        path = event.payload["path"]
        if event.topic == "file.deleted":
            assert path in files, f"{path} deleted, but it was not there"
            del files[path]
        else:
            created = event.topic == "file.created"
            assert created == (path not in files), f"{event.topic} of {path}"
            files[path] = (event.payload["size_bytes"], event.payload["mtime"])
    return files


def disk(root: Path, skip: Callable[[str], bool] = lambda path: False) -> dict[str, State]:
    """All files and links under *root* but what *skip* names, as events would tell them."""
    files: dict[str, State] = {}
    for folder, folders, names in os.walk(root):
        here = os.path.relpath(folder, root)
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        folders[:] = [name for name in folders if not skip(os.path.normpath(f"{here}/{name}"))]
        for name in names + links:
            path = os.path.normpath(os.path.join(here, name))
            status = os.lstat(os.path.join(folder, name))
            if not skip(path) and (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
                files[shown(path)] = (status.st_size, mtime(status.st_mtime_ns))
    return files


async def eventually(condition: Callable[[], Any], *, seconds: float = DEADLINE_S) -> None:
    """Wait until *condition* holds; costly ones are asked less often."""
    async with asyncio.timeout(seconds):
        while True:
            started = monotonic()
            if condition():
                return
            await asyncio.sleep(0.005 + 3 * (monotonic() - started))


class Watched:
    """A running watcher with all that belongs to it."""

    def __init__(self, root: Path, recorder: Recorder, watcher: FolderWatcher) -> None:
        self.root = root
        self.recorder = recorder
        self.watcher = watcher
        self.problems: list[str] = []
        self.stop = asyncio.Event()

    async def in_step(
        self,
        skip: Callable[[str], bool] = lambda path: False,
        *,
        seconds: float = DEADLINE_S,
    ) -> None:
        """Wait until the fold of the events equals the disk."""
        try:
            await eventually(lambda: self.recorder.fold() == disk(self.root, skip), seconds=seconds)
        except TimeoutError:
            told, there = self.recorder.fold(), disk(self.root, skip)
            raise AssertionError(
                f"missing {sorted(there.keys() - told.keys())[:5]},"
                f" too many {sorted(told.keys() - there.keys())[:5]},"
                f" {sum(told[p] != there[p] for p in told.keys() & there.keys())} differ;"
                f" problems {self.problems}"
            ) from None


@asynccontextmanager
async def watching(
    root: Path, journal: Path, recorder: Recorder | None = None, **options: Any
) -> AsyncIterator[Watched]:
    """Run a watcher on *root*, ready; it has ended without an error when the block is left."""
    recorder = recorder or Recorder()
    problems: list[str] = []
    watcher = FolderWatcher(root, recorder, journal, on_problem=problems.append, **options)
    watched = Watched(root, recorder, watcher)
    watched.problems = problems
    task = asyncio.create_task(watcher.run(watched.stop))
    try:
        await eventually(lambda: watcher.ready.is_set() or task.done())
        yield watched
    except BaseException:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise
    watched.stop.set()
    async with asyncio.timeout(DEADLINE_S):
        await task
