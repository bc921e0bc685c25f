"""Who holds which event of a durable subscription, and what became of it. Pure.

A durable subscription with one holder is a group with room for one member. A *lane* is
an event's key, or else its topic; order is kept within a lane. A lane belongs to the
member that rendezvous hashing gives it, and its next event waits while another member
still has one of it in hand. So nobody has to agree on anything when members come and go,
and only the lanes of whoever came or went change hands.

Leaves out where events come from and who is woken (``durable.py``). Times are seconds of
one monotonic clock, handed in.

Promises: docs/semantics/durables.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from heapq import heappop, heappush

from antiphon.errors import BadRequest, LeaseLost
from antiphon.messages import Event

AHEAD_EVENTS = 10_000
"""Most events that are read and unsettled; past it a slow lane holds up the reading."""
AHEAD_BYTES = 16 * 1024 * 1024
BACKOFF_S = 1.0
BACKOFF_MOST_S = 60.0


@dataclass(slots=True, eq=False)
class Claim:
    """One event that is read and not yet settled.

    Attributes:
        data: The event as wire JSON.
        tries: How often it has failed.
        reason: Why it failed last.
        is_gone: It was forgotten while somebody had it in hand, and comes no more.
    """

    seq: int
    lane: str
    event: Event
    data: bytes
    tries: int = 0
    reason: str = ""
    is_gone: bool = False


@dataclass(slots=True, eq=False)
class _Lane:
    """Events of one lane; those in somebody's hand came before all that wait.

    Attributes:
        owner: Who gets the next one.
        holder: Who has some in hand, *out* of them.
        due: Before this moment none is handed out; None if there is no such moment.
    """

    waiting: deque[Claim] = field(default_factory=deque)
    owner: _Member | None = None
    holder: _Member | None = None
    out: int = 0
    due: float | None = None


@dataclass(slots=True, eq=False)
class _Member:
    """Somebody who works on events.

    Attributes:
        hand: What was handed out and not settled, in that order.
        last: The highest seq ever handed out to it.
        ready: A heap of (seq, lane): the first of each lane that it could take, and
            entries that were overtaken by events, which are dropped when met.
    """

    name: str
    events: int
    size: int
    ttl: float
    expires: float
    hand: dict[int, Claim] = field(default_factory=dict)
    in_hand: int = 0
    last: int = 0
    ready: list[tuple[int, str]] = field(default_factory=list)


class Claims:
    """The state of one durable subscription while it has members.

    A member is known by its token; with a token that is not, or no longer, a member's,
    every method raises LeaseLost.

    Args:
        read: Every event up to this seq was offered before, or was not wanted.
        most_tries: After so many failures an event is exhausted.

    Attributes:
        read: The last seq offered.
        exhausted: Events that failed too often, for their owner to ``settle``.
        stalls: How often reading had to wait because too much was unsettled.
    """

    def __init__(
        self,
        read: int,
        *,
        most_tries: int,
        ahead_events: int = AHEAD_EVENTS,
        ahead_bytes: int = AHEAD_BYTES,
    ) -> None:
        self.read = read
        self.most_tries = most_tries
        self.exhausted: dict[int, Claim] = {}
        self.stalls = 0
        self._ahead_events = ahead_events
        self._ahead_bytes = ahead_bytes
        self._stalled = False
        self._open: dict[int, Claim] = {}
        self._size = 0
        self._lanes: dict[str, _Lane] = {}
        self._members: dict[int, _Member] = {}
        self._retries: list[tuple[float, str]] = []

    # --- facts --------------------------------------------------------------------------

    @property
    def floor(self) -> int:
        """Every event up to this seq is settled."""
        first = next(iter(self._open), None)  # they came in order
        return self.read if first is None else first - 1

    @property
    def waiting(self) -> int:
        """How many events are read and in nobody's hand."""
        return len(self._open) - sum(len(member.hand) for member in self._members.values())

    def tries(self) -> dict[int, int]:
        """The seqs that are not settled, each with how often it failed."""
        return {seq: claim.tries for seq, claim in self._open.items()}

    def in_hand(self, token: int) -> int:
        """How many events the member has in hand."""
        return len(self._member(token).hand)

    def next_due(self) -> float | None:
        """When ``tick`` has something to do next, as far as that is known now."""
        times = [member.expires for member in self._members.values()]
        if self._retries:
            times.append(self._retries[0][0])
        return min(times, default=None)

    # --- members ------------------------------------------------------------------------

    def join(
        self, token: int, name: str, now: float, *, events: int, size: int, ttl: float
    ) -> None:
        """Let a member take part.

        Args:
            name: Decides which lanes are its own: stable, and its alone.
            events, size: Most events and bytes in hand; one event is always allowed.
            ttl: Seconds that its lease lasts after it was heard of.
        """
        self._members[token] = _Member(name, events, size, ttl, now + ttl)
        self._deal()

    def leave(self, token: int, now: float, *, failed: str | None = None) -> None:
        """End a membership: what it had in hand, and only that, goes back.

        Args:
            failed: Why it ended, if not in order. Then the oldest event in hand, which is
                the one that was being worked on, counts as failed.
        """
        member = self._member(token)
        hand = list(member.hand.values())
        blamed = hand[:1] if failed is not None else []
        self._put_back(member, hand[len(blamed) :])
        for claim in blamed:
            self._fail(member, claim, now, failed or "", None)
        del self._members[token]
        self._deal()

    def renew(self, token: int, now: float) -> None:
        """Count the member as alive."""
        member = self._member(token)
        member.expires = now + member.ttl

    def silent(self, now: float) -> list[int]:
        """The members whose leases have run out, for ``tick`` to end."""
        return [token for token, member in self._members.items() if member.expires <= now]

    def tick(self, now: float) -> list[int]:
        """End the leases that ran out, and let retries come that are due; the tokens ended."""
        ended = self.silent(now)
        for token in ended:
            self.leave(token, now, failed="its lease ran out")
        while self._retries and self._retries[0][0] <= now:
            due, key = heappop(self._retries)
            lane = self._lanes.get(key)
            if lane is not None and lane.due == due:
                lane.due = None
                self._make_ready(key, lane)
        return ended

    # --- reading ------------------------------------------------------------------------

    def is_hungry(self) -> bool:
        """Whether a member could take more than there is, and there is room to read on."""
        if not any(self._has_room(m) and not self._first(m) for m in self._members.values()):
            return False
        full = len(self._open) >= self._ahead_events or self._size >= self._ahead_bytes
        if full and not self._stalled:
            self.stalls += 1
        self._stalled = full
        return not full

    def offer(self, claims: Iterable[Claim], upto: int) -> None:
        """Take over what was read, in order of seq, up to seq *upto*."""
        for claim in claims:
            self._open[claim.seq] = claim
            self._size += len(claim.data)
            if claim.tries >= self.most_tries:
                self.exhausted[claim.seq] = claim
                continue
            lane = self._lanes.get(claim.lane)
            if lane is None:
                lane = self._lanes[claim.lane] = _Lane(owner=self._owner(claim.lane))
            lane.waiting.append(claim)
            if len(lane.waiting) == 1:
                self._make_ready(claim.lane, lane)
        self.read = max(self.read, upto)

    # --- working ------------------------------------------------------------------------

    def can_take(self, token: int) -> bool:
        """Whether ``take`` would give something."""
        member = self._member(token)
        claim = self._first(member)
        return claim is not None and self._fits(member, claim)

    def take(self, token: int, now: float, limit: int) -> list[Claim]:
        """Hand out the next events, oldest first, as many as the window has room for."""
        member = self._member(token)
        member.expires = now + member.ttl
        taken: list[Claim] = []
        while len(taken) < limit:
            claim = self._first(member)
            if claim is None or not self._fits(member, claim):
                break
            heappop(member.ready)
            self._hand_out(member, claim)
            taken.append(claim)
        return taken

    def ack(self, token: int, seq: int, now: float) -> int:
        """Settle *seq* and all that the member was handed before it; how many that were.

        What it doesn't have in hand (any more) is none of its business: 0.

        Raises:
            BadRequest: It was never handed anything that far.
        """
        member = self._member(token)
        member.expires = now + member.ttl
        if not self._holds(member, seq):
            return 0
        settled: list[Claim] = []
        for claim in member.hand.values():
            settled.append(claim)
            if claim.seq == seq:
                break
        for claim in settled:
            self._settle(member, claim)
        return len(settled)

    def ack_one(self, token: int, seq: int, now: float) -> bool:
        """Settle *seq* alone; False if it isn't in hand (any more).

        Raises:
            BadRequest: It was never handed anything that far.
        """
        member = self._member(token)
        member.expires = now + member.ttl
        if not self._holds(member, seq):
            return False
        self._settle(member, member.hand[seq])
        return True

    def has(self, token: int, seq: int) -> bool:
        """Whether *seq* is in the member's hand."""
        return seq in self._member(token).hand

    def nack(
        self, token: int, seq: int, now: float, *, reason: str, delay: float | None = None
    ) -> bool:
        """Count *seq* as failed: it comes again, after a while; False if it isn't in hand.

        Later events of its lane go back too, and come after it.

        Args:
            delay: Seconds; None for 1 s, doubled with each failure, 60 s at most.

        Raises:
            BadRequest: It was never handed anything that far.
        """
        member = self._member(token)
        member.expires = now + member.ttl
        if not self._holds(member, seq):
            return False
        claim = member.hand[seq]
        later = [c for c in member.hand.values() if c.lane == claim.lane and c.seq > seq]
        self._put_back(member, later)
        self._fail(member, claim, now, reason, delay)
        return True

    def give_back(self, token: int) -> None:
        """Return all that the member has in hand; it counts as no failure."""
        member = self._member(token)
        self._put_back(member, list(member.hand.values()))

    def settle(self, seq: int) -> None:
        """Be done with an exhausted event."""
        claim = self.exhausted.pop(seq, None)
        if claim is not None:
            self._forget(claim)

    def forget(self, seqs: Iterable[int]) -> int:
        """Let go of those of *seqs* that are in nobody's hand, unhandled; how many those were.

        The others are let go of when they come back.
        """
        gone = 0
        for seq in seqs:
            claim = self._open.get(seq)
            if claim is None:
                continue
            if any(seq in member.hand for member in self._members.values()):
                claim.is_gone = True
                continue
            if self.exhausted.pop(seq, None) is None:
                lane = self._lanes[claim.lane]
                lane.waiting.remove(claim)
                self._make_ready(claim.lane, lane)
                if not lane.waiting and lane.out == 0:
                    del self._lanes[claim.lane]
            self._forget(claim)
            gone += 1
        return gone

    # --- inside: members ----------------------------------------------------------------

    def _member(self, token: int) -> _Member:
        member = self._members.get(token)
        if member is None:
            raise LeaseLost(f"token {token} holds no lease (any more)", value=token)
        return member

    def _holds(self, member: _Member, seq: int) -> bool:
        if seq > member.last:
            raise BadRequest(
                f"seq {seq} was never handed to this holder, the last was {member.last}",
                value=seq,
            )
        return seq in member.hand

    def _has_room(self, member: _Member) -> bool:
        return len(member.hand) < member.events and member.in_hand < member.size

    def _fits(self, member: _Member, claim: Claim) -> bool:
        if not member.hand:
            return True
        size = member.in_hand + len(claim.data)
        return len(member.hand) < member.events and size <= member.size

    def _owner(self, lane: str) -> _Member | None:
        """Rendezvous hashing: whoever weighs most together with *lane*."""
        if len(self._members) == 1:
            return next(iter(self._members.values()))
        return max(self._members.values(), key=lambda m: weight(m.name, lane), default=None)

    def _deal(self) -> None:
        """Give every lane to its owner anew."""
        for member in self._members.values():
            member.ready.clear()
        for key, lane in self._lanes.items():
            lane.owner = self._owner(key)
            self._make_ready(key, lane)

    # --- inside: lanes ------------------------------------------------------------------

    def _first(self, member: _Member) -> Claim | None:
        """The oldest event that *member* could take, were there room."""
        while member.ready:
            seq, key = member.ready[0]
            lane = self._lanes.get(key)
            if lane is not None and self._is_ready(lane) and lane.owner is member:
                claim = lane.waiting[0]
                if claim.seq == seq:
                    return claim
            heappop(member.ready)
        return None

    def _is_ready(self, lane: _Lane) -> bool:
        free = lane.holder is None or lane.holder is lane.owner
        return bool(lane.waiting) and lane.due is None and free

    def _make_ready(self, key: str, lane: _Lane) -> None:
        if lane.owner is not None and self._is_ready(lane):
            heappush(lane.owner.ready, (lane.waiting[0].seq, key))

    def _hand_out(self, member: _Member, claim: Claim) -> None:
        lane = self._lanes[claim.lane]
        lane.waiting.popleft()
        lane.holder = member
        lane.out += 1
        member.hand[claim.seq] = claim
        member.in_hand += len(claim.data)
        member.last = max(member.last, claim.seq)
        self._make_ready(claim.lane, lane)

    def _let_go(self, member: _Member, claim: Claim) -> _Lane:
        del member.hand[claim.seq]
        member.in_hand -= len(claim.data)
        lane = self._lanes[claim.lane]
        lane.out -= 1
        if lane.out == 0:
            lane.holder = None
        return lane

    def _settle(self, member: _Member, claim: Claim) -> None:
        self._let_go(member, claim)
        self._tidy(claim.lane, member)
        self._forget(claim)

    def _put_back(self, member: _Member, claims: Iterable[Claim]) -> None:
        """Let *claims* wait again, before all others of their lanes; the newest first."""
        lanes: dict[str, _Lane] = {}
        for claim in reversed(list(claims)):
            lane = lanes[claim.lane] = self._let_go(member, claim)
            if claim.is_gone:
                self._forget(claim)
            else:
                lane.waiting.appendleft(claim)
        for key, lane in lanes.items():
            if lane.waiting or lane.out:
                self._make_ready(key, lane)
            else:
                del self._lanes[key]

    def _fail(
        self, member: _Member, claim: Claim, now: float, reason: str, delay: float | None
    ) -> None:
        """Let *claim* wait for its retry, and its lane with it; or it is exhausted."""
        lane = self._let_go(member, claim)
        if claim.is_gone:
            self._forget(claim)
            self._tidy(claim.lane, member)
            return
        claim.tries += 1
        claim.reason = reason
        if claim.tries >= self.most_tries:
            self.exhausted[claim.seq] = claim
            self._tidy(claim.lane, member)
            return
        lane.waiting.appendleft(claim)
        due = now + (backoff(claim.tries) if delay is None else delay)
        lane.due = due if lane.due is None else max(due, lane.due)
        heappush(self._retries, (lane.due, claim.lane))

    def _tidy(self, key: str, member: _Member) -> None:
        """After an event of lane *key* has left it."""
        lane = self._lanes[key]
        if not lane.waiting and lane.out == 0:
            del self._lanes[key]
        elif lane.out == 0 and lane.owner is not member:
            self._make_ready(key, lane)

    def _forget(self, claim: Claim) -> None:
        del self._open[claim.seq]
        self._size -= len(claim.data)


def backoff(tries: int) -> float:
    """Seconds before the next try after so many failures."""
    return min(BACKOFF_S * 2.0 ** (tries - 1), BACKOFF_MOST_S)


def weight(member: str, lane: str) -> bytes:
    """What rendezvous hashing compares: the same in every process and at all times."""
    return blake2b(f"{member}\0{lane}".encode(), digest_size=8).digest()
