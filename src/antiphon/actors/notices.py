"""What reaches ``handle_notice``: news about other actors, not messages from them.

The bus adds its own kinds by subclassing ``Notice``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from antiphon.actors.monitors import MonitorRef
    from antiphon.actors.reasons import Reason
    from antiphon.actors.ref import ActorRef


class Notice:
    """The base of everything that comes by the notice port."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Down(Notice):
    """A monitored generation has ended; the monitor is gone.

    Attributes:
        restarting: Another generation follows under the same ref.
    """

    ref: ActorRef[Any]
    monitor: MonitorRef
    reason: Reason
    restarting: bool


@dataclass(frozen=True, slots=True)
class Exit(Notice):
    """A linked actor has ended abnormally, or was not there; the link is gone."""

    ref: ActorRef[Any]
    reason: Reason


@dataclass(frozen=True, slots=True)
class Joined(Notice):
    """*ref* is now in a watched group."""

    scope: str
    group: str
    ref: ActorRef[Any]


@dataclass(frozen=True, slots=True)
class Left(Notice):
    """*ref* is no longer in a watched group."""

    scope: str
    group: str
    ref: ActorRef[Any]
