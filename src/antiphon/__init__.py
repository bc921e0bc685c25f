"""Antiphon: a supervised actor runtime with a durable event bus, and a page that shows it live.

The public names, each loaded when it is first used, so that a command which
needs one module doesn't wait for all.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from antiphon.actors import (
        Actor,
        ActorContext,
        ActorRef,
        ActorSystem,
        Backoff,
        Child,
        DeadLetter,
        Down,
        Key,
        Notice,
        Overflow,
        Pool,
        PoolStatus,
        ReplyTo,
        Request,
        Resize,
        Restart,
        Routing,
        Supervisor,
        Task,
    )
    from antiphon.app import open
    from antiphon.bus import (
        Access,
        Bus,
        DurableInfo,
        Ended,
        Gap,
        Holder,
        Lag,
        Live,
        Policy,
        Principal,
        Reset,
        forget,
        publish_event,
        subscribe,
        unsubscribe,
    )
    from antiphon.client import NoServer, connect, connect_sync
    from antiphon.messages import Event, EventIn, EventType, Published

__version__ = "0.1.0"

_HOME = {
    "antiphon.actors": (
        "Actor",
        "ActorContext",
        "ActorRef",
        "ActorSystem",
        "Backoff",
        "Child",
        "DeadLetter",
        "Down",
        "Key",
        "Notice",
        "Overflow",
        "Pool",
        "PoolStatus",
        "ReplyTo",
        "Request",
        "Resize",
        "Restart",
        "Routing",
        "Supervisor",
        "Task",
    ),
    "antiphon.app": ("open",),
    "antiphon.bus": (
        "Access",
        "Bus",
        "DurableInfo",
        "Ended",
        "Gap",
        "Holder",
        "Lag",
        "Live",
        "Policy",
        "Principal",
        "Reset",
        "forget",
        "publish_event",
        "subscribe",
        "unsubscribe",
    ),
    "antiphon.client": ("NoServer", "connect", "connect_sync"),
    "antiphon.messages": ("Event", "EventIn", "EventType", "Published"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "Access",
    "Actor",
    "ActorContext",
    "ActorRef",
    "ActorSystem",
    "Backoff",
    "Bus",
    "Child",
    "DeadLetter",
    "Down",
    "DurableInfo",
    "Ended",
    "Event",
    "EventIn",
    "EventType",
    "Gap",
    "Holder",
    "Key",
    "Lag",
    "Live",
    "NoServer",
    "Notice",
    "Overflow",
    "Policy",
    "Pool",
    "PoolStatus",
    "Principal",
    "Published",
    "ReplyTo",
    "Request",
    "Reset",
    "Resize",
    "Restart",
    "Routing",
    "Supervisor",
    "Task",
    "connect",
    "connect_sync",
    "forget",
    "open",
    "publish_event",
    "subscribe",
    "unsubscribe",
]


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'antiphon' has no attribute {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
