"""Why a generation ended, and the stages of its life."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


class Status(StrEnum):
    """The stages of one generation, in order; it never goes back."""

    NEW = "new"
    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPING = "stopping"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Stopped:
    """It was asked to stop, or stopped itself."""

    why: str | None = None

    def __str__(self) -> str:
        return f"stopped: {self.why}" if self.why else "stopped"


@dataclass(frozen=True, slots=True)
class Killed:
    """It was killed, or its task was cancelled from outside."""

    why: str | None = None

    def __str__(self) -> str:
        return f"killed: {self.why}" if self.why else "killed"


@dataclass(frozen=True, slots=True)
class Failed:
    """A hook raised *error*."""

    error: BaseException

    def __str__(self) -> str:
        return f"failed: {type(self.error).__name__}: {self.error}"


@dataclass(frozen=True, slots=True)
class NoProc:
    """Nobody was there."""

    def __str__(self) -> str:
        return "nobody there"


Reason: TypeAlias = Stopped | Killed | Failed | NoProc
