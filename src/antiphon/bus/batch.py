"""Events that travel together: a committed batch, or a page read back from the log.

A batch is shared by every subscription. What one audience may see of it is
computed once, as a ``View``, however many subscribers belong to that audience.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import msgspec

from antiphon.bus.access import Access
from antiphon.bus.topics import matches
from antiphon.bus.traces import any_traced
from antiphon.messages import Event

if TYPE_CHECKING:
    from antiphon.bus.subscription import Subscription

DECISIONS_KEPT = 100_000
"""Most topics whose decision an audience remembers; past it, it starts afresh."""
SHELF_BYTES = 64 * 1024 * 1024
VALUE_BYTES = 64
OBJECT_BYTES = 200
"""What a value and an object of JSON take as Python objects, about."""
VIEW_BYTES = 128
INDEX_BYTES = 64
"""What a view takes, and each event of one that isn't the whole batch, about."""
CUTS_KEPT = 2
"""Cuts that an audience remembers: its readers take one after the other, side by side."""
VIEWS_KEPT = 1024
"""Most views that a batch keeps; audiences come and go, batches can stay long."""

_decode = msgspec.json.Decoder(Event).decode


class Audience:
    """All subscriptions with one set of patterns and one access: they see the same events.

    Whether a topic is theirs is decided once for each topic, never for each event.
    """

    __slots__ = ("_decided", "access", "cuts", "parked", "patterns", "users")

    def __init__(self, patterns: tuple[str, ...], access: Access) -> None:
        self.patterns = patterns
        self.access = access
        self.users = 0
        self.parked: dict[Subscription, None] = {}
        self.cuts: dict[Place, tuple[Cut, Standing]] = {}
        self._decided: dict[str, bool] = {}

    def remember(self, place: Place, cut: Cut, after: Standing) -> None:
        """Whoever of this audience stands at *place* takes *cut*, and stands at *after* then."""
        if len(self.cuts) >= CUTS_KEPT:
            del self.cuts[next(iter(self.cuts))]
        self.cuts[place] = (cut, after)

    def sees(self, topic: str) -> bool:
        """Whether *topic* matches and may be seen."""
        decided = self._decided.get(topic)
        if decided is None:
            if len(self._decided) >= DECISIONS_KEPT:
                self._decided.clear()
            decided = any(matches(p, topic) for p in self.patterns) and self.access.may_see(topic)
            self._decided[topic] = decided
        return decided


class Shelf:
    """Which batches keep what was made of them: the last ones asked for, within a bound.

    Events as objects can take twenty times the room of their JSON, and the views of many
    audiences a hundred times; the ring's bounds count neither. So what counts here is an
    estimate of both. What an older batch loses is made again for whoever comes by.

    Args:
        max_bytes: Of the estimates, and of the JSON of those batches.
    """

    def __init__(self, max_bytes: int = SHELF_BYTES) -> None:
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self._kept: OrderedDict[Batch, int] = OrderedDict()

    def keep(self, batch: Batch, size: int) -> None:
        """*batch* keeps *size* more bytes; the oldest make room. The newest always stays."""
        before = self._kept.get(batch)
        if before is None:
            before = 0
            size += batch.size_bytes
        else:
            self._kept.move_to_end(batch)
        self._kept[batch] = before + size
        self.size_bytes += size
        while self.size_bytes > self.max_bytes and len(self._kept) > 1:
            oldest, freed = self._kept.popitem(last=False)
            self.size_bytes -= freed
            oldest.shed()

    def clear(self) -> None:
        """Let all of them shed what they keep."""
        while self._kept:
            self._kept.popitem()[0].shed()
        self.size_bytes = 0


class Batch:
    """Events in order of seq, with what was scanned to find them.

    Attributes:
        after, upto: The batch covers every seq in (after, upto].
        data: Each event as wire JSON; as long as ``seqs`` and ``topics``.
        topic_set: The distinct topics in it.
        size_bytes: Of ``data``.
        traced: One of the events has a trace; known once they are decoded.
    """

    __slots__ = (
        "_events",
        "_parts",
        "_shelf",
        "_views",
        "after",
        "data",
        "seqs",
        "size_bytes",
        "topic_set",
        "topics",
        "traced",
        "upto",
    )

    def __init__(
        self,
        *,
        after: int,
        upto: int,
        seqs: Sequence[int],
        topics: list[str],
        data: list[bytes],
        shelf: Shelf | None = None,
    ) -> None:
        self.after = after
        self.upto = upto
        self.seqs = seqs
        self.topics = topics
        self.data = data
        self.topic_set = frozenset(topics)
        self.size_bytes = sum(map(len, data))
        self._events: list[Event] | None = None
        self._parts: dict[View, list[Event]] = {}
        self._shelf = shelf
        self._views: dict[Audience, View | None] = {}
        self.traced = False

    def __len__(self) -> int:
        return len(self.seqs)

    @property
    def events(self) -> list[Event]:
        """The events, decoded once however many ask."""
        if self._events is None:
            self._events = [_decode(data) for data in self.data]
            self.traced = any_traced(self._events)
            if self._shelf is not None:
                self._shelf.keep(self, _size_of_objects(self.data))
        return self._events

    def part(self, view: View, indexes: list[int]) -> list[Event]:
        """Those of the events that *view* shows, picked once however many ask."""
        part = self._parts.get(view)
        if part is None:
            events = self.events
            part = self._parts[view] = [events[i] for i in indexes]
        return part

    def without(self, gone: Collection[int]) -> Batch:
        """The same batch, but for these seqs; itself if it has none of them."""
        kept = [at for at, seq in enumerate(self.seqs) if seq not in gone]
        if len(kept) == len(self.seqs):
            return self
        return Batch(
            after=self.after,
            upto=self.upto,
            seqs=[self.seqs[at] for at in kept],
            topics=[self.topics[at] for at in kept],
            data=[self.data[at] for at in kept],
            shelf=self._shelf,
        )

    def shed(self) -> None:
        """Keep the bytes only; what else was made of them is made again when asked for."""
        self._events = None
        self._parts.clear()
        self._views.clear()

    def view(self, audience: Audience) -> View | None:
        """What *audience* sees of it; None if nothing."""
        try:
            return self._views[audience]
        except KeyError:
            if len(self._views) >= VIEWS_KEPT:
                self._views.clear()
            view = self._views[audience] = self._cut(audience)
            if self._shelf is not None:
                self._shelf.keep(self, _size_of_view(view))
            return view

    def _cut(self, audience: Audience) -> View | None:
        seen = {topic for topic in self.topic_set if audience.sees(topic)}
        if not seen:
            return None
        if len(seen) == len(self.topic_set):
            return View(self, None)
        return View(self, [i for i, topic in enumerate(self.topics) if topic in seen])


class View:
    """What one audience sees of one batch. Shared; never changed."""

    __slots__ = ("batch", "data", "indexes", "seqs")

    def __init__(self, batch: Batch, indexes: list[int] | None) -> None:
        self.batch = batch
        self.indexes = indexes
        if indexes is None:
            self.seqs: Sequence[int] = batch.seqs
            self.data = batch.data
        else:
            self.seqs = [batch.seqs[i] for i in indexes]
            self.data = [batch.data[i] for i in indexes]

    def __len__(self) -> int:
        return len(self.data)

    @property
    def events(self) -> list[Event]:
        indexes = self.indexes
        return self.batch.events if indexes is None else self.batch.part(self, indexes)


def _size_of_objects(data: list[bytes]) -> int:
    return sum(one.count(b",") * VALUE_BYTES + one.count(b"{") * OBJECT_BYTES for one in data)


def _size_of_view(view: View | None) -> int:
    indexes = view.indexes if view is not None else None
    return VIEW_BYTES + INDEX_BYTES * len(indexes or ())


class Slice(NamedTuple):
    """Some events of one view, as one subscriber takes them.

    Attributes:
        upto: The subscription's position after it.
        ephemeral: These have no seq, and the position doesn't move.
    """

    view: View
    start: int
    stop: int
    upto: int
    ephemeral: bool = False

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def events(self) -> list[Event]:
        events = self.view.events
        whole = self.start == 0 and self.stop == len(events)
        return events if whole else events[self.start : self.stop]

    @property
    def data(self) -> list[bytes]:
        return self.view.data[self.start : self.stop]

    @property
    def seqs(self) -> Sequence[int]:
        return self.view.seqs[self.start : self.stop]

    def joined(self) -> bytes:
        """The wire JSON with commas between."""
        return b",".join(self.data)


class Cut(NamedTuple):
    """Consecutive slices as one piece of wire JSON, shared by all who take the same.

    Attributes:
        data: The events with commas between.
        seqs: Of the events; none, if they are ephemeral.
        upto: The subscription's position after it.
        cursor: The same for clients.
    """

    data: bytes
    seqs: list[int]
    upto: int
    cursor: str


Place: TypeAlias = "tuple[View, int, int, int]"
"""Where a cut begins, and how far it may go: a view, the offset in it, events, bytes."""


class Standing(NamedTuple):
    """Where a reader stands: as ``Subscription`` keeps it."""

    view: View | None
    offset: int
    next: int | None
    position: int
    parked: bool
