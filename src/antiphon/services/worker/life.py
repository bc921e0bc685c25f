"""What is known of one stay of a worker.

Its WorkerActor writes it; WorkersActor reads it, and so still knows everything when the
WorkerActor has been killed. Both run on one loop.
"""

from __future__ import annotations

from typing import Any

from antiphon.actors import Clock
from antiphon.ids import new_id
from antiphon.messages import WorkerInfo
from antiphon.messages.http import WorkerState
from antiphon.services.worker.outcome import Outcome
from antiphon.services.worker.output import Output
from antiphon.services.worker.publishing import Outbox, Publisher
from antiphon.services.worker.records import End, EndKind, Record
from antiphon.services.worker.run import Run


class Life:
    """One stay: from StartWorker to its end, over all starts of its command.

    Attributes:
        starts: How often its command was started; None if nobody here knows.
        last: How the last run ended.
        end: How the stay ended, once that is fixed; ``finish`` does it.
        leaving: The run that was still going on when the WorkerActor was stopped from
            outside; whoever records the end sees it off.
    """

    def __init__(self, record: Record, publisher: Publisher, clock: Clock) -> None:
        self.record = record
        self.outbox = Outbox(publisher, clock, record.id, record.run)
        self.output = Output(
            self._progress,
            clock,
            folded=record.start.output == "tail",
            keep_bytes=record.start.max_output_bytes,
        )
        self.state: WorkerState = "starting"
        self.pid: int | None = None
        self.starts: int | None = 0
        self.last: Outcome | None = None
        self.end: End | None = None
        self.clock = clock
        self.leaving: Run | None = None
        self._born = clock.now()

    def finish(self, kind: EndKind, payload: dict[str, Any]) -> None:
        """Fix how it ended; the first to say so is right."""
        if self.end is None:
            starts = {} if self.starts is None else {"starts": self.starts}
            self.end = End(kind=kind, payload={**payload, **starts}, id=new_id())

    def info(self) -> WorkerInfo:
        start = self.record.start
        return WorkerInfo(
            id=self.record.id,
            run=self.record.run,
            argv=start.argv,
            cwd=start.cwd or "/",
            state=self.state,
            restart=start.restart,
            pid=self.pid,
            starts=self.starts or 0,
            age_s=round(self.clock.now() - self._born, 3),
            lines=self.output.lines,
            exit_code=self.last.exit_code if self.last else None,
            signal=self.last.signal if self.last else None,
        )

    async def _progress(self, payload: dict[str, Any]) -> None:
        await self.outbox.say("progress", payload)
