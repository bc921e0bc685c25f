"""Workers: supervised commands whose life and output become events.

``worker_services`` gives the children for the supervisor ``services``: the keeper, then
the workers. Promises: docs/semantics/workers.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from antiphon.actors import Child
from antiphon.services.worker.keeper_actor import KeeperActor
from antiphon.services.worker.protocol import (
    KEEPER,
    WORKERS,
    ListWorkers,
    StartWorker,
    StopWorker,
    WorkersMessage,
)
from antiphon.services.worker.publishing import Publisher
from antiphon.services.worker.records import Records
from antiphon.services.worker.workers_actor import MAX_WORKERS, WorkersActor

__all__ = [
    "KEEPER",
    "MAX_WORKERS",
    "WORKERS",
    "ListWorkers",
    "Publisher",
    "StartWorker",
    "StopWorker",
    "WorkersMessage",
    "worker_services",
]

SHUTDOWN = 8.0
"""Seconds that each of the two needs at most to stop: the ladder takes 5 of them."""


def worker_services(
    publisher: Publisher, folder: Path, *, max_workers: int = MAX_WORKERS
) -> list[Child[Any]]:
    """The children of ``services`` that run workers, to be started in this order.

    Args:
        publisher: The bus.
        folder: The data folder; files of living workers go to ``workers/`` in it.
    """
    records = Records(folder / "workers")
    return [
        Child(KEEPER, KeeperActor, shutdown=SHUTDOWN),
        Child(
            WORKERS,
            lambda: WorkersActor(publisher, records, max_workers=max_workers),
            shutdown=SHUTDOWN,
        ),
    ]
