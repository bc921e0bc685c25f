"""One durable subscription of a socket: its events as frames, and what becomes of them.

It stands beside ``stream.py``. The window, the retries and who else holds it are the
bus's (``bus/claims.py``); here claims become bytes. Nothing is shared with other sockets,
since no two are handed the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

from antiphon.bus import BusNotice, Gap, Lease, Reset
from antiphon.bus.claims import Claim
from antiphon.errors import BusError, DurableStopped, LeaseLost
from antiphon.gateway.hand import Hand
from antiphon.gateway.limits import FLUSH_BYTES, FLUSH_EVENTS
from antiphon.gateway.stream import Parts
from antiphon.messages import Gap as GapFrame
from antiphon.messages import Reset as ResetFrame
from antiphon.messages import SubscriptionInfo

LOST = (LeaseLost, DurableStopped)

_encode = msgspec.json.Encoder().encode


class HeldStream:
    """Cuts what one lease brings into frames.

    Args:
        cursor: The cursor of a seq.
        lost: Told once why the lease has ended, unless this side ended it.
    """

    def __init__(
        self,
        sid: str,
        lease: Lease,
        hand: Hand,
        *,
        cursor: Callable[[int], str],
        lost: Callable[[BusError], None],
    ) -> None:
        self.sid = sid
        self.lease = lease
        self.hand = hand
        self._cursor = cursor
        self._lost = lost
        self._head = b'{"op":"ev","sid":"%s","events":[' % sid.encode()
        self._taken: deque[Claim] = deque()  # in hand, and not sent yet

    @property
    def cursor(self) -> str:
        """Everything up to it is settled, by whomever."""
        return self._cursor(self.lease.position)

    def frame(self) -> Parts | None:
        """The next frame; None: nothing now, the window is full, or the lease has ended."""
        try:
            return self._frame()
        except LOST as error:
            self._lost(error)
            return None

    def ack(self, seq: int) -> None:
        """Settle *seq* alone; nothing, if it isn't in hand any more."""
        try:
            self.lease.ack_one(seq)
        except LOST as error:
            self._lost(error)

    def nack(self, seq: int, delay: float | None, reason: str) -> None:
        """Have *seq* come again, after *delay* seconds; the later ones of its lane too."""
        try:
            self.lease.nack(seq, delay=delay, reason=reason)
        except LOST as error:
            self._lost(error)
        self._taken = deque(claim for claim in self._taken if self.lease.has(claim.seq))

    def renew(self) -> None:
        """The client is alive."""
        try:
            self.lease.renew()
        except LOST as error:
            self._lost(error)

    def close(self) -> None:
        """Give back at once what is in hand; it counts as no failure."""
        self._taken.clear()
        self.lease.release()

    def info(self, conn: str, head: int) -> SubscriptionInfo:
        """What ``GET /v1/subscriptions`` says of it."""
        position = self.lease.position
        return SubscriptionInfo(
            conn=conn,
            sid=self.sid,
            owner=self.lease.principal.name,
            patterns=list(self.lease.patterns),
            durable=self.lease.name,
            position=position,
            lag=max(0, head - position),
            window=self.hand.size,
            unacked=self.lease.in_hand - len(self._taken),
        )

    def _frame(self) -> Parts | None:
        while True:
            chosen = self._cut()
            if chosen:
                return self._events(chosen)
            taken = self.lease.take(FLUSH_EVENTS)
            if taken is None:
                return None
            if not isinstance(taken, list):
                return (self._notice(taken),)
            self._taken.extend(taken)

    def _cut(self) -> list[Claim]:
        """As much of what was taken as goes into one frame; not what was forgotten since."""
        chosen: list[Claim] = []
        size = 0
        while self._taken and self.lease.lost is None and len(chosen) < FLUSH_EVENTS:
            claim = self._taken[0]
            if claim.is_gone:
                self.lease.ack_one(claim.seq)
            elif chosen and size + len(claim.data) > FLUSH_BYTES:
                break
            else:
                chosen.append(claim)
                size += len(claim.data)
                self.hand.sent(claim.seq)
            self._taken.popleft()
        return chosen

    def _events(self, chosen: list[Claim]) -> Parts:
        attempts = b""
        if any(claim.tries for claim in chosen):
            attempts = b',"attempts":%s' % _encode([claim.tries + 1 for claim in chosen])
        return (
            self._head,
            b",".join([claim.data for claim in chosen]),
            b'],"cursor":"%s"%s}' % (self.cursor.encode(), attempts),
        )

    def _notice(self, notice: BusNotice) -> bytes:
        match notice:
            case Gap(_, first, last, cursor):
                return _encode(GapFrame(sid=self.sid, first=first, last=last, cursor=cursor))
            case Reset(_, message, cursor):
                return _encode(ResetFrame(sid=self.sid, message=message, cursor=cursor))
            case _:
                raise AssertionError(f"unknown notice {notice!r}")
