"""SessionsActor: the parent of all connections' actors.

Connections are temporary: the end of one is no failure, and none is restarted, since a
socket can't be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from antiphon.actors import Actor, ActorContext, ActorRef, Key, Request
from antiphon.bus import Bus
from antiphon.gateway.audit import Audit
from antiphon.gateway.auth import Auth
from antiphon.gateway.connection import ConnectionMessage, Transport, WebSocketActor
from antiphon.gateway.flusher import Flusher
from antiphon.gateway.holds import Pass
from antiphon.gateway.register import Register

INBOX = 32
"""Frames that may wait for a connection's actor; past it, its socket isn't read."""


@dataclass(frozen=True, slots=True)
class Accept(Request[ActorRef[ConnectionMessage]]):
    """Start the actor of a connection just accepted; answers with its ref.

    Attributes:
        number: Unique in this process; the actor is named ``cNUMBER``.
        guest: What the connection's cookie opens.
    """

    number: int
    transport: Transport
    guest: Pass | None


SessionsMessage: TypeAlias = Accept
SESSIONS: Key[SessionsMessage] = Key("gateway/sessions")


class SessionsActor(Actor[SessionsMessage]):
    """Starts an actor for each connection; when it ends, so do they all."""

    def __init__(
        self,
        bus: Bus,
        *,
        auth: Auth,
        audit: Audit,
        going: Callable[[], bool],
        register: Register,
    ) -> None:
        self._bus = bus
        self._auth = auth
        self._audit = audit
        self._going = going
        self._register = register
        self._flusher = Flusher()

    async def handle(self, msg: SessionsMessage, ctx: ActorContext[SessionsMessage]) -> None:
        def make() -> WebSocketActor:
            return WebSocketActor(
                self._bus,
                msg.transport,
                flusher=self._flusher,
                auth=self._auth,
                audit=self._audit,
                guest=msg.guest,
                going=self._going,
                register=self._register,
            )

        ctx.reply(msg, await ctx.spawn(make, f"c{msg.number}", capacity=INBOX))
