"""A disk that loses its power: what was written after a file's last sync may be gone.

A layer between SQLite and the real files. It passes everything on, so that a running
log sees what it wrote, and keeps beside it what each file certainly holds: its content
at its last sync, and the writes since then. ``cut`` gives the files as a power cut at
this moment may leave them. The shared memory of the WAL is no file that must survive;
SQLite makes it anew.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import apsw
from tests.stores.sqlite.ledger import CURSORS_TRIED, OLD, PATTERN, Ledger, publish

from antiphon.app import Core, core
from antiphon.stores import SqliteEventStore

SECTOR = 512
KINDS = ("dropped", "sectors", "torn")
"""Everything since the last sync is gone; some sectors of it are there; its beginning is."""
Image = dict[str, bytes]
"""Files by name."""


class _Write(NamedTuple):
    offset: int
    data: bytes


class _Truncation(NamedTuple):
    size: int


class _Medium:
    """One file: what is certainly on it, and what is only in the cache above it."""

    def __init__(self, content: bytes) -> None:
        self.synced = bytearray(content)
        self.since: list[_Write | _Truncation] = []

    def sync(self) -> None:
        for change in self.since:
            _apply(self.synced, change)
        self.since.clear()

    def after_cut(self, kind: str, chance: random.Random) -> bytes:
        content = bytearray(self.synced)
        for change in self._survivors(kind, chance):
            _apply(content, change)
        return bytes(content)

    def _survivors(self, kind: str, chance: random.Random) -> Iterator[_Write | _Truncation]:
        if kind == "sectors":
            for change in self.since:
                yield from _some_sectors(change, chance)
        elif kind == "torn" and self.since:
            last = chance.randrange(len(self.since))
            yield from self.since[:last]
            torn = self.since[last]
            if isinstance(torn, _Write):
                yield torn._replace(data=torn.data[: chance.randint(0, len(torn.data))])


def _some_sectors(
    change: _Write | _Truncation, chance: random.Random
) -> Iterator[_Write | _Truncation]:
    if isinstance(change, _Truncation):
        if chance.random() < 0.5:
            yield change
        return
    at = 0
    while at < len(change.data):
        size = SECTOR - (change.offset + at) % SECTOR
        if chance.random() < 0.5:
            yield _Write(change.offset + at, change.data[at : at + size])
        at += size


def _apply(content: bytearray, change: _Write | _Truncation) -> None:
    if isinstance(change, _Truncation):
        del content[change.size :]
        return
    end = change.offset + len(change.data)
    content.extend(bytes(max(0, end - len(content))))
    content[change.offset : end] = change.data


class PowerFile(apsw.VFSFile):
    def __init__(self, name: Any, flags: list[int], disk: PowerDisk) -> None:
        super().__init__("unix", name, flags)
        self._disk = disk
        path = name if isinstance(name, str) or name is None else name.filename()
        self._medium = disk.medium(path)

    def xWrite(self, data: Any, offset: int) -> None:
        super().xWrite(data, offset)
        self._disk.change(self._medium, _Write(offset, bytes(data)))

    def xTruncate(self, size: int) -> None:
        super().xTruncate(size)
        self._disk.change(self._medium, _Truncation(size))

    def xSync(self, flags: int) -> None:
        self._disk.sync(self._medium)


class PowerDisk(apsw.VFS):
    """The layer; SQLite uses it for every file as long as ``power_disk`` lasts.

    Attributes:
        on_change: Called before and after each write, truncation and sync.
    """

    def __init__(self) -> None:
        super().__init__("power", "unix", makedefault=True)
        self.on_change: Callable[[], None] = lambda: None
        self._media: dict[str, _Medium] = {}
        self._lock = threading.RLock()

    def xOpen(self, name: Any, flags: list[int]) -> PowerFile:
        return PowerFile(name, flags, self)

    def xDelete(self, name: str, sync_folder: bool) -> None:
        super().xDelete(name, sync_folder)
        with self._lock:
            self._media.pop(name, None)

    def medium(self, path: str | None) -> _Medium:
        if path is None:
            return _Medium(b"")  # a temporary file
        with self._lock:
            if path not in self._media:
                self._media[path] = _Medium(Path(path).read_bytes())
            return self._media[path]

    def change(self, medium: _Medium, change: _Write | _Truncation) -> None:
        with self._lock:
            medium.since.append(change)
        self.on_change()

    def sync(self, medium: _Medium) -> None:
        self.on_change()
        with self._lock:
            medium.sync()
        self.on_change()

    def cut(self, kind: str, chance: random.Random) -> Image:
        """The files as they are after a power cut now."""
        with self._lock:
            return {
                Path(path).name: medium.after_cut(kind, chance)
                for path, medium in self._media.items()
            }


@contextmanager
def power_disk() -> Iterator[PowerDisk]:
    disk = PowerDisk()
    try:
        yield disk
    finally:
        disk.unregister()


# --- rounds ---------------------------------------------------------------------------------


class Cut(NamedTuple):
    """A power cut, and what had been told by then."""

    kind: str
    image: Image
    ledger: Ledger


def power_rounds(folder: Path, rounds: int, *, seed: int = 1, cuts: int = 10) -> dict[str, Any]:
    """Cut the power of a log under load so often; the counts of what was seen.

    One life of a log is cut *cuts* times: each is a copy of the disk at that moment.

    Raises:
        AssertionError: Something acknowledged or shown was lost, moved or doubled.
    """
    chance = random.Random(seed)
    counts = Counter[str]()
    while counts["cuts"] < rounds:
        life = folder / f"life-{counts['lives']}"
        life.mkdir(parents=True)
        counts["lives"] += 1
        for cut in _live(life / "log.db", min(cuts, rounds - counts["cuts"]), chance):
            counts["cuts"] += 1
            counts[cut.kind] += 1
            counts["acknowledged"] += len(cut.ledger.acknowledged)
            counts["shown"] += len(cut.ledger.shown)
            picks = [chance.randrange(1 << 30) for _ in range(CURSORS_TRIED)]
            left = life / f"after-{counts['cuts']}"
            asyncio.run(cut.ledger.check(restored(left, cut.image), picks))
    return {name: counts[name] for name in sorted(counts)}


def restored(folder: Path, image: Image) -> Path:
    """Write the files of *image* into a new folder; the log's path there."""
    folder.mkdir()
    for name, content in image.items():
        (folder / name).write_bytes(content)
    return folder / "log.db"


def _live(path: Path, cuts: int, chance: random.Random) -> list[Cut]:
    """Load a log, and cut its power at random changes of its disk."""
    ledger = Ledger()
    made: list[Cut] = []
    left = chance.randint(20, 120)

    def passed() -> None:
        nonlocal left
        left -= 1
        if left <= 0 and len(made) < cuts and ledger.acknowledged:
            left = chance.randint(1, 150)
            kind = chance.choice(KINDS)
            told = ledger.copy()  # first: what is told after this moment doesn't count
            made.append(Cut(kind, disk.cut(kind, chance), told))

    with power_disk() as disk:
        disk.on_change = passed
        asyncio.run(_load(path, ledger, lambda: len(made) >= cuts, chance))
    return made


async def _load(
    path: Path, ledger: Ledger, enough: Callable[[], bool], chance: random.Random
) -> None:
    store = SqliteEventStore(path)
    number = 0
    async with core(store) as running:
        shown = asyncio.create_task(_show(running, ledger))
        while not enough():
            ids = [f"p-{number + i}" for i in range(chance.randint(1, 20))]
            number += len(ids)
            ledger.tried.update(ids)
            for result in asyncio.as_completed([publish(running, id) for id in ids]):
                told = await result
                ledger.acknowledged[told.id] = told.seq
                ledger.cursors[told.cursor] = told.seq
            if chance.random() < 0.3:
                running.log.writer.job(lambda: _checkpoint(store))
            if chance.random() < 0.2:
                upto = max(0, running.log.head - chance.randint(0, 40))
                ledger.trimmed = max(ledger.trimmed, upto)
                await running.log.trim(OLD, upto)
        shown.cancel()


def _checkpoint(store: SqliteEventStore) -> None:
    store.tend(idle=True)
    store._next_truncate = 0.0


async def _show(running: Core, ledger: Ledger) -> None:
    async with running.bus.events(PATTERN) as events:
        async for event in events:
            assert event.seq is not None
            ledger.see(event.seq, event.id)
