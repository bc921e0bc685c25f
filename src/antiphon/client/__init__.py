"""Clients of a server; they speak only the wire, and import nothing of the server.

``connect`` and ``connect_sync`` publish and follow, and come back by themselves; ``HttpClient``
asks and publishes one request at a time; ``Tail`` follows from a plain thread, event by event
as it was written. All raise the errors of ``antiphon.errors`` by the ``code`` that the server
gave, and ``NoServer`` when nobody answers.

Each name is loaded when it is first used: who only publishes waits for no WebSocket.
"""

from __future__ import annotations

import importlib
import typing

if typing.TYPE_CHECKING:
    from antiphon.client.endpoint import Endpoint, NoServer
    from antiphon.client.http import HttpClient, RawPage
    from antiphon.client.plain import PlainBus, PlainSubscription, connect_sync
    from antiphon.client.problems import error_from
    from antiphon.client.remote import RemoteBus, connect
    from antiphon.client.subscription import RemoteSubscription
    from antiphon.client.tail import Batch, Tail, TailNotice

_HOME = {
    "endpoint": ("Endpoint", "NoServer"),
    "http": ("HttpClient", "RawPage"),
    "plain": ("PlainBus", "PlainSubscription", "connect_sync"),
    "problems": ("error_from",),
    "remote": ("RemoteBus", "connect"),
    "subscription": ("RemoteSubscription",),
    "tail": ("Batch", "Tail", "TailNotice"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "Batch",
    "Endpoint",
    "HttpClient",
    "NoServer",
    "PlainBus",
    "PlainSubscription",
    "RawPage",
    "RemoteBus",
    "RemoteSubscription",
    "Tail",
    "TailNotice",
    "connect",
    "connect_sync",
    "error_from",
]


def __getattr__(name: str) -> typing.Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'antiphon.client' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"antiphon.client.{module}"), name)
    globals()[name] = value
    return value
