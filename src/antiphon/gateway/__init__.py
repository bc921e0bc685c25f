"""The gateway: HTTP, WebSocket and the page, on the doors that are open.

Promises: docs/semantics/gateway.md. The protocol for users: docs/gateway.md.
"""

from antiphon.gateway.auth import Auth, load_token
from antiphon.gateway.doors import Doors, bind, open_doors
from antiphon.gateway.routes.running import Workers
from antiphon.gateway.server import Gateway
from antiphon.gateway.sessions import SESSIONS, SessionsActor

__all__ = [
    "SESSIONS",
    "Auth",
    "Doors",
    "Gateway",
    "SessionsActor",
    "Workers",
    "bind",
    "load_token",
    "open_doors",
]
