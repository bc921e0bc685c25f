"""One subscription of a client, over all its connections. Pure.

A live one keeps the cursor after the last frame that it began to hand out, and is opened again
there: each stored event comes once and in order, or an error says what is missing. A
durable one keeps nothing: the server knows what was acknowledged.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple, TypeAlias

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
    """An event on its way to whoever follows, and of which connection it is."""

    event: Event
    connection: int


Item: TypeAlias = RawEv | BusError


class Following:
    """See the module's text.

    Args:
        sid: Its name on the wire.
        start: Where to begin if *after* is None.
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
        self._options = options
        self._connection = 0
        self._items: deque[Item] = deque()
        self._events: deque[Handed] = deque()
        self._cursor: str | None = None
        self._last: Handed | None = None
        self._settled = True
        self._unacked = 0
        self._ack_after = max(1, int(options.get("window", 1000)) // 4)

    # --- connections ------------------------------------------------------------------------

    def sub(self, request: int) -> bytes:
        """The frame that opens it on a new connection."""
        self._connection += 1
        self._unacked = 0
        self._items.clear()  # what was not begun comes again
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
        self.has_begun = True
        if pos is not None and not isinstance(self.after, str) and not self.is_durable:
            self.after = pos

    # --- what comes -------------------------------------------------------------------------

    def events(self, frame: RawEv) -> None:
        """Events came."""
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

    def pos(self, cursor: str) -> None:
        """All up to here was looked through."""
        if not self._items and not self._events and not self.is_durable:
            self.after = cursor

    def end(self, error: BusError) -> None:
        """Nothing more comes, once what is here was handed out."""
        self.ended = error

    # --- what goes to the reader ------------------------------------------------------------

    def next(self) -> Event | BusError | None:
        """What comes next, None if there is nothing yet; an error may be followed by events."""
        while not self._events:
            if not self._items:
                return self.ended
            item = self._items.popleft()
            if not isinstance(item, RawEv):
                self.after = getattr(item, "cursor", self.after)
                return item
            self._begin(item)
        self._last = self._events.popleft()
        self._settled = False
        return self._last.event

    def _begin(self, frame: RawEv) -> None:
        """Hand out this frame: from now on it counts as taken, so it is not asked for again."""
        if not self.is_durable:
            self.after = frame.cursor
        self._cursor = frame.cursor
        self._events.extend(Handed(_decode(raw), self._connection) for raw in frame.events)

    @property
    def cursor(self) -> str | None:
        """The position after the last event that was handed out; None of a durable one."""
        last = self._last.event.seq if self._last is not None else None
        if self._events and self._cursor is not None and last is not None and not self.is_durable:
            return str(Cursor(Cursor.parse(self._cursor).epoch, last))
        return self.after if isinstance(self.after, str) else None

    def handled(self) -> bytes | None:
        """The last event was handled: the frame that says so, if it is time for one."""
        last = self._last
        if last is None or self._settled:
            return None
        self._settled = True
        seq = last.event.seq
        if seq is None or last.connection != self._connection:
            return None  # the server has taken it back, and counts anew
        if self.is_durable:
            return _encode(Ack(sid=self.sid, seq=seq))
        self._unacked += 1
        if self._unacked < self._ack_after:
            return None
        self._unacked = 0
        return _encode(Ack(sid=self.sid, seq=seq))

    def failed(self, delay_s: float | None, reason: str) -> bytes | None:
        """The last event of a durable subscription was not handled: the frame that says so."""
        last = self._last
        if last is None or self._settled:
            return None
        self._settled = True
        if last.event.seq is None or last.connection != self._connection or not self.is_durable:
            return None
        self._drop_behind(last.event)
        delay_ms = None if delay_s is None else round(delay_s * 1000)
        why = reason[:REASON]
        return _encode(Nack(sid=self.sid, seq=last.event.seq, delay_ms=delay_ms, reason=why))

    def _drop_behind(self, failed: Event) -> None:
        """The server takes back what is later in its lane, and sends it again behind it."""
        lane, seq = _lane(failed), failed.seq or 0

        def stays(event: Event) -> bool:
            return _lane(event) != lane or (event.seq or 0) < seq

        self._events = deque(handed for handed in self._events if stays(handed.event))
        for at, item in enumerate(self._items):
            if isinstance(item, RawEv):
                events = [raw for raw in item.events if stays(_decode(raw))]
                self._items[at] = msgspec.structs.replace(item, events=events)


def _lane(event: Event) -> str:
    return event.topic if event.key is None else event.key
