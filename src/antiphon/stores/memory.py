"""The log in memory: for tests, and for runs that keep nothing."""

from __future__ import annotations

import heapq
import threading
from bisect import bisect_left, bisect_right
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import msgspec

from antiphon.bus.store import (
    Epoch,
    GivenIdTaken,
    Opened,
    Query,
    Removed,
    Row,
    Stored,
    StoreReader,
    StoreUnavailable,
    TopicState,
)
from antiphon.ids import new_epoch


class _Labels(msgspec.Struct, frozen=True):
    """The parts of an event that a query or compaction can ask for."""

    id: str = ""
    key: str | None = None
    type: str = ""
    source: str = ""
    correlation_id: str | None = None


class _Kept(NamedTuple):
    """One event and when it was recorded."""

    stored: Stored
    recorded_us: int
    given: str | None


DAY_US = 86_400_000_000

_labels = msgspec.json.Decoder(_Labels).decode


class MemoryEventStore:
    """Keeps events in lists, as long as the object lives; ``close`` and ``open`` lose nothing.

    It has no bound: whoever uses it for long must trim.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seqs: list[int] = []
        self._kept: list[_Kept] = []
        self._seqs_of: defaultdict[str, deque[int]] = defaultdict(deque)
        self._newest: dict[tuple[str, str], int] = {}
        self._days: dict[int, tuple[int, int]] = {}
        self._given: dict[tuple[str, str], Stored] = {}
        self._topics: dict[str, TopicState] = {}
        self._epochs: list[Epoch] = []
        self._subs: dict[str, bytes] = {}
        self._head = 0
        self._gone_upto = 0
        self._recorded_us = 0
        self._open = False
        self._clean = True

    def open(self) -> Opened:
        """Begin a new epoch."""
        with self._lock:
            self._open = True
            clean, self._clean = self._clean, False
            self._epochs.append(Epoch(new_epoch(), self._head + 1))
            return Opened(
                head=self._head,
                epochs=list(self._epochs),
                topics={name: replace(state) for name, state in self._topics.items()},
                clean=clean,
                recorded_us=self._recorded_us,
                subs=dict(self._subs),
                gone_upto=self._gone_upto,
            )

    def append(self, rows: Sequence[Row], recorded_us: int) -> None:
        """Store *rows*, all or none."""
        with self._lock:
            self._check(rows)
            for row in rows:
                self._keep(row, recorded_us)

    def find_given(self, keys: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], Stored]:
        """The stored events of these (topic, given) keys."""
        with self._lock:
            return {key: self._given[key] for key in keys if key in self._given}

    def last_seqs(self, topics: Iterable[str]) -> Mapping[str, int]:
        """The last seq of each of *topics* that is known."""
        with self._lock:
            known = [name for name in topics if name in self._topics]
            return {name: self._topics[name].last_seq for name in known}

    def head(self) -> int:
        """The last seq."""
        return self._head

    def reopen(self) -> None:
        """Use it again after a failure."""
        self._open = True

    def tend(self, *, idle: bool) -> None:
        """Nothing is deferred here."""

    def trim(self, topic: str, upto: int, limit: int = 1000) -> int:
        """Remove at most *limit* of *topic*'s oldest events with seq <= *upto*; how many went."""
        return sum(removed.events for removed in self.sweep({topic: upto}, limit).values())

    def sweep(
        self, uptos: Mapping[str, int], limit: int = 1000, size_bytes: int | None = None
    ) -> dict[str, Removed]:
        """Remove the oldest events of these topics together, each topic's up to its seq."""
        with self._lock:
            self._check_open()
            gone: list[_Kept] = []
            size = 0
            for seq in heapq.merge(*(self._oldest(name, upto) for name, upto in uptos.items())):
                if len(gone) >= limit or (size_bytes is not None and size >= size_bytes):
                    break
                gone.append(self._at(seq))
                size += len(gone[-1].stored.data)
            removed = self._remove(gone)
            for name, one in removed.items():
                self._topics[name].trimmed_upto = max(self._topics[name].trimmed_upto, one.upto)
            return {name: one._replace(last_seq=None) for name, one in removed.items()}

    def compact(self, topic: str, limit: int = 1000) -> Removed:
        """Look at *topic*'s next *limit* events; of each ``key`` only the newest so far stays."""
        with self._lock:
            self._check_open()
            state = self._topics.get(topic, TopicState())
            ahead = [seq for seq in self._seqs_of[topic] if seq > state.compacted_upto][:limit]
            gone: list[_Kept] = []
            for seq in ahead:
                key = _labels(self._at(seq).stored.data).key
                if key is not None:
                    before = self._newest.get((topic, key))
                    if before is not None and (found := self._find(before)) is not None:
                        gone.append(found)
                    self._newest[topic, key] = seq
            if ahead:
                state.compacted_upto = ahead[-1]
            removed = self._remove(gone).get(topic, Removed(0, 0, 0, state.first_seq))
            return removed._replace(last_seq=None, compacted_upto=state.compacted_upto)

    def drop(self, seqs: Iterable[int]) -> dict[str, Removed]:
        """Remove these events for good."""
        with self._lock:
            self._check_open()
            found = [self._find(seq) for seq in sorted(set(seqs))]
            return self._remove([kept for kept in found if kept is not None])

    def scrub(self) -> bool:
        """There are no files."""
        return True

    def drop_topics(self, topics: Iterable[str]) -> list[str]:
        """Forget those of *topics* that hold no event."""
        with self._lock:
            self._check_open()
            gone = [
                name for name in topics if name in self._topics and not self._topics[name].count
            ]
            for name in gone:
                self._gone_upto = max(self._gone_upto, self._topics.pop(name).trimmed_upto)
                self._seqs_of.pop(name, None)
            return gone

    def save_subs(self, changed: Mapping[str, bytes | None]) -> None:
        """Keep these JSON texts by name; None removes."""
        with self._lock:
            self._check_open()
            for name, data in changed.items():
                if data is None:
                    self._subs.pop(name, None)
                else:
                    self._subs[name] = data

    def size_bytes(self) -> int:
        """The events' own bytes."""
        with self._lock:
            return sum(state.size_bytes for state in self._topics.values())

    def reader(self) -> StoreReader:
        """A reader of the same lists."""
        return _MemoryReader(self)

    def close(self) -> None:
        """Mark the log clean. Idempotent."""
        self._open = False
        self._clean = True

    # --- inside -------------------------------------------------------------------------

    def _check_open(self) -> None:
        if not self._open:
            raise StoreUnavailable("the log is closed")

    def _check(self, rows: Sequence[Row]) -> None:
        self._check_open()
        if rows and rows[0].seq <= self._head:
            raise ValueError(f"seq {rows[0].seq} does not come after the head {self._head}")
        keys = [(row.topic, row.given) for row in rows if row.given is not None]
        if len(set(keys)) < len(keys) or not self._given.keys().isdisjoint(keys):
            raise GivenIdTaken(f"an id of {len(keys)} given ones is stored already")

    def _keep(self, row: Row, recorded_us: int) -> None:
        stored = Stored(row.seq, row.topic, row.data)
        self._seqs.append(row.seq)
        self._kept.append(_Kept(stored, recorded_us, row.given))
        self._seqs_of[row.topic].append(row.seq)
        self._days[recorded_us // DAY_US] = (recorded_us, row.seq)
        if row.given is not None:
            self._given[row.topic, row.given] = stored
        state = self._topics.setdefault(row.topic, TopicState())
        state.count += 1
        state.size_bytes += len(row.data)
        state.first_seq = state.first_seq or row.seq
        state.last_seq = self._head = row.seq
        self._recorded_us = max(self._recorded_us, recorded_us)

    def _oldest(self, topic: str, upto: int) -> Iterable[int]:
        for seq in self._seqs_of[topic]:
            if seq > upto:
                return
            yield seq

    def _at(self, seq: int) -> _Kept:
        return self._kept[bisect_left(self._seqs, seq)]

    def _find(self, seq: int) -> _Kept | None:
        at = bisect_left(self._seqs, seq)
        return self._kept[at] if at < len(self._seqs) and self._seqs[at] == seq else None

    def _remove(self, gone: list[_Kept]) -> dict[str, Removed]:
        """Take these events out, wherever they stand."""
        if not gone:
            return {}
        seqs = {kept.stored.seq for kept in gone}
        low, high = bisect_left(self._seqs, min(seqs)), bisect_right(self._seqs, max(seqs))
        self._kept[low:high] = [k for k in self._kept[low:high] if k.stored.seq not in seqs]
        self._seqs[low:high] = [seq for seq in self._seqs[low:high] if seq not in seqs]
        by_topic: defaultdict[str, list[_Kept]] = defaultdict(list)
        for kept in gone:
            by_topic[kept.stored.topic].append(kept)
            self._forget_ids(kept)
        return {topic: self._count_out(topic, mine, seqs) for topic, mine in by_topic.items()}

    def _forget_ids(self, kept: _Kept) -> None:
        seq, topic, data = kept.stored
        if kept.given is not None:
            del self._given[topic, kept.given]
        if self._topics[topic].compacted_upto:
            key = _labels(data).key
            if key is not None and self._newest.get((topic, key)) == seq:
                del self._newest[topic, key]

    def _count_out(self, topic: str, gone: list[_Kept], seqs: set[int]) -> Removed:
        state = self._topics[topic]
        left = self._seqs_of[topic] = deque(s for s in self._seqs_of[topic] if s not in seqs)
        size = sum(len(kept.stored.data) for kept in gone)
        state.count -= len(gone)
        state.size_bytes -= size
        state.first_seq = left[0] if left else 0
        state.last_seq = left[-1] if left else state.last_seq
        upto = max(kept.stored.seq for kept in gone)
        return Removed(len(gone), size, upto, state.first_seq, state.last_seq)

    def seq_at(self, recorded_us: int) -> int:
        """The highest seq recorded then or before."""
        with self._lock:
            at = bisect_right(self._kept, recorded_us, key=lambda kept: kept.recorded_us)
            days = [seq for ts, seq in self._days.values() if ts <= recorded_us]
            return max(days, default=0) if at == 0 else max(*days, self._seqs[at - 1], 0)

    def slice(self, after: int, before: int | None) -> list[_Kept]:
        """What lies between two seqs, both exclusive; a copy, for readers."""
        with self._lock:
            start = bisect_right(self._seqs, after)
            stop = len(self._seqs) if before is None else bisect_left(self._seqs, before)
            return self._kept[start:stop]


class _MemoryReader:
    """Reads a ``MemoryEventStore`` from another thread."""

    def __init__(self, store: MemoryEventStore) -> None:
        self._store = store

    def page(self, after: int, limit: int, size_bytes: int | None = None) -> list[Stored]:
        found: list[Stored] = []
        size = 0
        for kept in self._store.slice(after, None)[:limit]:
            if size_bytes is not None and size >= size_bytes:
                break
            found.append(kept.stored)
            size += len(kept.stored.data)
        return found

    def select(self, query: Query) -> list[Stored]:
        found: list[Stored] = []
        kept = self._store.slice(query.after, query.before)
        for one in reversed(kept) if query.descending else kept:
            if len(found) >= query.limit:
                break
            if _asked_for(query, one):
                found.append(one.stored)
        return found

    def get(self, seqs: Iterable[int]) -> list[Stored]:
        wanted = set(seqs)
        return [kept.stored for kept in self._store.slice(0, None) if kept.stored.seq in wanted]

    def seq_at(self, recorded_us: int) -> int:
        return self._store.seq_at(recorded_us)

    def close(self) -> None:
        """Nothing to let go of."""


def _asked_for(query: Query, kept: _Kept) -> bool:
    if query.topics is not None and kept.stored.topic not in query.topics:
        return False
    if query.since_us is not None and kept.recorded_us < query.since_us:
        return False
    if query.until_us is not None and kept.recorded_us > query.until_us:
        return False
    if query.id is query.type is query.source is query.correlation_id is None:
        return True
    labels = _labels(kept.stored.data)
    return all(
        asked is None or asked == found
        for asked, found in (
            (query.id, labels.id),
            (query.type, labels.type),
            (query.source, labels.source),
            (query.correlation_id, labels.correlation_id),
        )
    )
