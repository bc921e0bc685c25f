"""Clients for plain threads and scripts; they speak only the wire.

``HttpClient`` asks and publishes, ``Tail`` follows. Both raise the errors of
``antiphon.errors`` by the ``code`` that the server gave, and ``NoServer`` when
nobody answers. Imports nothing of the server.
"""

from antiphon.client.endpoint import Endpoint, NoServer
from antiphon.client.http import HttpClient, RawPage
from antiphon.client.problems import error_from
from antiphon.client.tail import Batch, Tail, TailNotice

__all__ = [
    "Batch",
    "Endpoint",
    "HttpClient",
    "NoServer",
    "RawPage",
    "Tail",
    "TailNotice",
    "error_from",
]
