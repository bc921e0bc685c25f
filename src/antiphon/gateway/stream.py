"""One subscription of a socket: its events as frames, no more than its window allows.

Frames of events are put together from bytes that all subscriptions with the same
patterns and access share; nothing is encoded or copied for one client.
"""

from __future__ import annotations

from collections import deque
from typing import TypeAlias

import msgspec

from antiphon.bus import BusNotice, Gap, Lag, Live, Reset, Subscription
from antiphon.bus.batch import Cut
from antiphon.gateway.limits import FLUSH_BYTES, FLUSH_EVENTS
from antiphon.gateway.window import Window
from antiphon.ids import Cursor
from antiphon.messages import Gap as GapFrame
from antiphon.messages import Lag as LagFrame
from antiphon.messages import Live as LiveFrame
from antiphon.messages import Pos, ServerFrame
from antiphon.messages import Reset as ResetFrame

Parts: TypeAlias = tuple[bytes, ...]
"""One text frame in pieces, so that what many share is not copied for each."""

_encode = msgspec.json.Encoder().encode


class Stream:
    """Cuts one subscription into frames.

    Attributes:
        told: The cursor that the client knows.
    """

    def __init__(self, subscription: Subscription, window: Window) -> None:
        self.subscription = subscription
        self.sid = subscription.sid
        self.told = subscription.cursor
        self._window = window
        self._head = b'{"op":"ev","sid":"%s","events":[' % self.sid.encode()
        self._next: deque[bytes] = deque()

    def frame(self) -> Parts | None:
        """The next frame; None: nothing now, or the window is full."""
        if self._next:
            return (self._next.popleft(),)
        room = self._window.room
        if room <= 0:
            return None
        taken = self.subscription.take_cut(min(FLUSH_EVENTS, room), FLUSH_BYTES)
        if taken is None:
            return None
        if isinstance(taken, Cut):
            return self._events(taken)
        self._notice(taken)
        return (self._next.popleft(),)

    def pos(self) -> bytes | None:
        """A frame that tells the position, if it moved without an event for this client."""
        subscription = self.subscription
        if not subscription.live or self._next:
            return None
        if subscription.cursor == self.told:
            return None
        return _encode(self._tell())

    def close(self) -> None:
        """Let go of the subscription."""
        self.subscription.close()

    def _events(self, cut: Cut) -> Parts:
        self.told = cut.cursor
        if cut.seqs:
            self._window.sent(cut.seqs, cut.upto)
        return (self._head, cut.data, b'],"cursor":"%s"}' % cut.cursor.encode())

    def _notice(self, notice: BusNotice) -> None:
        match notice:
            case Live():
                if self.subscription.cursor != self.told:
                    self._put(self._tell())
                self._put(LiveFrame(sid=self.sid))
            case Lag():
                self._put(LagFrame(sid=self.sid, dropped=notice.dropped))
            case Gap():
                frame = GapFrame(
                    sid=self.sid, first=notice.first, last=notice.last, cursor=notice.cursor
                )
                self._know(notice.cursor)
                self._put(frame)
            case Reset():
                self._know(notice.cursor)
                self._put(ResetFrame(sid=self.sid, message=notice.message, cursor=notice.cursor))
            case _:
                raise AssertionError(f"unknown notice {notice!r}")

    def _tell(self) -> Pos:
        self._know(self.subscription.cursor)
        return Pos(sid=self.sid, cursor=self.told)

    def _know(self, cursor: str) -> None:
        self.told = cursor
        self._window.tell(Cursor.parse(cursor).seq)

    def _put(self, frame: ServerFrame) -> None:
        self._next.append(_encode(frame))
