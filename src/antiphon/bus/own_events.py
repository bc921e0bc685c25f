"""Events that the bus writes itself, under reserved topics.

They go into the log's intake like any others, as the principal ``system``; what the
checks of ``Bus.publish_event`` are there for can't be wrong with them.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from antiphon.bus.access import SYSTEM
from antiphon.bus.claims import Claim
from antiphon.bus.intake import Pending
from antiphon.ids import new_id
from antiphon.messages import Event, EventType

if TYPE_CHECKING:
    from antiphon.messages import Published

DLQ = "_sys.dlq"

_encode = msgspec.json.Encoder().encode


class Parked(msgspec.Struct, frozen=True, kw_only=True):
    """The payload of an event under ``_sys.dlq.NAME``: an event that could not be handled.

    Attributes:
        durable: The subscription whose holders failed.
        event: The event, as it was.
        reason: Why it failed last.
    """

    durable: str
    event: msgspec.Raw
    tries: int
    reason: str


def parked(name: str, claim: Claim, future: asyncio.Future[Published]) -> Pending:
    """The dead letter of *claim*; written twice, the second is a duplicate of the first.

    It may be larger than what others may publish, by what stands around the event.
    """
    letter = Parked(
        durable=name, event=msgspec.Raw(claim.data), tries=claim.tries, reason=claim.reason
    )
    return _pending(
        Event(
            id=f"{name[:40]}-{claim.seq}",
            topic=f"{DLQ}.{name}",
            type=EventType.custom("parked"),
            source=f"/durables/{name}",
            principal=SYSTEM.name,
            time=datetime.now(UTC),
            payload=letter,
            correlation_id=claim.event.correlation_id,
            causation_id=claim.event.id,
            key=claim.event.key,
        ),
        given=True,
        future=future,
    )


def news(topic: str, payload: object) -> Pending:
    """An event that nobody waits for."""
    return _pending(
        Event(
            id=new_id(),
            topic=topic,
            type=EventType.custom("news"),
            source=SYSTEM.source,
            principal=SYSTEM.name,
            time=datetime.now(UTC),
            payload=payload,
        ),
        given=False,
        future=None,
    )


def _pending(event: Event, *, given: bool, future: asyncio.Future[Published] | None) -> Pending:
    body = _encode(event)
    key = f"{event.principal}\x1f{event.id}" if given else None
    return Pending(event.topic, event.id, body[1:], key, False, True, future)
