"""One subscription of a client, over all its connections. Pure.

A live one keeps the cursor after the last frame that it began to hand out, and is opened again
there: each stored event comes once and in order, or an error says what is missing. A
durable one keeps nothing: the server knows what was acknowledged.
"""

from __future__ import annotations

from collections import deque
from itertools import repeat
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from antiphon.client.frames import RawEv
from antiphon.errors import BusError, SubscriptionGap, SubscriptionReset
from antiphon.ids import Cursor
from antiphon.messages import Ack, Event, Gap, Lag, Nack, Reset, StartWord, Sub

REASON = 1000
"""Characters of the reason of a nack that are sent."""

_decode = msgspec.json.Decoder(Event).decode
_encode = msgspec.json.Encoder().encode


class Handed(NamedTuple):
    """An event on its way to whoever follows, of which connection it is, and which try."""

    event: Event
    connection: int
    attempt: int


NoticeKind: TypeAlias = Literal["ahead", "gap", "reset", "lag", "live", "lost", "back"]


class TailNotice(NamedTuple):
    """Something that is no event: what is missing, or how the connection stands."""

    kind: NoticeKind
    message: str


Item: TypeAlias = RawEv | BusError | TailNotice


class Following:
    """See the module's text.

    Args:
        sid: Its name on the wire.
        start: Where to begin if *after* is None.
        tells: Notices are wanted among the items.
        options: More fields of ``sub``: ``narrow``, ``window``, ``durable``, ``group``, ….

    Attributes:
        after: The position after what was handed out, to go on from.
        dropped: Ephemeral events that the server dropped for it, in all.
        ended: Why nothing more comes.
        was_cut: A connection was lost before it said whether it is open: the server may hold it.
    """

    def __init__(
        self,
        sid: str,
        patterns: tuple[str, ...],
        *,
        start: StartWord = "now",
        after: str | int | None = None,
        tells: bool = False,
        **options: Any,
    ) -> None:
        self.sid = sid
        self.patterns = patterns
        self.after = after
        self.dropped = 0
        self.ended: BusError | None = None
        self.is_durable = options.get("durable") is not None or options.get("group") is not None
        self.has_begun = False
        self.was_cut = False
        self._start: StartWord = start
        self._tells = tells
        self._is_lost = False
        self._lag = 0
        self._options = options
        self._connection = 0
        self._items: deque[Item] = deque()
        self._events: deque[Handed] = deque()
        self._cursor: str | None = None
        self._last: Handed | None = None
        self._open: dict[int, Event] = {}  # handed out on this connection, and not settled
        self._failing: dict[int, tuple[str, int]] = {}  # by request, until the server has heard it
        self._unacked = 0
        self._reached = 0  # the highest seq that was handled and not acknowledged
        self._ack_after = max(1, int(options.get("window", 1000)) // 4)

    # --- connections ------------------------------------------------------------------------

    def sub(self, request: int) -> bytes:
        """The frame that opens it on a new connection."""
        self._connection += 1
        self._unacked = 0
        self._open.clear()  # the server has taken it back, and counts anew
        self._failing.clear()
        # What was not begun comes again.
        self._items = deque(item for item in self._items if isinstance(item, TailNotice))
        if self.is_durable:
            self._events.clear()
        after = self.after
        start = self._start if after is None else None
        if self.is_durable and self.has_begun:
            after, start = None, None
        return _encode(
            Sub(
                id=request,
                sid=self.sid,
                patterns=list(self.patterns),
                after=after,
                start=start,
                **self._options,
            )
        )

    def opened(self, pos: str | None) -> None:
        """It is open; *pos* stands for "now" from here on, so that nothing after it is lost."""
        asked = self.after
        self.has_begun = True
        if pos is not None and not isinstance(asked, str) and not self.is_durable:
            self.after = pos
            head = Cursor.parse(pos).seq
            if isinstance(asked, int) and asked > head:
                self._tell("ahead", f"there is no seq {asked} yet, going on after {head}")
        if self._is_lost:
            self._is_lost = False
            self._tell("back", f"connected again, going on after {self.after or pos}")

    def lost(self, why: str) -> None:
        """The connection is gone; it will be opened again on the next one."""
        if self.has_begun and not self._is_lost:
            self._is_lost = True
            self._tell("lost", f"lost the server: {why}")

    def _tell(self, kind: NoticeKind, message: str) -> None:
        """Say it in its place; the latest of a kind stands for those that nobody read."""
        if self._tells:
            notice = TailNotice(kind, message)
            self._items = deque(
                item
                for item in self._items
                if not (isinstance(item, TailNotice) and item.kind == kind)
            )
            self._items.append(notice)

    # --- what comes -------------------------------------------------------------------------

    def events(self, frame: RawEv) -> None:
        """Events came; what crossed the nack of an earlier one in its lane comes again."""
        for lane, seq in self._failing.values():
            frame = _without(frame, lane, seq)
        self._items.append(frame)

    def gap(self, frame: Gap) -> None:
        """Some are gone; said in their place."""
        self._items.append(SubscriptionGap(frame.first, frame.last, frame.cursor))

    def reset(self, frame: Reset) -> None:
        """The position is of another history; said in its place."""
        self._items.append(SubscriptionReset(frame.message, frame.cursor))

    def lag(self, frame: Lag) -> None:
        """Ephemeral events were dropped."""
        self.dropped += frame.dropped
        self._lag += frame.dropped
        self._tell("lag", f"{self._lag} ephemeral events were dropped")

    def live(self) -> None:
        """It has caught up."""
        self._tell("live", "caught up")

    def pos(self, cursor: str) -> None:
        """All up to here was looked through."""
        waits = self._events or any(not isinstance(item, TailNotice) for item in self._items)
        if not waits and not self.is_durable:
            self.after = cursor

    def end(self, error: BusError) -> None:
        """Nothing more comes, once what is here was handed out."""
        self.ended = error

    # --- what goes to the reader ------------------------------------------------------------

    def next(self) -> Event | BusError | TailNotice | None:
        """What comes next, None if there is nothing yet; an error may be followed by events."""
        while not self._events:
            item = self.take()
            if not isinstance(item, RawEv):
                return item
            attempts = repeat(1) if item.attempts is None else item.attempts
            self._events.extend(
                Handed(_decode(raw), self._connection, attempt)
                for raw, attempt in zip(item.events, attempts, strict=False)
            )
        self._last = last = self._events.popleft()
        if last.event.seq is not None and last.connection == self._connection:
            self._open[last.event.seq] = last.event
        return last.event

    def take(self) -> RawEv | BusError | TailNotice | None:
        """What comes next, a frame of events as a whole, for who reads no single ones.

        A frame counts as taken as a whole: it is not asked for again.
        """
        if not self._items:
            return self.ended
        item = self._items.popleft()
        if isinstance(item, RawEv):
            self._cursor = item.cursor
            if not self.is_durable:
                self.after = item.cursor
        elif isinstance(item, TailNotice):
            self._lag = 0 if item.kind == "lag" else self._lag
        else:
            self.after = getattr(item, "cursor", self.after)
        return item

    @property
    def attempt(self) -> int:
        """Which try the last event that was handed out is."""
        return 1 if self._last is None else self._last.attempt

    @property
    def cursor(self) -> str | None:
        """The position after the last event that was handed out; None of a durable one."""
        last = self._last.event.seq if self._last is not None else None
        if self._events and self._cursor is not None and last is not None and not self.is_durable:
            return str(Cursor(Cursor.parse(self._cursor).epoch, last))
        return self.after if isinstance(self.after, str) else None

    # --- what the reader says of them --------------------------------------------------------

    @property
    def owes(self) -> bool:
        """Whether something was handled and not acknowledged, to be said in a quiet moment."""
        return self._unacked > 0

    def handled(self, event: Event | None = None) -> bytes | None:
        """*event*, or the last one, was handled: the frame that says so, if it is time for one.

        Of a live subscription everything before it was handled, too.
        """
        settled = self._settle(event)
        if settled is None:
            return None
        seq = settled.seq or 0
        if self.is_durable:
            return _encode(Ack(sid=self.sid, seq=seq))
        return self._count(seq, 1)

    def read(self, frame: RawEv, connection: int) -> bytes | None:
        """A whole frame of a live subscription was handled, that came on *connection*."""
        if connection != self._connection:
            return None
        return self._count(Cursor.parse(frame.cursor).seq, len(frame.events))

    @property
    def connection(self) -> int:
        """Which one it is on, counted from 1."""
        return self._connection

    def acknowledge(self) -> bytes | None:
        """The frame that says what was handled and not acknowledged yet."""
        if not self._unacked:
            return None
        self._unacked = 0
        return _encode(Ack(sid=self.sid, seq=self._reached))

    def failed(
        self,
        delay_s: float | None,
        reason: str,
        event: Event | None = None,
        *,
        request: int | None = None,
    ) -> bytes | None:
        """*event*, or the last one, of a durable subscription was not handled.

        What is behind it in its lane is dropped, until ``given_back``: the server takes it
        back, and sends it again behind this one.
        """
        settled = self._settle(event)
        if settled is None or not self.is_durable:
            return None
        lane, seq = _lane(settled), settled.seq or 0
        self._drop_behind(lane, seq)
        if request is not None:
            self._failing[request] = lane, seq
        delay_ms = None if delay_s is None else round(delay_s * 1000)
        why = reason[:REASON]
        return _encode(Nack(sid=self.sid, seq=seq, delay_ms=delay_ms, reason=why, id=request))

    def given_back(self, request: int) -> None:
        """The server has heard of the failure: what comes from here on is to be handled."""
        self._failing.pop(request, None)

    def _settle(self, event: Event | None) -> Event | None:
        """An event that is in hand still, and is not any more from here on."""
        if event is None:
            event = None if self._last is None else self._last.event
        return None if event is None else self._open.pop(event.seq or 0, None)

    def _count(self, seq: int, events: int) -> bytes | None:
        self._unacked += events
        self._reached = seq
        return self.acknowledge() if self._unacked >= self._ack_after else None

    def _drop_behind(self, lane: str, seq: int) -> None:
        """Forget what is in the lane from *seq* on."""
        self._open = {
            at: event for at, event in self._open.items() if not _is_behind(event, lane, seq)
        }
        self._events = deque(
            handed for handed in self._events if not _is_behind(handed.event, lane, seq)
        )
        for at, item in enumerate(self._items):
            if isinstance(item, RawEv):
                self._items[at] = _without(item, lane, seq)


def _is_behind(event: Event, lane: str, seq: int) -> bool:
    return _lane(event) == lane and (event.seq or 0) >= seq


def _without(frame: RawEv, lane: str, seq: int) -> RawEv:
    """*frame* without what is in the lane from *seq* on."""
    events = [raw for raw in frame.events if not _is_behind(_decode(raw), lane, seq)]
    return msgspec.structs.replace(frame, events=events)


def _lane(event: Event) -> str:
    return event.topic if event.key is None else event.key
