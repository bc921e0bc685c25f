"""Taking events out of a running log: step by step in the writer's thread, counted in the loop.

Who decides what is to go is elsewhere: ``janitor.py`` by policies, ``forgetting.py`` by
name. Here each step is carried out between two batches, and what it removed is
written down: counts, marks for gaps, pages, and, for what is forgotten, the ring.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, TypeVar

from antiphon.bus.batch import Audience
from antiphon.bus.store import EventStore, Removed, TopicState

if TYPE_CHECKING:
    from antiphon.bus.log import Log

T = TypeVar("T")
Why: TypeAlias = Literal["age", "count", "bytes", "compacted", "forgotten", "trimmed"]

MAX_SEQ = 2**63 - 1
STEP_EVENTS = 1000
"""Most events that one step removes, so that publishing is never held up."""


class Sweep(NamedTuple):
    """What the oldest events to go are; see ``EventStore.sweep``.

    Attributes:
        limit: More than ``STEP_EVENTS`` are removed in several steps, one after the other.
    """

    why: Why
    uptos: Mapping[str, int]
    limit: int = STEP_EVENTS
    size_bytes: int | None = None


class Removals:
    """What was taken out of one log. One step at a time, whoever asks.

    A step that has begun is carried out and counted even if its asker is gone.

    Attributes:
        clock: Grows with each trim, so that a subscription knows whether it has to look.
        counters: Events removed, by reason; ``topics`` that were dropped.
        size_bytes: Of all events removed.
        edits: Grows with each removal that no policy asked for.
        gone_upto: The highest seq trimmed of a topic that was dropped since; 0 if none. Whose
            topic it was is not known any more: every reader that was not there takes it for
            its own.
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
        self.edits = 0
        self.gone_upto = 0
        self._gone_at = 0
        self._trims: dict[str, tuple[int, int]] = {}  # the latest last
        self._under_way: asyncio.Future[None] | None = None
        self._begun = False
        self._reach = MAX_SEQ

    def restore(self, topics: Mapping[str, TopicState], gone_upto: int) -> None:
        """Take over the marks of earlier trims."""
        self.gone_upto = gone_upto
        self.clock = self._gone_at = min(1, gone_upto)
        for name, state in topics.items():
            if state.trimmed_upto:
                self.clock = 1
                self._trims[name] = (state.trimmed_upto, 1)

    # --- steps --------------------------------------------------------------------------

    async def sweep(self, plan: Callable[[], Sweep | None]) -> dict[str, Removed]:
        """Remove the oldest events, by what *plan* chooses once no other step is under way.

        Raises:
            StoreUnavailable, StoreCorrupt, StorageUnavailable: The disk, or the end of the log.
        """
        chosen: list[Sweep] = []

        def begin() -> Callable[[], dict[str, Removed]] | None:
            sweep = plan()
            if sweep is None:
                return None
            chosen.append(sweep)
            self._reach = max(sweep.uptos.values(), default=0)
            return lambda: _sweep(self._log.store, sweep)

        def done(removed: dict[str, Removed]) -> None:
            self._trimmed(chosen[0].why, removed)

        return await self._step(begin, done) or {}

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
                upto, at = self._trims.pop(name, (0, 0))
                self.gone_upto = max(upto, self.gone_upto)
                self._gone_at = max(at, self._gone_at)
            self.counters["topics"] += len(gone)

        await self._step(lambda: lambda: self._log.store.drop_topics(names), done)

    async def _step(
        self, begin: Callable[[], Callable[[], T] | None], done: Callable[[T], None]
    ) -> T | None:
        while self._under_way is not None:
            await asyncio.wait((self._under_way,))
        self._reach = MAX_SEQ
        work = begin()
        if work is None:
            return None

        def run() -> T:
            self._begun = True
            return work()

        self._begun = False
        step, ended = self._log.step(run, done)
        self._under_way = ended
        ended.add_done_callback(lambda _: setattr(self, "_under_way", None))
        return await step

    # --- in the loop, after each step ---------------------------------------------------

    def _trimmed(self, why: Why, removed: Mapping[str, Removed]) -> None:
        if not removed:
            return
        self.clock += 1
        self.edits += why == "trimmed"
        for name, one in removed.items():
            self._count(name, one, why)
            state = self._log.topics[name]
            state.trimmed_upto = max(state.trimmed_upto, one.upto)
            self._trims.pop(name, None)
            self._trims[name] = (state.trimmed_upto, self.clock)
        self._log.pages.clear(upto=max(one.upto for one in removed.values()))

    def _forgotten(self, gone: frozenset[int], removed: Mapping[str, Removed]) -> None:
        self.edits += 1
        for name, one in removed.items():
            self._count(name, one, "forgotten")
        self._log.ring.drop(gone)
        self._log.shelf.clear()
        self._log.pages.clear()
        for subscription in self._log.open_subscriptions:
            subscription.forget(gone)
        self._log.durables.forget(gone)

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

    def unnoted(self, after: int) -> asyncio.Future[None] | None:
        """What resolves when a step is written down that may have removed events after *after*.

        A read that came back before that may lack events of which nobody knows yet that
        they are gone. None if there is no such step; one that waits for the disk is none.
        """
        return self._under_way if self._begun and after < self._reach else None

    def trimmed_since(self, audience: Audience, clock: int) -> int:
        """Highest seq trimmed of *audience*'s topics after that time of ``clock``; 0 if none."""
        found = self.gone_upto if self._gone_at > clock else 0
        for name, (upto, at) in reversed(self._trims.items()):
            if at <= clock:
                break
            if upto > found and audience.sees(name):
                found = upto
        return found


def _sweep(store: EventStore, sweep: Sweep) -> dict[str, Removed]:
    """In the writer's thread: steps of ``STEP_EVENTS``, each a transaction of its own."""
    total: dict[str, Removed] = {}
    left, size = sweep.limit, sweep.size_bytes
    while left > 0 and (size is None or size > 0):
        step = min(left, STEP_EVENTS)
        removed = store.sweep(sweep.uptos, step, size)
        for name, one in removed.items():
            total[name] = _plus(total[name], one) if name in total else one
        gone = sum(one.events for one in removed.values())
        if gone < step:
            break
        left -= gone
        size = None if size is None else size - sum(one.size_bytes for one in removed.values())
    return total


def _plus(first: Removed, then: Removed) -> Removed:
    return then._replace(
        events=first.events + then.events, size_bytes=first.size_bytes + then.size_bytes
    )
