"""The port behind the log: what a store must do, and the rows it trades in.

A store is synchronous and knows nothing of asyncio, actors or subscribers.
``EventStore`` is called from one writer thread only; each ``StoreReader``
from one reader thread only, while the writer works on. The contract suite
``antiphon.testing.store_contract`` says the rest, and every store passes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import msgspec

from antiphon.errors import AntiphonError


class Row(msgspec.Struct, frozen=True, gc=False):
    """One event on its way into the store.

    Attributes:
        seq: Assigned by the writer, greater than every seq before it.
        given: ``principal``, U+001F, ``id`` where the publisher gave the id, else None.
        data: The whole event as wire JSON.
    """

    seq: int
    topic: str
    given: str | None
    data: bytes


class Stored(NamedTuple):
    """One event as read back."""

    seq: int
    topic: str
    data: bytes


@dataclass(slots=True)
class TopicState:
    """What the log knows of one topic; kept in memory by the log, rebuilt by ``open``.

    Attributes:
        trimmed_upto: Highest seq removed by trimming; 0 if none ever was.
        compacted_upto: Compaction has looked at every event up to this seq.
    """

    count: int = 0
    size_bytes: int = 0
    first_seq: int = 0
    last_seq: int = 0
    trimmed_upto: int = 0
    compacted_upto: int = 0


class Removed(NamedTuple):
    """What one step removed of one topic.

    Attributes:
        upto: The highest seq removed; 0 if none was.
        first_seq: Of what the topic still has; 0 if it has nothing.
        last_seq: Of what it still has, or as it was; None if a step can't change it.
        compacted_upto: As far as compaction came; None if the step was none.
    """

    events: int
    size_bytes: int
    upto: int
    first_seq: int
    last_seq: int | None = None
    compacted_upto: int | None = None


class Epoch(NamedTuple):
    """One incarnation of the log, and the first seq that it could assign."""

    name: str
    first_seq: int


@dataclass(slots=True)
class Opened:
    """What ``open`` found, the new epoch included.

    Attributes:
        epochs: Oldest first; the last is this incarnation's.
        clean: Whether the last owner closed it in order.
        recorded_us: ``recorded`` of the newest event, microseconds since 1970; 0 if none.
        subs: What was kept of each durable subscription, by name; see ``save_subs``.
        gone_upto: The highest seq trimmed of a topic that was dropped since; 0 if none.
    """

    head: int
    epochs: list[Epoch]
    topics: dict[str, TopicState]
    clean: bool = True
    recorded_us: int = 0
    subs: dict[str, bytes] = field(default_factory=dict)
    gone_upto: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which stored events are asked for.

    Attributes:
        topics: None for every topic; else only these, already matched and allowed.
        after, before: Exclusive bounds of seq; 0 and None mean unbounded.
        descending: Newest first.
        since_us, until_us: Inclusive bounds of ``recorded``, microseconds since 1970.
    """

    topics: frozenset[str] | None = None
    after: int = 0
    before: int | None = None
    descending: bool = False
    since_us: int | None = None
    until_us: int | None = None
    id: str | None = None
    type: str | None = None
    source: str | None = None
    correlation_id: str | None = None
    limit: int = 100


class StoreUnavailable(AntiphonError):
    """The disk refused (full, read-only, busy, I/O): nothing of the batch was stored.

    Attributes:
        unknown: The outcome of COMMIT is not known; ``head()`` tells after ``reopen``.
    """

    def __init__(self, message: str, *, unknown: bool = False) -> None:
        super().__init__(message)
        self.unknown = unknown


class StoreCorrupt(AntiphonError):
    """The file is damaged or no log: writing stops until it was looked at."""


class GivenIdTaken(AntiphonError):
    """A row's ``given`` id is already stored on its topic; nothing of the batch was stored."""


class StoreReader(Protocol):
    """Reads, beside the writer. Every method returns whole pages and holds nothing open."""

    def page(self, after: int, limit: int, size_bytes: int | None = None) -> list[Stored]:
        """The next events of all topics after seq *after*, ascending.

        It ends with the *limit*-th event, or with the one that brings it to *size_bytes*.
        """
        ...

    def select(self, query: Query) -> list[Stored]:
        """Events by *query*, at most ``query.limit``, in its order."""
        ...

    def get(self, seqs: Iterable[int]) -> list[Stored]:
        """Those of *seqs* that are stored, ascending."""
        ...

    def seq_at(self, recorded_us: int) -> int:
        """The highest seq recorded then or before, as far as known; 0 if none is.

        Of events that were trimmed one a day is remembered.
        """
        ...

    def close(self) -> None: ...


class EventStore(Protocol):
    """Keeps events in order, whole batches at a time.

    Raises:
        StoreUnavailable: By any method, when the disk refuses. The store stays usable:
            call again later.
        StoreCorrupt: By any method, when the data can't be trusted.
    """

    def open(self) -> Opened:
        """Open or create, repair what a crash left half done, begin a new epoch."""
        ...

    def append(self, rows: Sequence[Row], recorded_us: int) -> None:
        """Store *rows* in one durable transaction that also moves the head.

        Raises:
            GivenIdTaken: A given id is there already.
        """
        ...

    def find_given(self, keys: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], Stored]:
        """The stored events of these (topic, given) keys."""
        ...

    def last_seqs(self, topics: Iterable[str]) -> Mapping[str, int]:
        """The seq of the last event that each of *topics* ever had; none for unknown ones."""
        ...

    def head(self) -> int:
        """The last seq on disk, read afresh."""
        ...

    def reopen(self) -> None:
        """Close and open the connection, after a failure; no new epoch."""
        ...

    def tend(self, *, idle: bool) -> None:
        """Upkeep between batches: deferred index, time marks, checkpoints. A small step each."""
        ...

    def trim(self, topic: str, upto: int, limit: int = 1000) -> int:
        """Remove at most *limit* of *topic*'s oldest events with seq <= *upto*; how many went."""
        ...

    def sweep(
        self, uptos: Mapping[str, int], limit: int = 1000, size_bytes: int | None = None
    ) -> dict[str, Removed]:
        """Remove the oldest events of these topics together, each topic's up to its seq.

        It stops after *limit* events, or as soon as *size_bytes* are gone.
        """
        ...

    def compact(self, topic: str, limit: int = 1000) -> Removed:
        """Look at *topic*'s next *limit* events; of each ``key`` only the newest so far stays.

        What was removed is no gap: ``trimmed_upto`` stays.
        """
        ...

    def drop(self, seqs: Iterable[int]) -> dict[str, Removed]:
        """Remove these events for good, wherever they stand; ``trimmed_upto`` stays.

        Their bytes are overwritten where they lie; ``scrub`` sees to the copies.
        """
        ...

    def scrub(self) -> bool:
        """Leave no bytes of removed events in any file: one step; True when there are none."""
        ...

    def drop_topics(self, topics: Iterable[str]) -> list[str]:
        """Forget those of *topics* that hold no event; which they were."""
        ...

    def save_subs(self, changed: Mapping[str, bytes | None]) -> None:
        """Keep these JSON texts, in the place of earlier ones of the same names; None removes.

        One durable transaction.
        """
        ...

    def size_bytes(self) -> int:
        """What the data takes on disk (or in memory)."""
        ...

    def reader(self) -> StoreReader:
        """A new reader, to be used and closed by one thread."""
        ...

    def close(self) -> None:
        """Finish deferred work, mark the log clean, let go of the file."""
        ...


@dataclass(slots=True)
class StoreStatus:
    """How the store does, as told to people.

    Attributes:
        state: ``ok``, ``unavailable`` (probing), ``corrupt``, ``parked`` or ``closed``.
    """

    state: str = "closed"
    message: str | None = None
    counters: dict[str, int] = field(default_factory=dict)
