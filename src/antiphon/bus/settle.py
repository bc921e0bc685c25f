"""What becomes of each publish of a batch: stored, duplicate, conflict, or refused. Pure.

Idempotency: the key is (principal, topic, id), for given ids only. Same key
and same content is a duplicate and gets the first one's seq; other content is a
conflict. Inside one batch the first wins. What the server filled in, for the time or
the trace that it was published in, is no content.

Expectations: what is neither is stored only if its topic's last seq is the expected one,
the events before it in the batch counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec

from antiphon.bus.batch import Batch, Shelf
from antiphon.bus.intake import Pending
from antiphon.bus.store import Row, Stored
from antiphon.bus.traces import TRACE
from antiphon.errors import BusError, IdConflict, StorageUnavailable, WrongExpectedSeq
from antiphon.messages import Event

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_decode = msgspec.json.Decoder(Event).decode
_sorted = msgspec.json.Encoder(order="sorted").encode

Key = tuple[str, str]


@dataclass(slots=True)
class Settled:
    """A batch with every answer decided.

    Attributes:
        after, upto: The head before and after.
        recorded_us: Of ``rows``.
        rows: What is to be stored, ascending.
        stored: The publishes of ``rows``, in the same order.
        duplicates: Publishes that were stored before, with the seq of the first.
        refused: Publishes with the error each gets.
        sizes: For each topic of ``rows``: events, bytes, first seq, last seq.
        size_bytes: Of all publishes together, whatever became of them.
    """

    after: int
    upto: int
    recorded_us: int = 0
    rows: list[Row] = field(default_factory=list)
    stored: list[Pending] = field(default_factory=list)
    duplicates: list[tuple[Pending, int]] = field(default_factory=list)
    refused: list[tuple[Pending, BusError]] = field(default_factory=list)
    sizes: dict[str, list[int]] = field(default_factory=dict)
    size_bytes: int = 0

    def batch(self, shelf: Shelf) -> Batch:
        """What the ring gets."""
        dense = len(self.rows) == self.upto - self.after
        return Batch(
            after=self.after,
            upto=self.upto,
            seqs=range(self.after + 1, self.upto + 1) if dense else [row.seq for row in self.rows],
            topics=[row.topic for row in self.rows],
            data=[row.data for row in self.rows],
            shelf=shelf,
        )


def settle(
    batch: Sequence[Pending],
    head: int,
    recorded_us: int,
    existing: Mapping[Key, Stored],
    last_seqs: Mapping[str, int] | None = None,
) -> Settled | None:
    """Give seqs after *head* to what is new, and answers to what is not.

    Args:
        existing: Stored events by (topic, given), for those keys of the batch that
            are there already.
        last_seqs: Of the topics that have one, for those of ``expecting``. With it,
            *existing* must hold what is there of the keys of ``expecting``.

    Returns:
        None if the batch has expectations and *last_seqs* is not given.
    """
    settled = Settled(head, head, recorded_us)
    recorded = _EPOCH + timedelta(microseconds=recorded_us)
    stamp = recorded.isoformat(timespec="microseconds").removesuffix("+00:00")
    middle = f',"recorded":"{stamp}Z",'.encode()
    first: dict[Key, Pending] = {}
    rows, stored, sizes = settled.rows, settled.stored, settled.sizes
    seq = head
    for pending in batch:
        topic, given, body = pending.topic, pending.given, pending.body
        settled.size_bytes += len(body)
        if given is not None:
            before = _before((topic, given), existing, first)
            if before is not None:
                _repeat(settled, pending, *before)
                continue
        if pending.expect is not None:
            if last_seqs is None:
                return None
            last = sizes[topic][3] if topic in sizes else last_seqs.get(topic, 0)
            if pending.expect != last:
                settled.refused.append((pending, _wrong_expected(pending, last)))
                continue
        if given is not None:
            first[topic, given] = pending
        seq += 1
        pending.seq = seq
        data = b'{"seq":%d%b%b' % (seq, middle, body)
        rows.append(Row(seq, topic, given, data))
        stored.append(pending)
        size = sizes.get(topic)
        if size is None:
            sizes[topic] = [1, len(data), seq, seq]
        else:
            size[0] += 1
            size[1] += len(data)
            size[3] = seq
    settled.upto = seq
    return settled


def outside(rows: Sequence[Row], head: int) -> Settled:
    """Rows that got their seqs elsewhere, after *head*; gaps between them are legal.

    Raises:
        ValueError: There are none, or a seq doesn't come after the one before.
    """
    if not rows:
        raise ValueError("no rows to take")
    settled = Settled(head, head, rows=list(rows))
    for row in rows:
        if row.seq <= settled.upto:
            raise ValueError(f"seq {row.seq} does not come after {settled.upto}")
        settled.upto = row.seq
        size = settled.sizes.setdefault(row.topic, [0, 0, row.seq, row.seq])
        size[0] += 1
        size[1] += len(row.data)
        size[3] = row.seq
    return settled


def expecting(batch: Sequence[Pending]) -> list[Pending]:
    """Those publishes that depend on their topic's last seq."""
    return [pending for pending in batch if pending.expect is not None]


def given_keys(batch: Sequence[Pending]) -> list[Key]:
    """The keys of idempotency in *batch*."""
    return [(pending.topic, pending.given) for pending in batch if pending.given is not None]


def unavailable(batch: Sequence[Pending], head: int, why: str, *, retry_after_ms: int) -> Settled:
    """Refuse the whole batch because the disk did."""
    error = StorageUnavailable(f"the log takes no events now: {why}", retry_after_ms=retry_after_ms)
    refused: list[tuple[Pending, BusError]] = [(pending, error) for pending in batch]
    return Settled(head, head, refused=refused, size_bytes=sum(len(p.body) for p in batch))


def _before(
    key: Key, existing: Mapping[Key, Stored], first: Mapping[Key, Pending]
) -> tuple[Event, int] | None:
    stored = existing.get(key)
    if stored is not None:
        return _decode(stored.data), stored.seq
    earlier = first.get(key)
    return None if earlier is None else (_event(earlier), earlier.seq)


def _event(pending: Pending) -> Event:
    return _decode(b"{" + pending.body)


def _wrong_expected(pending: Pending, last: int) -> WrongExpectedSeq:
    found = f"its last event is {last}" if last else "it never had an event"
    return WrongExpectedSeq(
        f"expected {pending.topic} to end at {pending.expect}, but {found}",
        last_seq=last,
        value=pending.expect,
    )


def _repeat(settled: Settled, pending: Pending, before: Event, seq: int) -> None:
    if same_content(before, pending):
        settled.duplicates.append((pending, seq))
        return
    message = (
        f"id {pending.id} was published on {pending.topic} before, with other content, as seq {seq}"
    )
    settled.refused.append((pending, IdConflict(message, value=pending.id)))


def same_content(first: Event, again: Pending) -> bool:
    """Whether *again* says the same as *first*."""
    return _content(first, again) == _content(_event(again), again)


def _content(event: Event, again: Pending) -> bytes:
    """What counts of *event*: ``time`` and ``correlation_id`` only if *again* was given them.

    As JSON, since to Python 1, 1.0 and True are equal.
    """
    headers = event.headers or {}
    return _sorted(
        (
            event.type,
            event.source,
            event.payload,
            event.causation_id,
            event.key,
            {name: text for name, text in headers.items() if name not in TRACE},
            event.time if again.timed else None,
            event.correlation_id if again.correlated else None,
        )
    )
