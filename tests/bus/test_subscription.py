"""One reader's place, where it could slip."""

from __future__ import annotations

import asyncio

import msgspec

from antiphon.app import Core
from antiphon.bus.batch import Slice
from antiphon.bus.store import Row

from .conftest import until


async def test_a_reader_amid_a_batch_misses_nothing_that_was_committed_unannounced(
    running: Core,
) -> None:
    """As after a crash of the store's owner between COMMIT and the announcement."""
    bus, log = running.bus, running.log
    ready = asyncio.Event()
    subscription = bus.open_subscription(["a"], on_ready=ready.set)
    while subscription.take() is not None:
        pass
    first = await bus.publish_event("a", 1)
    assert subscription.peek() is not None  # in hand, not yet read

    stored = await bus.get(first.seq or 0)
    assert stored is not None
    event = {**msgspec.json.decode(stored), "seq": 2, "id": "unannounced", "payload": 2}
    log.store.append([Row(2, "a", None, msgspec.json.encode(event))], 1)
    log.writer.head = 2

    assert (await bus.publish_event("a", 3)).seq == 3
    seen: list[object] = []

    def read() -> bool:
        taken = subscription.take()
        if isinstance(taken, Slice):
            seen.extend(event.payload for event in taken.events)
        return len(seen) >= 3

    await until(read)
    assert seen == [1, 2, 3]
    subscription.close()
