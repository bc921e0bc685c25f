"""Taking events out of a running log: step by step in the writer's thread, counted in the loop.

Who decides what is to go is elsewhere: ``janitor.py`` by policies, ``forgetting.py`` by
name. Here each step is carried out between two batches, and what it removed is
written down: counts, marks for gaps, pages, and, for what is forgotten, the ring.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from antiphon.bus.batch import Audience
from antiphon.bus.store import Removed, TopicState

if TYPE_CHECKING:
    from antiphon.bus.log import Log

T = TypeVar("T")
Why: TypeAlias = Literal["age", "count", "bytes", "compacted", "forgotten", "trimmed"]

STEP_EVENTS = 1000
"""Most events that one step removes, so that publishing is never held up."""


class Removals:
    """What was taken out of one log. One step at a time, whoever asks.

    A step that has begun is carried out and counted even if its asker is gone.

    Attributes:
        clock: Grows with each trim, so that a subscription knows whether it has to look.
        counters: Events removed, by reason; ``topics`` that were dropped.
        size_bytes: Of all events removed.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self.clock = 0
        self.counters: dict[str, int] = {
            "age": 0,
            "count": 0,
            "bytes": 0,
            "compacted": 0,
            "forgotten": 0,
            "trimmed": 0,
            "topics": 0,
        }
        self.size_bytes = 0
        self._trims: dict[str, tuple[int, int]] = {}  # the latest last
        self._under_way: asyncio.Future[None] | None = None

    def restore(self, topics: Mapping[str, TopicState]) -> None:
        """Take over the marks of earlier trims."""
        for name, state in topics.items():
            if state.trimmed_upto:
                self.clock = 1
                self._trims[name] = (state.trimmed_upto, 1)

    # --- steps --------------------------------------------------------------------------

    async def sweep(self, why: Why, plan: Callable[[], Sweep | None]) -> dict[str, Removed]:
        """Remove the oldest events, by what *plan* chooses once no other step is under way.

        Raises:
            StoreUnavailable, StoreCorrupt, StorageUnavailable: The disk, or the end of the log.
        """

        def begin() -> Callable[[], dict[str, Removed]] | None:
            chosen = plan()
            if chosen is None:
                return None
            uptos, limit, size_bytes = chosen
            return lambda: self._log.store.sweep(uptos, limit, size_bytes)

        return await self._step(begin, lambda removed: self._trimmed(why, removed)) or {}

    async def compact(self, topic: str) -> Removed:
        """Make one step of compaction."""
        store = self._log.store

        def done(removed: Removed) -> None:
            self._count(topic, removed, "compacted")
            self._log.topics[topic].compacted_upto = removed.compacted_upto or 0
            if removed.events:
                self._log.pages.clear(upto=removed.upto)

        step = await self._step(lambda: lambda: store.compact(topic, STEP_EVENTS), done)
        assert step is not None
        return step

    async def drop(self, seqs: Collection[int]) -> int:
        """Forget these events: log, index, ring, pages, and what subscriptions have in hand."""
        store = self._log.store
        gone = frozenset(seqs)
        removed = await self._step(
            lambda: lambda: store.drop(gone), lambda removed: self._forgotten(gone, removed)
        )
        return sum(one.events for one in (removed or {}).values())

    async def scrub(self) -> bool:
        """Make one step towards leaving no bytes of what was dropped; True when it is done."""
        return bool(await self._step(lambda: self._log.store.scrub, lambda done: None))

    async def drop_topics(self, names: Collection[str]) -> None:
        """Forget topics that hold nothing and that no cursor can need any more."""

        def done(gone: list[str]) -> None:
            for name in gone:
                self._log.topics.pop(name, None)
                self._trims.pop(name, None)
            self.counters["topics"] += len(gone)

        await self._step(lambda: lambda: self._log.store.drop_topics(names), done)

    async def _step(
        self, begin: Callable[[], Callable[[], T] | None], done: Callable[[T], None]
    ) -> T | None:
        while self._under_way is not None:
            await asyncio.wait((self._under_way,))
        work = begin()
        if work is None:
            return None
        step, ended = self._log.in_writer(work, done)
        self._under_way = ended
        ended.add_done_callback(lambda _: setattr(self, "_under_way", None))
        return await step

    # --- in the loop, after each step ---------------------------------------------------

    def _trimmed(self, why: Why, removed: Mapping[str, Removed]) -> None:
        if not removed:
            return
        self.clock += 1
        for name, one in removed.items():
            self._count(name, one, why)
            state = self._log.topics[name]
            state.trimmed_upto = max(state.trimmed_upto, one.upto)
            self._trims.pop(name, None)
            self._trims[name] = (state.trimmed_upto, self.clock)
        self._log.pages.clear(upto=max(one.upto for one in removed.values()))

    def _forgotten(self, gone: frozenset[int], removed: Mapping[str, Removed]) -> None:
        for name, one in removed.items():
            self._count(name, one, "forgotten")
        self._log.ring.drop(gone)
        self._log.shelf.clear()
        self._log.pages.clear()
        for subscription in self._log.open_subscriptions:
            subscription.forget(gone)

    def _count(self, name: str, removed: Removed, why: Why) -> None:
        state = self._log.topics[name]
        state.count -= removed.events
        state.size_bytes -= removed.size_bytes
        state.first_seq = removed.first_seq
        if removed.last_seq is not None:
            state.last_seq = removed.last_seq
        self.counters[why] += removed.events
        self.size_bytes += removed.size_bytes

    # --- gaps ---------------------------------------------------------------------------

    def trimmed_since(self, audience: Audience, clock: int) -> int:
        """Highest seq trimmed of *audience*'s topics after that time of ``clock``; 0 if none."""
        found = 0
        for name, (upto, at) in reversed(self._trims.items()):
            if at <= clock:
                break
            if upto > found and audience.sees(name):
                found = upto
        return found


Sweep: TypeAlias = tuple[Mapping[str, int], int, int | None]
"""What ``EventStore.sweep`` takes."""
