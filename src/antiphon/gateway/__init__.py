"""The gateway: HTTP, WebSocket and the page, on the doors that are open.

Promises: docs/semantics/gateway.md. The protocol for users: docs/gateway.md.
"""

from antiphon.gateway.auth import Auth, load_token, make_token
from antiphon.gateway.doors import Doors, bind, open_doors
from antiphon.gateway.routes.running import Workers
from antiphon.gateway.server import Gateway
from antiphon.gateway.sessions import SESSIONS, SessionsActor
from antiphon.gateway.tokens import Tokens

__all__ = [
    "SESSIONS",
    "Auth",
    "Doors",
    "Gateway",
    "SessionsActor",
    "Tokens",
    "Workers",
    "bind",
    "load_token",
    "make_token",
    "open_doors",
]
