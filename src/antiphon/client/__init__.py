"""Clients of a server; they speak only the wire, and import nothing of the server.

``connect`` and ``connect_sync`` publish and follow, and come back by themselves; ``HttpClient``
asks and publishes one request at a time; ``Tail`` follows from a plain thread, event by event
as it was written. All raise the errors of ``antiphon.errors`` by the ``code`` that the server
gave, and ``NoServer`` when nobody answers.
"""

from antiphon.client.endpoint import Endpoint, NoServer
from antiphon.client.http import HttpClient, RawPage
from antiphon.client.plain import PlainBus, PlainSubscription, connect_sync
from antiphon.client.problems import error_from
from antiphon.client.remote import RemoteBus, RemoteSubscription, connect
from antiphon.client.tail import Batch, Tail, TailNotice

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
