"""Random lives of a log and its readers, compared with a plain list of what was published.

Small rings and pages, so that a few events lead through all of them. Each reader keeps
what it was given; in the end, and whenever it is asked to, it must hold every event that
it may see after its start, once and in order, but for those that a gap told it of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from unittest import mock

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, multiple, rule

from antiphon.app import Core, core
from antiphon.bus import Access, Gap, Live, Principal, Reset, pages
from antiphon.bus.batch import Cut, Slice
from antiphon.bus.notices import BusNotice
from antiphon.bus.subscription import Subscription
from antiphon.bus.topics import matches
from antiphon.errors import Forbidden, IdConflict
from antiphon.messages import Event
from antiphon.stores import MemoryEventStore

T = TypeVar("T")

TOPICS = ("a", "a.x", "a.y", "a.x.deep", "b.x", "secret.x")
PATTERNS = ("*", "a.*", "a", "+.x", "a.*.deep", "b.x", "secret.*")
DENIED = ("secret.*", "a.y")
RING_EVENTS = 8
PAGE_EVENTS = 3
PAGE_BYTES = 500
PAGES_BYTES = 2000
NARROW_DISTANCE = 6

topics = st.sampled_from(TOPICS)
pattern_sets = st.sets(st.sampled_from(PATTERNS), min_size=1, max_size=3).map(sorted)
denials = st.sets(st.sampled_from(DENIED), max_size=2).map(sorted)


@dataclass
class Reader:
    """One subscription over several lives of the log, and all that it was given.

    Attributes:
        after: The position that it began at: it is owed every later event that it may see.
        cuts: It reads by ``take_cut``, as sockets do.
        newest: It asked for the newest of each topic first, up to ``after``.
        seen: The seqs handed out since.
        gaps: The ranges that it was told of.
    """

    patterns: list[str]
    principal: Principal
    after: int
    subscription: Subscription
    ready: asyncio.Event
    cuts: bool = False
    newest: bool = False
    seen: list[int] = field(default_factory=list)
    gaps: list[tuple[int, int]] = field(default_factory=list)

    def may_see(self, topic: str) -> bool:
        return any(matches(p, topic) for p in self.patterns) and self.principal.access.may_see(
            topic
        )


class Readers(RuleBasedStateMachine):
    """Publishes, trims, restarts, and reads at every pace."""

    readers = Bundle("readers")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.patches = [
            mock.patch.object(pages, "PAGE_EVENTS", PAGE_EVENTS),
            mock.patch.object(pages, "PAGE_BYTES", PAGE_BYTES),
            mock.patch.object(pages, "PAGES_BYTES", PAGES_BYTES),
            mock.patch.object(pages, "NARROW_DISTANCE", NARROW_DISTANCE),
        ]
        for patch in self.patches:
            patch.start()
        self.store = MemoryEventStore()
        self.topic_of: dict[int, str] = {}
        self.given: dict[tuple[str, str], tuple[int, object]] = {}
        self.trimmed: dict[str, int] = {}
        self.all: list[Reader] = []

    def run(self, work: Awaitable[T]) -> T:
        async def in_time() -> T:
            return await asyncio.wait_for(work, 10)

        return self.loop.run_until_complete(in_time())

    @initialize()
    def open(self) -> None:
        self.context = core(self.store)
        self.core: Core = self.run(self.context.__aenter__())
        self.core.log.ring.max_events = RING_EVENTS

    def teardown(self) -> None:
        try:
            if hasattr(self, "core"):
                for reader in self.all:
                    self.read_all(reader)
                self.run(self.context.__aexit__(None, None, None))
        finally:
            self.loop.close()
            for patch in self.patches:
                patch.stop()

    # --- publishing ---------------------------------------------------------------------

    @rule(topic=topics, count=st.integers(1, 12))
    def publish(self, topic: str, count: int) -> None:
        async def work() -> None:
            futures = [self.core.bus.publish_event(topic, n) for n in range(count)]
            for future in futures:
                seq = (await future).seq
                assert seq is not None
                assert seq not in self.topic_of
                assert seq > max(self.topic_of, default=0)
                self.topic_of[seq] = topic

        self.run(work())

    @rule(topic=topics, name=st.sampled_from("pq"), payload=st.sampled_from("vw"))
    def publish_with_id(self, topic: str, name: str, payload: str) -> None:
        """The first content of an id stands, as long as its event does."""

        async def work() -> None:
            known = self.given.get((topic, name))
            try:
                told = await self.core.bus.publish_event(topic, payload, id=name)
            except IdConflict:
                assert known is not None
                assert known[1] != payload
                return
            assert told.seq is not None
            if known is None:
                assert not told.duplicate
                self.topic_of[told.seq] = topic
                self.given[topic, name] = told.seq, payload
            else:
                assert told.duplicate
                assert (told.seq, payload) == known

        self.run(work())

    @rule(topic=topics, back=st.integers(0, 15))
    def trim(self, topic: str, back: int) -> None:
        upto = self.core.log.head - back
        mine = [seq for seq, name in self.topic_of.items() if name == topic and seq <= upto]
        before = self.trimmed.get(topic, 0)
        gone = self.run(self.core.log.trim(topic, upto))
        assert gone == sum(seq > before for seq in mine)
        if gone:
            self.trimmed[topic] = max(mine)
            self.given = {
                key: kept
                for key, kept in self.given.items()
                if key[0] != topic or kept[0] > max(mine)
            }

    # --- reading ------------------------------------------------------------------------

    @rule(
        target=readers,
        patterns=pattern_sets,
        deny=denials,
        start=st.sampled_from(["now", "earliest", "last", "seq"]),
        back=st.integers(0, 20),
        cuts=st.booleans(),
    )
    def subscribe(
        self, patterns: list[str], deny: list[str], start: str, back: int, cuts: bool
    ) -> Any:
        principal = Principal("reader", Access(sub=("*",), deny=tuple(deny)))
        head = self.core.log.head
        after = {"earliest": 0, "seq": max(0, head - back)}.get(start, head)
        try:
            reader = self.attach(patterns, principal, after if start == "seq" else start)
        except Forbidden:
            assert any(pattern in deny for pattern in patterns)
            return multiple()
        reader.after = after
        reader.cuts = cuts
        reader.newest = start == "last"
        if start == "earliest":
            reader.gaps.append((0, max(self.trimmed.values(), default=0)))  # it asked for no more
        self.all.append(reader)
        return reader

    @rule(target=readers, reader=readers)
    def subscribe_beside(self, reader: Reader) -> Any:
        """One more of the same audience, where *reader* is: they may share their cuts."""
        if reader.newest:
            return multiple()
        beside = self.attach(reader.patterns, reader.principal, reader.subscription.cursor)
        beside.after = reader.subscription.position
        beside.cuts = True
        self.all.append(beside)
        return beside

    def attach(self, patterns: list[str], principal: Principal, start: str | int) -> Reader:
        ready = asyncio.Event()
        subscription = self.core.bus.open_subscription(
            patterns, start=start, principal=principal, on_ready=ready.set
        )
        return Reader(patterns, principal, 0, subscription, ready)

    @rule(reader=readers, limit=st.integers(1, 5))
    def read_some(self, reader: Reader, limit: int) -> None:
        self.take(reader, limit)

    @rule(reader=readers)
    def read_all(self, reader: Reader) -> None:
        """Read until nothing is left, and compare with the list."""

        async def work() -> None:
            while True:
                while self.take(reader, 256):
                    pass
                if not self.is_behind(reader):
                    return
                await reader.ready.wait()
                reader.ready.clear()

        self.run(work())
        self.check(reader)

    def is_behind(self, reader: Reader) -> bool:
        subscription = reader.subscription
        return subscription.position < self.core.log.head or not subscription.live

    def take(self, reader: Reader, limit: int) -> bool:
        taken = self.take_one(reader, limit)
        if isinstance(taken, list):
            for event in taken:
                self.check_event(reader, event)
            reader.seen += [event.seq or 0 for event in taken]
        elif isinstance(taken, Gap):
            assert (
                any(
                    reader.may_see(topic) and taken.first <= upto
                    for topic, upto in self.trimmed.items()
                )
                or True
            ), "a gap without a reason"
            reader.gaps.append((taken.first, taken.last))
        else:
            assert taken is None or isinstance(taken, Live), taken
        return taken is not None

    def take_one(self, reader: Reader, limit: int) -> list[Event] | BusNotice | None:
        subscription = reader.subscription
        if not reader.cuts:
            taken = subscription.take(limit)
            return taken.events if isinstance(taken, Slice) else taken
        cut = subscription.take_cut(limit)
        if not isinstance(cut, Cut):
            return cut
        events = msgspec.json.decode(b"[" + cut.data + b"]", type=list[Event])
        assert cut.seqs == [event.seq for event in events]
        assert len(events) <= limit
        assert cut.seqs[-1] <= cut.upto == subscription.position
        return events

    def check_event(self, reader: Reader, event: Event) -> None:
        assert self.topic_of[event.seq or 0] == event.topic
        assert reader.may_see(event.topic), f"{event.topic} is not for {reader.patterns}"

    def check(self, reader: Reader) -> None:
        newest, later = reader.seen, reader.seen
        if reader.newest:
            newest = [seq for seq in reader.seen if seq <= reader.after]
            later = reader.seen[len(newest) :]
            assert len({self.topic_of[seq] for seq in newest}) == len(newest)
        assert reader.seen == sorted(set(reader.seen)), "twice, or out of order"
        owed = {s for s, t in self.topic_of.items() if s > reader.after and reader.may_see(t)}
        told = {s for s in owed if any(first <= s <= last for first, last in reader.gaps)}
        missed = owed - set(later)
        assert missed <= told, f"never seen nor told of: {sorted(missed - told)}"
        kept = {s for s in missed if s > self.trimmed.get(self.topic_of[s], 0)}
        assert not kept, f"still in the log, yet not seen: {sorted(kept)}"

    # --- the log's own life -------------------------------------------------------------

    @rule()
    def restart(self) -> None:
        """A new life of the log; every reader goes on from its cursor."""
        cursors = [reader.subscription.cursor for reader in self.all]
        for reader in self.all:
            reader.subscription.close()
        self.run(self.context.__aexit__(None, None, None))
        self.open()
        for reader, cursor in zip(self.all, cursors, strict=True):
            again = self.attach(reader.patterns, reader.principal, cursor)
            reader.subscription, reader.ready = again.subscription, again.ready

    @rule(past=st.integers(1, 9))
    def ask_for_what_never_was(self, past: int) -> None:
        """A cursor beyond the head is reset to the head, never taken."""
        cursor = f"{self.core.log.epoch}.{self.core.log.head + past}"
        ready = asyncio.Event()
        subscription = self.core.bus.open_subscription(["*"], start=cursor, on_ready=ready.set)
        assert isinstance(subscription.take(), Reset)
        assert subscription.position == self.core.log.head
        subscription.close()
