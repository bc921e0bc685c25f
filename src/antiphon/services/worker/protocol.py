"""What ``services/workers`` is asked, and what its actors tell each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from antiphon.actors import Key, Request
from antiphon.messages import WorkerInfo, WorkerStart
from antiphon.services.worker.keeper import Session


@dataclass(frozen=True, slots=True)
class StartWorker(Request[WorkerInfo]):
    """Start a worker; answered at once, its events tell the rest.

    Raises:
        BadRequest: Some value breaks a rule, the name is in use, or there are too many.
        StorageUnavailable: Its file can't be written.
    """

    start: WorkerStart


@dataclass(frozen=True, slots=True)
class StopWorker(Request[WorkerInfo]):
    """End a worker by the ladder; answered once it can't be forgotten. Safe to repeat.

    Raises:
        NotFound: No living worker has this id.
        StorageUnavailable: It ends, but a lost server would start it again.
    """

    id: str


@dataclass(frozen=True, slots=True)
class ListWorkers(Request[list[WorkerInfo]]):
    """The living workers, oldest first.

    Attributes:
        ended: Also the last few that have ended, newest first, after the living.
    """

    ended: bool = False


@dataclass(frozen=True, slots=True)
class Nudge:
    """A worker has its end: record it. It stands in its ``Life``."""

    run: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """The end of this stay is in the log, and its file is gone if it should be."""

    run: str


@dataclass(frozen=True, slots=True)
class Recovered:
    """The files of an earlier server, or of an earlier generation, have been read."""

    again: list[WorkerStart]


WorkersMessage: TypeAlias = StartWorker | StopWorker | ListWorkers | Nudge | Recorded | Recovered

WORKERS: Key[WorkersMessage] = Key("services/workers")


@dataclass(frozen=True, slots=True)
class Launch(Request[None]):
    """Start a command under the keeper.

    Attributes:
        adopt: Takes the session in the very step in which it begins, so that it has an
            owner at every moment, even if the caller is gone before the answer.

    Raises:
        KeeperLost: The keeper is gone; there will be another one soon.
        OSError: This process has no descriptors left.
    """

    argv: list[str]
    cwd: str
    env: dict[str, str]
    adopt: Callable[[Session], None]


@dataclass(frozen=True, slots=True)
class Gone:
    """The keeper process ended."""

    why: str


KeeperMessage: TypeAlias = Launch | Gone

KEEPER: Key[KeeperMessage] = Key("services/keeper")
