"""Log and bus, supervised: what an embedding program and the server have in common."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from antiphon.actors import ActorRef, ActorSystem, Child, Observer, Supervisor
from antiphon.app.folder import DataFolder
from antiphon.bus import (
    BUS,
    JANITOR,
    STORE,
    Bus,
    EventBusActor,
    EventStore,
    EventStoreActor,
    Janitor,
    JanitorActor,
    Log,
    Policies,
    Policy,
    Quota,
    Quotas,
    Table,
)
from antiphon.bus.bus import EPHEMERAL
from antiphon.bus.schemas import Schemas
from antiphon.bus.store import StoreCorrupt
from antiphon.bus.topics import check_pattern
from antiphon.errors import InvalidPattern, SpawnFailed, StartError
from antiphon.stores import MemoryEventStore, SqliteEventStore

SHUTDOWN_S = 30.0
SWITCH_S = 0.0005
"""The writer waits this long, not Python's 5 ms, to get the GIL back from a busy loop."""


class Core:
    """Actors, log, bus and janitor, running."""

    def __init__(self, system: ActorSystem, log: Log, bus: Bus, janitor: Janitor) -> None:
        self.system = system
        self.log = log
        self.bus = bus
        self.janitor = janitor


@asynccontextmanager
async def core(
    store: EventStore,
    *,
    name: str = "antiphon",
    observer: Observer | None = None,
    watchdog: float | None = None,
    where: Path | None = None,
    ephemeral: Sequence[str] = (),
    schemas: Path | None = None,
    retention: Iterable[Policy] = (),
    quota: Quota | None = None,
) -> AsyncIterator[Core]:
    """Run log and bus on *store*, supervised, until the block ends.

    Args:
        watchdog: Seconds that the loop may be blocked before a warning says by whom.
        where: The store's file, if it has one: named in errors, its disk watched.
        ephemeral: More patterns of topics whose events are handed on but not kept, beside
            ``*.typing`` and ``_sys.stats.*``.
        schemas: The file that keeps the schemas of payloads; None keeps them in memory.
        retention: Policies beside the default ones, or in their places.
        quota: What each principal may publish from outside; None: as much as it likes.

    Raises:
        StartError: The store or *schemas* can't be opened, or one of *ephemeral* is no pattern.
        BusError: The policies contradict each other.
    """
    try:
        not_kept = tuple(check_pattern(pattern) for pattern in (*EPHEMERAL, *ephemeral))
    except InvalidPattern as error:
        raise StartError(f"cannot take ephemeral topics: {error}") from error
    rules = Schemas(schemas)
    policies = Policies(retention)
    log = Log(store)
    table = Table(log)
    try:
        async with ActorSystem(name, observer=observer, watchdog=watchdog) as system:
            quotas = None if quota is None else Quotas(log, quota)
            bus = Bus(log, system.ref(BUS), ephemeral=not_kept, schemas=rules, quotas=quotas)
            janitor = Janitor(
                bus, policies, holds=log.durables.settled, disk=lambda: disk_share(where)
            )
            children: list[Child[Any]] = [
                Child(STORE, lambda: EventStoreActor(log)),
                Child(BUS, lambda: EventBusActor(table)),
                Child(JANITOR, lambda: JanitorActor(janitor)),
            ]
            try:
                owners = await system.supervise(Supervisor(children), name="log")
            except SpawnFailed as error:
                raise start_error(error, f"open {where or 'the log'}") from error
            async with _ending_with(owners, log):
                yield Core(system, log, bus, janitor)
    finally:
        await log.aclose(SHUTDOWN_S)


@asynccontextmanager
async def _ending_with(owners: ActorRef[Any], log: Log) -> AsyncIterator[None]:
    """Within the block, *log* ends when its actors do, so that nobody waits for their return."""

    async def watch() -> None:
        await owners.wait()
        log.end()

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()


def disk_share(path: Path | None) -> float | None:
    """How full the disk is that holds *path*, 0 to 1; None if that can't be told."""
    if path is None:
        return None
    try:
        usage = shutil.disk_usage(path.parent)
    except OSError:
        return None
    return usage.used / max(usage.used + usage.free, 1)


def start_error(error: BaseException, tried: str) -> StartError:
    """The one line for the person who tried, from whatever lies at the bottom of *error*."""
    cause = error
    while not isinstance(cause, (StartError, StoreCorrupt)) and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, StoreCorrupt):
        return StartError(f"cannot open the log {cause}")
    return cause if isinstance(cause, StartError) else StartError(f"cannot {tried}: {cause}")


@asynccontextmanager
async def open(
    path: str | os.PathLike[str] | None = None,
    *,
    ephemeral: Sequence[str] = (),
    retention: Iterable[Policy] = (),
) -> AsyncIterator[Core]:
    """Open a log in the data folder *path* (None: in memory), with bus and actor system.

    ``async with antiphon.open("data") as app:`` gives ``app.bus`` and ``app.system``.

    Args:
        ephemeral: More patterns of topics whose events are handed on but not kept, beside
            ``*.typing`` and ``_sys.stats.*``.
        retention: How long events stay; see ``core``.

    Raises:
        StartError: The folder can't be used, or its log is not one.
    """
    if path is None:
        async with core(MemoryEventStore(), ephemeral=ephemeral, retention=retention) as running:
            yield running
        return
    folder = DataFolder(Path(path))
    folder.acquire()
    try:
        store = SqliteEventStore(folder.log)
        async with core(
            store,
            where=folder.log,
            ephemeral=ephemeral,
            schemas=folder.schemas,
            retention=retention,
        ) as running:
            yield running
    finally:
        folder.release()
