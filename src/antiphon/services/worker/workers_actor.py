"""``services/workers``: starts workers, lists them, and sees that each has exactly one end.

A worker's end is fixed by its WorkerActor, or here when that one was killed; it is
recorded here: file, then log, then the file goes. So whatever dies in between, the next
generation or the next server finds the file and finishes the job, with the same event.

Leaves out what a worker does (``worker_actor.py``).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from antiphon.actors import (
    Actor,
    ActorContext,
    ActorRef,
    Down,
    Failed,
    Killed,
    Notice,
    Reason,
    Stopped,
)
from antiphon.errors import BadRequest, NotFound, StorageUnavailable, cut
from antiphon.ids import new_id
from antiphon.messages import WorkerStart
from antiphon.services.worker.life import Life
from antiphon.services.worker.protocol import (
    KEEPER,
    ListWorkers,
    Nudge,
    Recorded,
    Recovered,
    StartWorker,
    StopWorker,
    WorkersMessage,
)
from antiphon.services.worker.publishing import Publisher
from antiphon.services.worker.records import Record, Records
from antiphon.services.worker.request import check_start
from antiphon.services.worker.worker_actor import Cancel, WorkerActor, WorkerMessage

_log = logging.getLogger(__name__)

MAX_WORKERS = 64
SEE_OFF_S = 2.0
RECORD_S = 3.0
RESUMED_AFTER = frozenset({"server_lost", "server_stopped", "keeper_lost"})
"""The ends after which a worker with ``restart="always"`` is started again."""


@dataclass(slots=True)
class Living:
    """A worker whose end is not yet told, or whose actor still lives."""

    life: Life
    ref: ActorRef[WorkerMessage]
    down: bool = False
    recording: asyncio.Task[None] | None = None
    recorded: bool = False


class WorkersActor(Actor[WorkersMessage]):
    """The workers of one data folder.

    Args:
        publisher: The bus.
        records: The folder ``workers/``.
        max_workers: Most workers living at once.
    """

    def __init__(
        self, publisher: Publisher, records: Records, *, max_workers: int = MAX_WORKERS
    ) -> None:
        self._publisher = publisher
        self._records = records
        self._max = max_workers
        self._living: dict[str, Living] = {}
        self._reserved: set[str] = set()

    async def pre_start(self, ctx: ActorContext[WorkersMessage]) -> None:
        found = await asyncio.to_thread(self._records.read_all)
        self._reserved = {record.id for record in found}
        ctx.at_end(self._let_go)
        lost = "server_lost" if ctx.generation == 1 else "actor_killed"
        ctx.pipe_to_self(self._recover(found, lost, ctx.system.clock), Recovered)

    async def handle(self, msg: WorkersMessage, ctx: ActorContext[WorkersMessage]) -> None:
        match msg:
            case StartWorker(start):
                try:
                    life = await self._start(self._checked(start), ctx)
                except (BadRequest, StorageUnavailable) as error:
                    ctx.reply_error(msg, error)
                else:
                    ctx.reply(msg, life.info())
            case StopWorker(id):
                if living := self._living.get(id):
                    living.ref.try_cast(Cancel())
                    info = living.life.info()
                    ctx.reply(msg, replace(info, state="stopping"))
                else:
                    ctx.reply_error(msg, NotFound(f"no living worker is named {cut(id)}", value=id))
            case ListWorkers():
                ctx.reply(msg, [living.life.info() for living in self._living.values()])
            case Nudge(run):
                if living := self._of_run(run):
                    self._record(living, ctx)
            case Recorded(run):
                if living := self._of_run(run):
                    living.recorded = True
                    await self._forget(living, ctx)
            case Recovered(again):
                self._reserved.clear()
                for start in again:
                    await self._start_again(start, ctx)

    async def handle_notice(self, notice: Notice, ctx: ActorContext[WorkersMessage]) -> None:
        if isinstance(notice, Down):
            for living in list(self._living.values()):
                if living.ref is notice.ref:
                    living.down = True
                    _fix_end(living.life, notice.reason)
                    self._record(living, ctx)
                    await self._forget(living, ctx)

    async def post_stop(self, reason: Reason, ctx: ActorContext[WorkersMessage]) -> None:
        """All at once: see off what runs, record what has no end yet."""
        for living in self._living.values():
            _fix_end(living.life, Stopped())
            self._record(living, ctx)
        tasks = [living.recording for living in self._living.values() if living.recording]
        if tasks:
            await asyncio.wait(tasks, timeout=SEE_OFF_S + RECORD_S)

    def _let_go(self) -> None:
        for living in self._living.values():
            if living.life.leaving is not None:
                living.life.leaving.abandon()
            if living.recording is not None:
                living.recording.cancel()

    # starting

    def _checked(self, start: WorkerStart) -> WorkerStart:
        start = check_start(start)
        if len(self._living) >= self._max:
            raise BadRequest(
                f"at most {self._max} workers may live at once, and so many do", limit=self._max
            )
        name = start.name
        if name is None:
            name = secrets.token_hex(4)
            while name in self._living or name in self._reserved:
                name = secrets.token_hex(4)
        elif name in self._living or name in self._reserved:
            raise BadRequest(f"the name {cut(name)} is in use by a living worker", value=name)
        return replace(start, name=name)

    async def _start(
        self, start: WorkerStart, ctx: ActorContext[WorkersMessage], *, resumed: bool = False
    ) -> Life:
        assert start.name is not None
        record = Record(id=start.name, run=new_id(), start=start)
        try:
            await asyncio.to_thread(self._records.write, record)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise StorageUnavailable(f"cannot write the file of {record.id}: {why}") from error
        life = Life(record, self._publisher, ctx.system.clock)
        keeper, myself = ctx.system.ref(KEEPER), ctx.myself
        ref = await ctx.spawn(
            lambda: WorkerActor(life, keeper=keeper, parent=myself, resumed=resumed),
            name=record.id,
        )
        self._living[record.id] = Living(life, ref)
        ctx.monitor(ref)
        return life

    async def _start_again(self, start: WorkerStart, ctx: ActorContext[WorkersMessage]) -> None:
        """Start a worker that lived before; what stands in the way is logged, not raised."""
        try:
            await self._start(self._checked(start), ctx, resumed=True)
        except (BadRequest, StorageUnavailable) as error:
            _log.error("could not start worker %s again: %s", start.name, error)

    # ending

    def _of_run(self, run: str) -> Living | None:
        return next((x for x in self._living.values() if x.life.record.run == run), None)

    def _record(self, living: Living, ctx: ActorContext[WorkersMessage]) -> None:
        if living.recording is None:
            task = asyncio.create_task(self._save_end(living.life))
            living.recording = task
            run = living.life.record.run
            ctx.pipe_to_self(_joined(task), lambda _: Recorded(run))

    async def _save_end(self, life: Life) -> None:
        if life.leaving is not None:
            await _see_off(life)
        end = life.end
        assert end is not None
        record = replace(life.record, end=end)
        await self._on_disk(self._records.write, record)
        await life.outbox.say(end.kind, end.payload, id=end.id)
        if not (end.reason == "server_stopped" and record.start.restart == "always"):
            await self._on_disk(self._records.remove, record)

    async def _on_disk(self, do: Callable[[Record], None], record: Record) -> None:
        """The end goes into the log even if its file can't be touched."""
        try:
            await asyncio.to_thread(do, record)
        except OSError as error:
            _log.error("cannot change the file of worker %s: %s", record.id, error.strerror)

    async def _forget(self, living: Living, ctx: ActorContext[WorkersMessage]) -> None:
        """Free the name once both are done; then what is always to run runs again."""
        if not (living.down and living.recorded):
            return
        life = living.life
        del self._living[life.record.id]
        start = life.record.start
        if life.end is not None and life.end.reason == "keeper_lost" and start.restart == "always":
            await self._start_again(start, ctx)

    # recovering

    async def _recover(self, found: Iterable[Record], lost: str, clock: Any) -> list[WorkerStart]:
        """Give each worker of an earlier time its end; which of them are to run again."""
        return [
            record.start
            for record in found
            if await self._recover_one(record, lost, clock) and record.start.restart == "always"
        ]

    async def _recover_one(self, record: Record, lost: str, clock: Any) -> bool:
        """Whether it ended by no will of its own."""
        life = Life(record, self._publisher, clock)
        life.starts = None
        life.end = record.end
        if life.end is None:
            if await life.outbox.has_ended():
                await self._on_disk(self._records.remove, record)
                return False
            life.finish("failed", {"reason": lost})
            await self._on_disk(self._records.write, replace(record, end=life.end))
        assert life.end is not None
        await life.outbox.say(life.end.kind, life.end.payload, id=life.end.id)
        resumed = life.end.reason in RESUMED_AFTER or life.end.reason == lost
        if not (resumed and record.start.restart == "always"):
            await self._on_disk(self._records.remove, record)
        return resumed


def _fix_end(life: Life, reason: Reason) -> None:
    """An end for a worker whose actor ended without one."""
    if life.leaving is not None:
        return  # it gets one when its run is through
    if isinstance(reason, Failed):
        kind = type(reason.error).__name__
        life.finish("failed", {"reason": "actor_failed", "message": kind})
    elif isinstance(reason, Killed):
        life.finish("failed", {"reason": "actor_killed"})
    else:
        life.finish("cancelled", {"reason": "server_stopped"})


async def _see_off(life: Life) -> None:
    """Give a run that is being ended a moment to say its last words."""
    run = life.leaving
    assert run is not None
    await asyncio.wait([run.task], timeout=SEE_OFF_S)
    told = {}
    if run.task.done() and not run.task.cancelled() and run.task.exception() is None:
        told = run.task.result().payload()
    else:
        run.abandon()
    life.finish("cancelled", {**told, "reason": "server_stopped"})


async def _joined(task: asyncio.Task[None]) -> None:
    await asyncio.wait([task])
    task.result()
