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
from antiphon.actors.reasons import Failed, Killed, NoProc, Reason, Status, Stopped
from antiphon.actors.ref import ActorRef, Key
from antiphon.actors.request import ReplyTo, Request
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
    "RealClock",
    "Reason",
    "RemoveChild",
    "ReplyTo",
    "Request",
    "Restart",
    "StartChild",
    "Status",
    "Stopped",
    "Strategy",
    "Supervisor",
    "SupervisorMessage",
    "Timer",
    "TimerHandle",
    "Trace",
    "current_trace",
    "tracing",
]
