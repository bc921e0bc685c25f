"""The log in memory: for tests, and for runs that keep nothing."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import msgspec

from antiphon.bus.store import (
    Epoch,
    GivenIdTaken,
    Opened,
    Query,
    Row,
    Stored,
    StoreReader,
    StoreUnavailable,
    TopicState,
)
from antiphon.ids import new_epoch


class _Labels(msgspec.Struct, frozen=True):
    """The parts of an event that a query can ask for."""

    type: str = ""
    source: str = ""
    correlation_id: str | None = None


class _Kept(NamedTuple):
    """One event and when it was recorded."""

    stored: Stored
    recorded_us: int
    given: str | None


_labels = msgspec.json.Decoder(_Labels).decode


class MemoryEventStore:
    """Keeps events in lists, as long as the object lives; ``close`` and ``open`` lose nothing.

    It has no bound: whoever uses it for long must trim.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seqs: list[int] = []
        self._kept: list[_Kept] = []
        self._given: dict[tuple[str, str], Stored] = {}
        self._topics: dict[str, TopicState] = {}
        self._epochs: list[Epoch] = []
        self._subs: dict[str, bytes] = {}
        self._head = 0
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
        with self._lock:
            reach = self._kept[: bisect_right(self._seqs, upto)]
            gone = [kept for kept in reach if kept.stored.topic == topic][:limit]
            if gone:
                self._remove(topic, gone)
            return len(gone)

    def save_subs(self, changed: Mapping[str, bytes | None]) -> None:
        """Keep these JSON texts by name; None removes."""
        with self._lock:
            if not self._open:
                raise StoreUnavailable("the log is closed")
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

    def _check(self, rows: Sequence[Row]) -> None:
        if not self._open:
            raise StoreUnavailable("the log is closed")
        if rows and rows[0].seq <= self._head:
            raise ValueError(f"seq {rows[0].seq} does not come after the head {self._head}")
        keys = [(row.topic, row.given) for row in rows if row.given is not None]
        if len(set(keys)) < len(keys) or not self._given.keys().isdisjoint(keys):
            raise GivenIdTaken(f"an id of {len(keys)} given ones is stored already")

    def _keep(self, row: Row, recorded_us: int) -> None:
        stored = Stored(row.seq, row.topic, row.data)
        self._seqs.append(row.seq)
        self._kept.append(_Kept(stored, recorded_us, row.given))
        if row.given is not None:
            self._given[row.topic, row.given] = stored
        state = self._topics.setdefault(row.topic, TopicState())
        state.count += 1
        state.size_bytes += len(row.data)
        state.first_seq = state.first_seq or row.seq
        state.last_seq = self._head = row.seq
        self._recorded_us = max(self._recorded_us, recorded_us)

    def _remove(self, topic: str, gone: list[_Kept]) -> None:
        seqs = {kept.stored.seq for kept in gone}
        self._kept = [kept for kept in self._kept if kept.stored.seq not in seqs]
        self._seqs = [kept.stored.seq for kept in self._kept]
        for kept in gone:
            if kept.given is not None:
                del self._given[topic, kept.given]
        state = self._topics[topic]
        state.count -= len(gone)
        state.size_bytes -= sum(len(kept.stored.data) for kept in gone)
        state.trimmed_upto = max(seqs)
        left = (kept.stored.seq for kept in self._kept if kept.stored.topic == topic)
        state.first_seq = next(left, 0)

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

    def page(self, after: int, limit: int) -> list[Stored]:
        return [kept.stored for kept in self._store.slice(after, None)[:limit]]

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

    def close(self) -> None:
        """Nothing to let go of."""


def _asked_for(query: Query, kept: _Kept) -> bool:
    if query.topics is not None and kept.stored.topic not in query.topics:
        return False
    if query.since_us is not None and kept.recorded_us < query.since_us:
        return False
    if query.until_us is not None and kept.recorded_us > query.until_us:
        return False
    if query.type is query.source is query.correlation_id is None:
        return True
    labels = _labels(kept.stored.data)
    return all(
        asked is None or asked == found
        for asked, found in (
            (query.type, labels.type),
            (query.source, labels.source),
            (query.correlation_id, labels.correlation_id),
        )
    )
