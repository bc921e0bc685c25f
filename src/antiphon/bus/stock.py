"""What the topics of one policy hold, and which of it goes first. Pure, but for its turns."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from antiphon.bus.removals import Sweep
from antiphon.bus.retention import Cut, Policies, Policy, Total
from antiphon.bus.store import TopicState
from antiphon.bus.turns import in_turns

SPAN = 5_000
LONGEST_SPAN = 50_000
"""Most seqs that one step looks across, so that it stays short whatever lies between."""

Holds: TypeAlias = Callable[[str], int | None]
"""For a topic: up to which seq no durable subscription needs it; None if none reads it."""


class Stock:
    """The topics of one policy, found by their oldest events.

    Args:
        topics: The log's own table, which goes on changing.

    Attributes:
        names: How many topics there are.
        events, size_bytes: Of all of them; ``removed`` keeps them in step.
    """

    def __init__(self, policy: Policy, topics: Mapping[str, TopicState]) -> None:
        self.policy = policy
        self.names = 0
        self.events = 0
        self.size_bytes = 0
        self._topics = topics
        self._firsts: list[tuple[int, str]] = []
        self._held: list[tuple[int, str]] = []

    def add(self, name: str, state: TopicState) -> None:
        """Count a topic in."""
        self.names += 1
        if state.count:
            self.events += state.count
            self.size_bytes += state.size_bytes
            heapq.heappush(self._firsts, (state.first_seq, name))

    def removed(self, events: int, size_bytes: int) -> None:
        """Count out what a step removed."""
        self.events -= events
        self.size_bytes -= size_bytes

    @property
    def total(self) -> Total:
        return Total(self.events, self.size_bytes)

    @property
    def first_seq(self) -> int:
        """Of the oldest event; 0 if there is none."""
        self._release()
        return self._oldest() or 0

    @property
    def share(self) -> float:
        """How much of ``max_bytes`` or ``max_count`` is in use, whichever is nearer."""
        shares = [
            used / limit
            for used, limit in (
                (self.events, self.policy.max_count),
                (self.size_bytes, self.policy.max_bytes),
            )
            if limit
        ]
        return max(shares, default=0.0)

    @property
    def held(self) -> bool:
        """Whether the last choice left something out since a durable needs it."""
        return bool(self._held)

    def choose(self, cut: Cut, *, head: int, most: int, holds: Holds) -> Sweep | None:
        """What one step of *cut* is to sweep: the oldest events first; None if nothing may go.

        Args:
            most: Events that the step may remove.
        """
        if not cut.holding:
            self._release()
        limit = most if cut.events is None else min(most, cut.events)
        uptos: dict[str, int] = {}
        taken: list[tuple[int, str]] = []
        last = cut.upto
        while (first := self._oldest()) is not None and first <= last:
            entry = heapq.heappop(self._firsts)
            held = holds(entry[1]) if cut.holding else None
            upto = cut.upto if held is None else min(cut.upto, held)
            if first > upto:
                self._held.append(entry)
                continue
            if not uptos:
                last = min(cut.upto, first + self._span(first, head, limit))
            uptos[entry[1]] = upto
            taken.append(entry)
        for entry in taken:
            heapq.heappush(self._firsts, entry)
        if not uptos:
            return None
        within = {name: min(upto, last) for name, upto in uptos.items()}
        return Sweep(cut.reason, within, limit, cut.size_bytes)

    def _oldest(self) -> int | None:
        """The lowest first seq; entries that are no longer true are put right on the way."""
        while self._firsts:
            first, name = self._firsts[0]
            state = self._topics.get(name)
            now = state.first_seq if state is not None and state.count else 0
            if now == first:
                return first
            heapq.heappop(self._firsts)
            if now:
                heapq.heappush(self._firsts, (now, name))
        return None

    def _release(self) -> None:
        for entry in self._held:
            heapq.heappush(self._firsts, entry)
        self._held.clear()

    def _span(self, first: int, head: int, limit: int) -> int:
        """Across how many seqs twice *limit* events of the stock are likely to lie."""
        likely = 2 * limit * (head - first) // max(self.events, 1)
        return max(SPAN, min(likely, LONGEST_SPAN))


async def take_stock(policies: Policies, topics: Mapping[str, TopicState]) -> list[Stock]:
    """The stock of each policy, in the policies' order; others have turns meanwhile."""
    stocks = {policy.pattern: Stock(policy, topics) for policy in policies.all}
    async for names in in_turns(topics):
        for name in names:
            state, policy = topics.get(name), policies.of(name)
            if state is not None and policy is not None:
                stocks[policy.pattern].add(name, state)
    return list(stocks.values())


def to_compact(policies: Policies, topics: Mapping[str, TopicState]) -> Iterable[str]:
    """The topics that compaction has not looked at to their ends."""
    if not any(policy.compact_by_key for policy in policies.all):
        return
    for name, state in list(topics.items()):
        policy = policies.of(name)
        if policy is None or not policy.compact_by_key or not state.count:
            continue
        if state.compacted_upto < state.last_seq:
            yield name
