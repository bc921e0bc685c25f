"""The gateway: HTTP, WebSocket and the page, on 127.0.0.1.

Promises: docs/semantics/gateway.md. The protocol for users: docs/gateway.md.
"""

from antiphon.gateway.auth import Auth, load_token
from antiphon.gateway.routes.running import Workers
from antiphon.gateway.server import Gateway, bind
from antiphon.gateway.sessions import SESSIONS, SessionsActor

__all__ = ["SESSIONS", "Auth", "Gateway", "SessionsActor", "Workers", "bind", "load_token"]
