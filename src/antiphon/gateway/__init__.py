"""The gateway: HTTP, WebSocket and the page, on 127.0.0.1.

Promises: docs/semantics/gateway.md. The protocol for users: docs/gateway.md.
"""

from antiphon.gateway.auth import Auth, load_token, make_token
from antiphon.gateway.routes.running import Workers
from antiphon.gateway.server import Gateway, bind
from antiphon.gateway.sessions import SESSIONS, SessionsActor
from antiphon.gateway.tokens import Tokens

__all__ = [
    "SESSIONS",
    "Auth",
    "Gateway",
    "SessionsActor",
    "Tokens",
    "Workers",
    "bind",
    "load_token",
    "make_token",
]
