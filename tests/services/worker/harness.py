"""A desk with workers on real processes, and a log in memory that can refuse and stall."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from antiphon.actors import ActorSystem, Supervisor
from antiphon.errors import StorageUnavailable
from antiphon.messages import Published, WorkerInfo, WorkerStart
from antiphon.services.worker import (
    WORKERS,
    ListWorkers,
    StartWorker,
    StopWorker,
    worker_services,
)
from antiphon.services.worker.keeper_main import processes
from antiphon.testing.leaks import assert_no_leaks

ENDS = ("complete", "failed", "cancelled")


async def until(true: Callable[[], Any], within: float = 10.0) -> Any:
    """Wait until *true* says so; what it said."""
    deadline = asyncio.get_running_loop().time() + within
    while not (said := true()):
        if asyncio.get_running_loop().time() > deadline:
            pytest.fail(f"still not so after {within:g} s")
        await asyncio.sleep(0.01)
    return said


def alive(pid: int) -> bool:
    return any(process.pid == pid and not process.zombie for process in processes())


class MemoryPage:
    def __init__(self, data: list[bytes]) -> None:
        self.data = data


class MemoryLog:
    """What workers ask of the bus, kept in a list; can be made to refuse or to stall."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.refusals = 0
        self.refused: list[str] = []
        self.gate: asyncio.Future[None] | None = None

    def publish_event(
        self,
        topic: str,
        payload: Any = None,
        *,
        type: str = "custom.event",
        source: str | None = None,
        id: str | None = None,
        correlation_id: str | None = None,
    ) -> asyncio.Future[Published]:
        return asyncio.ensure_future(
            self._publish(topic, payload, type, source, id, correlation_id)
        )

    async def _publish(
        self,
        topic: str,
        payload: Any,
        type: str,
        source: str | None,
        id: str | None,
        correlation_id: str | None,
    ) -> Published:
        assert id is not None
        event = {
            "id": id,
            "topic": topic,
            "type": type,
            "source": source,
            "payload": payload,
            "correlation_id": correlation_id,
        }
        event = msgspec.json.decode(msgspec.json.encode(event))
        if self.refusals:
            self.refusals -= 1
            self.refused.append(id)
            raise StorageUnavailable("the disk is full", retry_after_ms=20)
        if self.gate is not None:
            await asyncio.shield(self.gate)
        duplicate = any(known["id"] == id and known["topic"] == topic for known in self.events)
        if not duplicate:
            self.events.append(event)
        return Published(id=id, seq=len(self.events), duplicate=duplicate)

    async def query(
        self,
        patterns: Sequence[str] = ("*",),
        *,
        order: str = "asc",
        correlation_id: str | None = None,
        limit: int = 100,
    ) -> MemoryPage:
        return MemoryPage(
            [
                msgspec.json.encode(event)
                for event in self.events
                if event["topic"] in patterns and event["correlation_id"] == correlation_id
            ][:limit]
        )


class Desk:
    """Workers running, and the log that tells of them."""

    def __init__(self, system: ActorSystem, log: MemoryLog, folder: Path) -> None:
        self.system = system
        self.log = log
        self.folder = folder
        self.workers = system.ref(WORKERS)

    async def start(self, *argv: str, **fields: Any) -> WorkerInfo:
        fields.setdefault("cwd", "/")
        return await self.workers.call(StartWorker(WorkerStart(argv=list(argv), **fields)))

    async def sh(self, script: str, **fields: Any) -> WorkerInfo:
        return await self.start("sh", "-c", script, **fields)

    async def stop(self, id: str) -> WorkerInfo:
        return await self.workers.call(StopWorker(id))

    async def list(self, *, ended: bool = False) -> list[WorkerInfo]:
        return await self.workers.call(ListWorkers(ended))

    def events(self, of: WorkerInfo, *kinds: str) -> list[dict[str, Any]]:
        return [
            event
            for event in self.log.events
            if event["correlation_id"] == of.run
            and (not kinds or event["topic"].rpartition(".")[2] in kinds)
        ]

    def payloads(self, of: WorkerInfo, *kinds: str) -> list[dict[str, Any]]:
        return [event["payload"] for event in self.events(of, *kinds)]

    def lines(self, of: WorkerInfo, stream: str = "stdout") -> list[str]:
        batches = self.payloads(of, "progress")
        return [line for b in batches if b["stream"] == stream for line in b["lines"]]

    async def saw(self, of: WorkerInfo, kind: str, within: float = 10.0) -> dict[str, Any]:
        """The payload of its first event of this kind, once it is there."""
        return (await until(lambda: self.payloads(of, kind), within))[0]

    async def end(self, of: WorkerInfo, within: float = 10.0) -> tuple[str, dict[str, Any]]:
        """Its end: which one, and the payload; there is exactly one."""
        await until(lambda: self.events(of, *ENDS), within)
        (event,) = self.events(of, *ENDS)
        return event["topic"].rpartition(".")[2], event["payload"]

    async def quiet(self, within: float = 10.0) -> None:
        """Wait until no worker lives."""
        deadline = asyncio.get_running_loop().time() + within
        while await self.list():
            assert asyncio.get_running_loop().time() < deadline, await self.list()
            await asyncio.sleep(0.01)

    def keeper(self) -> int:
        """The process id of the keeper."""
        (pid,) = [p.pid for p in processes() if p.parent == os.getpid() and _is_keeper(p.pid)]
        return pid


def _is_keeper(pid: int) -> bool:
    return b"keeper_main" in Path(f"/proc/{pid}/cmdline").read_bytes()


@asynccontextmanager
async def open_desk(folder: Path, log: MemoryLog, **options: Any) -> AsyncIterator[Desk]:
    async with ActorSystem("desk") as system:
        children = worker_services(log, folder, **options)
        await system.supervise(Supervisor(children), name="services")
        yield Desk(system, log, folder)
    assert_no_leaks(system)
