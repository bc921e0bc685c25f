"""One event between ``publish`` and its place in the log."""

from __future__ import annotations

import asyncio

import msgspec

from antiphon.messages import Published


class Pending(msgspec.Struct, eq=False, gc=False):
    """An accepted event that waits for the writer.

    Attributes:
        body: Its wire JSON without ``seq`` and ``recorded``, from the first field's quote on.
        given: The key of idempotency, ``principal``, U+001F, ``id``; None if the
            server made the id.
        timed: The publisher gave ``time``, so it counts as content.
        correlated: The same of ``correlation_id``, which else is that of the trace.
        expect: The seq that the topic's last event must have; None: any.
        future: Resolved when the batch is announced; None if nobody waits (level ``none``).
        seq: 0 until the writer gives one.
    """

    topic: str
    id: str
    body: bytes
    given: str | None
    timed: bool
    correlated: bool
    future: asyncio.Future[Published] | None
    expect: int | None = None
    seq: int = 0
