"""One event between ``publish`` and its place in the log."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from antiphon.messages import Event, Published


@dataclass(slots=True, eq=False)
class Pending:
    """An accepted event that waits for the writer.

    Attributes:
        event: Checked and complete but for ``seq`` and ``recorded``, which the writer sets;
            nobody else holds it until it is announced.
        body: Its wire JSON without those two, from the first field's quote on.
        given: The key of idempotency, ``principal``, U+001F, ``id``; None if the
            server made the id.
        timed: The publisher gave ``time``, so it counts as content.
        future: Resolved when the batch is announced; None if nobody waits (level ``none``).
        seq: 0 until the writer gives one.
    """

    topic: str
    event: Event
    body: bytes
    given: str | None
    timed: bool
    future: asyncio.Future[Published] | None
    size: int
    seq: int = 0
