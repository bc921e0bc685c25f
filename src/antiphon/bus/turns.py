"""Passes over all topics, of which there may be a million, while others have turns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

TURN_TOPICS = 500


async def in_turns(topics: Iterable[str]) -> AsyncIterator[list[str]]:
    """All that *topics* has now, 500 at a time; some may be gone when it is their turn."""
    names = list(topics)
    for begin in range(0, len(names), TURN_TOPICS):
        if begin:
            await asyncio.sleep(0)
        yield names[begin : begin + TURN_TOPICS]
