"""The actor runtime: actors, refs, supervision, registry, groups, timers.

Promises: docs/semantics/actors.md.
"""

from antiphon.actors.actor import Actor
from antiphon.actors.clock import Clock, RealClock, TimerHandle
from antiphon.actors.context import ActorContext
from antiphon.actors.deadletters import DeadLetter, DeadLetterReason
from antiphon.actors.feed import EventSource, Feed
from antiphon.actors.mailbox import Overflow
from antiphon.actors.monitors import MonitorRef
from antiphon.actors.notices import Down, Exit, Joined, Left, Notice
from antiphon.actors.observer import Observer
from antiphon.actors.pool import Pool, PoolInfo, PoolMessage, PoolStatus, Resize
from antiphon.actors.reasons import Failed, Killed, NoProc, Reason, Status, Stopped
from antiphon.actors.ref import ActorRef, Key
from antiphon.actors.request import ReplyTo, Request
from antiphon.actors.routing import Routing
from antiphon.actors.supervision import Backoff, Restart, Strategy
from antiphon.actors.supervisor import (
    Child,
    DynamicSupervisor,
    RemoveChild,
    StartChild,
    Supervisor,
    SupervisorMessage,
)
from antiphon.actors.system import ActorSystem
from antiphon.actors.task import Task
from antiphon.actors.timers import Interval, Timer
from antiphon.actors.trace import Trace, current_trace, tracing

__all__ = [
    "Actor",
    "ActorContext",
    "ActorRef",
    "ActorSystem",
    "Backoff",
    "Child",
    "Clock",
    "DeadLetter",
    "DeadLetterReason",
    "Down",
    "DynamicSupervisor",
    "EventSource",
    "Exit",
    "Failed",
    "Feed",
    "Interval",
    "Joined",
    "Key",
    "Killed",
    "Left",
    "MonitorRef",
    "NoProc",
    "Notice",
    "Observer",
    "Overflow",
    "Pool",
    "PoolInfo",
    "PoolMessage",
    "PoolStatus",
    "RealClock",
    "Reason",
    "RemoveChild",
    "ReplyTo",
    "Request",
    "Resize",
    "Restart",
    "Routing",
    "StartChild",
    "Status",
    "Stopped",
    "Strategy",
    "Supervisor",
    "SupervisorMessage",
    "Task",
    "Timer",
    "TimerHandle",
    "Trace",
    "current_trace",
    "tracing",
]
