"""Publishes to the log named on the command line, until it is killed or kills itself.

``PATH SEED POINT``: POINT is ``never``, or where it dies, and at the how manieth time:
``wal-write:N``, ``wal-sync:N``, ``db-write:N`` (a checkpoint), ``committed:N`` (on disk,
nobody told), ``trim:N`` (before the trim's COMMIT). Prints what it tried, what was
acknowledged, what a reader was shown, and what it let be trimmed; see ``ledger.py``.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import apsw
from tests.stores.sqlite.ledger import OLD, PATTERN, publish

from antiphon.app import Core, core
from antiphon.stores import SqliteEventStore
from antiphon.stores.sqlite import store as store_module


class Trap:
    """Kills this process at one point of its life."""

    def __init__(self, point: str) -> None:
        self._name, _, count = point.partition(":")
        self._left = int(count or 0)

    def passes(self, name: str) -> None:
        if name == self._name:
            self._left -= 1
            if self._left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)


class TrapFile(apsw.VFSFile):
    def __init__(self, name: Any, flags: list[int], trap: Trap) -> None:
        super().__init__("unix", name, flags)
        path = name if isinstance(name, str) or name is None else name.filename()
        self._kind = "wal" if path and path.endswith("-wal") else "db"
        self._trap = trap

    def xWrite(self, data: Any, offset: int) -> None:
        self._trap.passes(f"{self._kind}-write")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        self._trap.passes(f"{self._kind}-sync")
        super().xSync(flags)


class TrapDisk(apsw.VFS):
    def __init__(self, trap: Trap) -> None:
        super().__init__("trap", "unix", makedefault=True)
        self._trap = trap

    def xOpen(self, name: Any, flags: list[int]) -> TrapFile:
        return TrapFile(name, flags, self._trap)


class TrapStore(SqliteEventStore):
    trap: Trap

    def append(self, rows: Any, recorded_us: int) -> None:
        super().append(rows, recorded_us)
        self.trap.passes("committed")

    def _remove(self, *arguments: Any, **options: Any) -> Any:
        removed = super()._remove(*arguments, **options)
        self.trap.passes("trim")
        return removed


def say(*words: object) -> None:
    """Write one whole line at once: a kill cuts no line in two."""
    os.write(1, " ".join(map(str, words)).encode() + b"\n")


async def show(running: Core) -> None:
    async with running.bus.events(PATTERN) as events:
        async for event in events:
            say("got", event.seq, event.id)


async def burst(running: Core, ids: list[str]) -> None:
    for id in ids:
        say("try", id)
    for result in asyncio.as_completed([publish(running, id) for id in ids]):
        told = await result
        say("ack", told.id, told.seq, told.cursor)


async def main(path: str, seed: str, point: str) -> None:
    chance = random.Random(seed)
    trap = Trap(point)
    disk = TrapDisk(trap)
    store = TrapStore(Path(path))
    store.trap = trap
    store_module.TRUNCATE_S = 0.0
    number = 0
    async with core(store) as running:
        shown = asyncio.create_task(show(running))
        while True:
            ids = [f"s{seed}-{number + i}" for i in range(chance.randint(1, 40))]
            number += len(ids)
            await burst(running, ids)
            if chance.random() < 0.3:
                running.log.writer.job(lambda: store.tend(idle=True))
            if chance.random() < 0.3:
                upto = max(0, running.log.head - chance.randint(0, 60))
                say("trim", upto)
                await running.log.trim(OLD, upto)
            assert not shown.done(), shown
            assert disk


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
