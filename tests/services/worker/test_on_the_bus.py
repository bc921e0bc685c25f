"""Workers on the real bus, their log in a real SQLite file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from antiphon.actors import Supervisor
from antiphon.app import Core, core
from antiphon.messages import Event, WorkerInfo, WorkerStart
from antiphon.services.worker import (
    WORKERS,
    ListWorkers,
    StartWorker,
    StopWorker,
    worker_services,
)
from antiphon.services.worker.records import Records
from antiphon.stores import SqliteEventStore

from .harness import ENDS


@asynccontextmanager
async def serve(folder: Path) -> AsyncIterator[Core]:
    async with core(SqliteEventStore(folder / "log.db")) as running:
        services = Supervisor(worker_services(running.bus, folder))
        await running.system.supervise(services, name="services")
        yield running


async def start(running: Core, script: str, **fields: Any) -> WorkerInfo:
    ask = WorkerStart(argv=["sh", "-c", script], cwd="/", **fields)
    return await running.system.ref(WORKERS).call(StartWorker(ask))


async def ended(running: Core, info: WorkerInfo) -> Event:
    """The event of its end, by a subscription from the beginning."""
    topics = [f"worker.{info.id}.{end}" for end in ENDS]
    async with asyncio.timeout(10), running.bus.events(*topics, start="earliest") as events:
        async for event in events:
            if event.correlation_id == info.run:
                return event
    raise AssertionError("the iterator ended")


async def told(running: Core, info: WorkerInfo) -> list[Event]:
    page = await running.bus.query([f"worker.{info.id}.*"], correlation_id=info.run, limit=500)
    return [msgspec.json.decode(data, type=Event) for data in page.data]


async def test_a_worker_is_in_the_log_from_start_to_end(tmp_path: Path) -> None:
    """Each event once, in order, with all of its lines, strange ones included."""
    async with serve(tmp_path) as running:
        script = "seq 5000; printf '\\000\\377\\033[1m\\n'; echo oops >&2; exit 3"
        info = await start(running, script, name="build")
        end = await ended(running, info)
        assert (end.topic, end.type, end.payload["exit_code"]) == (
            "worker.build.failed",
            "worker_failed",
            3,
        )
        events = await told(running, info)

    assert events[0].topic == "worker.build.spawned"
    assert events[-1].seq == end.seq
    assert len({event.id for event in events}) == len(events)
    assert {event.source for event in events} == {"/workers/build"}
    progress = [event.payload for event in events if event.type == "worker_progress"]
    out = [line for p in progress if p["stream"] == "stdout" for line in p["lines"]]
    assert out == [*map(str, range(1, 5001)), "\0�\033[1m"]
    assert [p["lines"] for p in progress if p["stream"] == "stderr"] == [["oops"]]


async def test_workers_flood_the_log_and_stop_when_told(tmp_path: Path) -> None:
    """``yes`` in both modes beside each other: bounded, and cancelled in the end."""
    async with serve(tmp_path) as running:
        workers = running.system.ref(WORKERS)
        infos = [await start(running, "yes", output=how) for how in ("all", "tail")]
        async with asyncio.timeout(10):
            while not all(info.lines > 300_000 for info in await workers.call(ListWorkers())):
                await asyncio.sleep(0.02)
        for info in infos:
            await workers.call(StopWorker(info.id))
        for info in infos:
            assert (await ended(running, info)).type == "worker_cancelled"
        assert len(await told(running, infos[1])) < 10


async def test_an_end_that_is_in_the_log_is_not_told_again(tmp_path: Path) -> None:
    """Over three servers: a lost worker ends once, one that has its end gets no other."""
    records = Records(tmp_path / "workers")
    async with serve(tmp_path) as running:
        lost = await start(running, "exec sleep 100", name="lost")
        done = await start(running, "exit 0", name="done")
        await ended(running, done)
        kept = [record for record in records.read_all() if record.id == "lost"]
        file = records.folder / "done.json"
        async with asyncio.timeout(5):
            while file.exists():
                await asyncio.sleep(0.01)
        await running.system.ref(WORKERS).call(StopWorker("lost"))
        await ended(running, lost)
    # as after a crash: files of which one's end is in the log, and of one that is not
    (record,) = kept
    records.write(record)
    records.write(msgspec.structs.replace(record, id="other", run="other-run"))
    for _ in range(2):
        async with serve(tmp_path) as running:
            other = msgspec.structs.replace(lost, id="other", run="other-run")
            assert (await ended(running, other)).payload["reason"] == "server_lost"
            assert len(await told(running, other)) == 1
            assert [e.type for e in await told(running, lost)][-1] == "worker_cancelled"
            async with asyncio.timeout(5):
                while any(records.folder.glob("*.json")):  # read_all may meet one that goes
                    await asyncio.sleep(0.01)
