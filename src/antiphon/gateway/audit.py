"""Who did what with the keys, and who was refused, as events; never a flood of them.

``_sys.audit.*`` names tokens by name and id, never by themselves, and no query strings.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, TypeAlias

from antiphon.actors import Clock
from antiphon.bus import Bus, Principal
from antiphon.errors import BusError, redacted
from antiphon.messages import Published, TokenInfo

logger = logging.getLogger(__name__)

AUDIT = "_sys.audit"
DENIED = f"{AUDIT}.denied"
EVERY_S = 10.0
"""At most one denial of a kind in so many seconds; what it leaves out is counted in the next."""

Refusals: TypeAlias = Callable[[BusError, str, str | None], None]
"""Told of a refusal: the error, where, and whose request it was."""


class _Fold:
    """Denials of one kind."""

    def __init__(self) -> None:
        self.next = 0.0
        self.left_out = 0


class Audit:
    """Publishes ``_sys.audit.*``.

    Attributes:
        counters: Refusals, by their kind: ``door``, ``unauthorized``, ``forbidden``.
    """

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._folds = {kind: _Fold() for kind in ("door", "unauthorized", "forbidden")}
        self.counters = dict.fromkeys(self._folds, 0)

    # --- refusals ---------------------------------------------------------------------------

    def denied(self, reason: str, path: str, client: str | None) -> None:
        """A request was turned away at the door; *client* is its address, if it has one."""
        self._denied("door", reason, path, {"client": client})

    def refused(self, error: BusError, where: str, name: str | None) -> None:
        """Somebody asked for what they may not; other refusals are no matter of rights."""
        if error.code in self._folds:
            self._denied(error.code, str(error), where, {} if name is None else {"principal": name})

    def _denied(self, kind: str, reason: str, path: str, who: dict[str, str | None]) -> None:
        self.counters[kind] += 1
        fold, now = self._folds[kind], self._clock.now()
        if now < fold.next:
            fold.left_out += 1
            return
        fold.next = now + EVERY_S
        payload = {
            "kind": kind,
            "reason": redacted(reason)[:500],
            "path": redacted(path)[:200],
            "also": fold.left_out,
            **who,
        }
        fold.left_out = 0
        self._publish(DENIED, payload, type="denied")

    # --- deeds ------------------------------------------------------------------------------

    def token(self, what: str, info: TokenInfo, by: Principal | None) -> None:
        """A token was ``issued``, ``replaced`` or ``revoked``, or has ``expired``."""
        payload = {
            "token": info.name,
            "id": info.id,
            "pub": info.pub,
            "sub": info.sub,
            "deny": info.deny,
            "roles": info.roles,
            "expires": None if info.expires is None else info.expires.isoformat(),
            "by": None if by is None else by.name,
        }
        self._publish(f"{AUDIT}.token.{what}", payload, type=f"token_{what}", key=info.name)

    def did(self, what: str, payload: dict[str, Any], by: Principal) -> None:
        """*by* did something that only some may, such as ``worker.started``."""
        kind = what.replace(".", "_")
        self._publish(f"{AUDIT}.{what}", {**payload, "by": by.name}, type=kind)

    def _publish(self, topic: str, payload: dict[str, Any], **more: Any) -> None:
        try:
            self._bus.publish_event(topic, payload, **more).add_done_callback(_look)
        except BusError as error:
            logger.warning("%s could not be written down: %s", topic, error)


def _look(done: asyncio.Future[Published]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        logger.warning("an audit event could not be written down: %s", error)
