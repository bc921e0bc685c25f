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
from antiphon.actors.notices import Down, Joined, Left, Notice
from antiphon.actors.observer import Observer
from antiphon.actors.reasons import Failed, Killed, NoProc, Reason, Status, Stopped
from antiphon.actors.ref import ActorRef, Key
from antiphon.actors.request import ReplyTo, Request
from antiphon.actors.supervision import Backoff, Restart
from antiphon.actors.supervisor import Child, Supervisor
from antiphon.actors.system import ActorSystem
from antiphon.actors.timers import Timer

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
    "EventSource",
    "Failed",
    "Feed",
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
    "ReplyTo",
    "Request",
    "Restart",
    "Status",
    "Stopped",
    "Supervisor",
    "Timer",
    "TimerHandle",
]
