"""One durable subscription: reads the log through an ordinary subscription, for its holders.

While it has holders, ``Claims`` knows who has which event; without any, all that stays is
what the store keeps (``Kept``), and the events that were not settled are read anew when
somebody comes. So a restart and a pause are the same code.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec

from antiphon.bus.access import SYSTEM, Access, Principal
from antiphon.bus.batch import Slice
from antiphon.bus.claims import Claim, Claims
from antiphon.bus.notices import BusNotice, Gap, Reset
from antiphon.bus.own_events import DLQ, parked
from antiphon.bus.position import resolve
from antiphon.bus.store import StoreCorrupt, Stored, StoreUnavailable
from antiphon.bus.subscription import SLICE_EVENTS, Subscription
from antiphon.bus.terms import Kept, Stop, Terms, check_seconds
from antiphon.bus.topics import matches
from antiphon.errors import (
    BadRequest,
    BusError,
    DurableStopped,
    Forbidden,
    IdConflict,
    LeaseHeld,
    LeaseLost,
    Overloaded,
    StorageUnavailable,
    cut,
    redacted,
)
from antiphon.messages import Event, Published

if TYPE_CHECKING:
    from antiphon.actors import TimerHandle
    from antiphon.bus.durables import Durables
    from antiphon.bus.log import Log

logger = logging.getLogger(__name__)

RETRY_S = 1.0
"""Before reading or parking is tried again."""
SLICES = 8
"""Most slices read in one go, so that nothing holds up the loop."""
REASON_CHARS = 500

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Event).decode


class Lease:
    """One holder's part in a durable subscription, as long as it lasts.

    Reading is a pull: ``take`` gives events, a notice, or None; after None, *on_ready* is
    called once when there is something again, or when the lease was lost.

    Attributes:
        token: Grows with every lease of this subscription; fences off earlier holders.
        lost: Why the lease ended; None while it lasts. From then on every method but
            ``release`` raises it.
    """

    def __init__(
        self,
        durable: Durable,
        token: int,
        member: str,
        principal: Principal,
        on_ready: Callable[[], None],
    ) -> None:
        self._durable = durable
        self.token = token
        self.member = member
        self.principal = principal
        self.lost: BusError | None = None
        self.is_idle = False
        self._on_ready = on_ready

    @property
    def name(self) -> str:
        """The subscription's."""
        return self._durable.name

    @property
    def patterns(self) -> tuple[str, ...]:
        """The subscription's."""
        return self._durable.kept.patterns

    @property
    def position(self) -> int:
        """Everything up to this seq is settled, by whomever."""
        return self._durable.position

    @property
    def in_hand(self) -> int:
        """How many events this holder has."""
        return 0 if self.lost is not None else self._durable.in_hand_of(self)

    def take(self, limit: int = SLICE_EVENTS) -> list[Claim] | BusNotice | None:
        """The next events for this holder, which it has in hand from now on."""
        self._check()
        self.is_idle = False
        taken = self._durable.take(self, limit)
        self.is_idle = taken is None
        return taken

    def ack(self, seq: int) -> int:
        """Be done with *seq* and all that this holder was given before it; see ``Claims.ack``."""
        self._check()
        return self._durable.ack(self, _check_seq(seq))

    def ack_one(self, seq: int) -> bool:
        """Be done with *seq* alone; see ``Claims.ack_one``."""
        self._check()
        return self._durable.ack_one(self, _check_seq(seq))

    def has(self, seq: int) -> bool:
        """Whether *seq* is in this holder's hand."""
        return self.lost is None and self._durable.has(self, seq)

    def nack(self, seq: int, *, reason: str = "refused", delay: float | None = None) -> bool:
        """Have *seq* come again after *delay* seconds; see ``Claims.nack``."""
        self._check()
        if delay is not None:
            check_seconds("delay", delay)
        why = redacted(cut(reason, REASON_CHARS))
        return self._durable.nack(self, _check_seq(seq), why, delay)

    def give_back(self) -> None:
        """Return what is in hand; it comes again, and counts as no failure."""
        self._check()
        self._durable.give_back(self)

    def renew(self) -> None:
        """Say that this holder is alive; every other method says so too."""
        self._check()
        self._durable.renew(self)

    def release(self, *, failed: str | None = None) -> None:
        """End the lease; what is in hand goes back at once. Idempotent.

        Args:
            failed: Why, if the oldest event in hand is to blame; it counts as failed.
        """
        if self.lost is None:
            lost = LeaseLost(f"the lease of {self.name} was released", value=self.token)
            self._durable.end(self, lost, failed=failed)

    def wake(self) -> None:
        """Call ``on_ready`` if that is owed."""
        if self.is_idle:
            self.is_idle = False
            self._on_ready()

    def _check(self) -> None:
        if self.lost is not None:
            raise self.lost.with_traceback(None)


class Durable:
    """A name, its terms and position, and whoever holds it now.

    Args:
        table: Keeps it, tells it the time, and is told when it changed.
    """

    def __init__(self, table: Durables, name: str, kept: Kept) -> None:
        self.name = name
        self.kept = kept
        self.leases: dict[int, Lease] = {}
        self._table = table
        self._log = table.log
        self._claims: Claims | None = None
        self._subscription: Subscription | None = None
        self._loading: asyncio.Task[None] | None = None
        self._notices: deque[BusNotice] = deque()
        self._scheduled = False
        self._timer: TimerHandle | None = None
        self._timer_due = float("inf")
        self._parking: set[int] = set()
        self._park_timers: dict[int, TimerHandle] = {}

    # --- facts --------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """Everything up to this seq is settled."""
        claims, subscription = self._claims, self._subscription
        if claims is not None and subscription is not None and self._loading is None:
            floor = claims.floor
            return floor if floor < claims.read else max(floor, subscription.position)
        unsettled = self.kept.unsettled
        return min(unsettled) - 1 if unsettled else self._start()

    @property
    def waiting(self) -> int:
        """How many events were read and are in nobody's hand."""
        if self._claims is not None and self._loading is None:
            return self._claims.waiting
        return len(self.kept.unsettled)

    @property
    def in_hand(self) -> int:
        """How many events holders have in hand."""
        claims = self._claims
        return 0 if claims is None else sum(claims.in_hand(token) for token in self.leases)

    @property
    def stalls(self) -> int:
        """How often reading had to wait since somebody came, as too much was unsettled."""
        return 0 if self._claims is None else self._claims.stalls

    def data(self) -> bytes:
        """What the store keeps of it, as JSON."""
        self._update()
        return _encode(self.kept)

    # --- holders ------------------------------------------------------------------------

    def attach(
        self,
        member: str,
        principal: Principal,
        on_ready: Callable[[], None],
        *,
        terms: Terms,
        ttl: float,
    ) -> Lease:
        """A new lease; whether *principal* may have one was asked before.

        Raises:
            LeaseHeld: There is no room for another holder, or one has this name.
            DurableStopped: It stands still.
        """
        self._tick()  # which may stop it
        if self.kept.stop is not None:
            raise self._stopped(self.kept.stop)
        self._check_room(member, terms.members)
        self.kept.terms = terms
        self.kept.token += 1
        lease = Lease(self, self.kept.token, member, principal, on_ready)
        claims = self._begin() if self._claims is None else self._claims
        claims.most_tries = terms.tries
        claims.join(
            lease.token,
            member,
            self._now(),
            events=terms.window_events,
            size=terms.window_bytes,
            ttl=ttl,
        )
        self.leases[lease.token] = lease
        self._changed()
        return lease

    def _check_room(self, member: str, most: int) -> None:
        held = [f"{lease.member} ({lease.principal.name})" for lease in self.leases.values()]
        if any(lease.member == member for lease in self.leases.values()):
            raise LeaseHeld(f"{member} holds a lease of {self.name} already", value=member)
        if len(held) >= most:
            raise LeaseHeld(
                f"{self.name} is held by {held[0]}, and has room for {most} in all",
                value=self.name,
                limit=most,
            )

    def end(self, lease: Lease, why: BusError, *, failed: str | None = None) -> None:
        """End *lease*, for the reason that its holder will hear."""
        lease.lost = why
        self.leases.pop(lease.token, None)
        if self._claims is not None:
            self._claims.leave(lease.token, self._now(), failed=failed)
        self._after_leave()
        lease.wake()

    def end_all(self, why: BusError) -> None:
        """End every lease, for one reason."""
        for lease in list(self.leases.values()):
            self.end(lease, why)

    def revoke(self, principal: str, access: Access | None) -> int:
        """End the leases of *principal* that *access* doesn't cover; how many that were."""
        if access is not None and all(access.may_hold(p) for p in self.kept.patterns):
            return 0
        lost = [lease for lease in self.leases.values() if lease.principal.name == principal]
        for lease in lost:
            why = f"{principal} lost the right to {self.name}"
            self.end(lease, LeaseLost(why, value=lease.token))
        return len(lost)

    def resume(self, *, skip: bool) -> bool:
        """Go on after a stop, with the event that failed or (*skip*) after it; False: no stop."""
        stop, self.kept.stop = self.kept.stop, None
        if stop is None:
            return False
        if skip:
            self.kept.unsettled.pop(stop.seq, None)
        elif stop.seq in self.kept.unsettled:
            self.kept.unsettled[stop.seq] = 0
        self._table.touch(self.name)
        return True

    def forget(self, seqs: Iterable[int]) -> None:
        """See ``Durables.forget``."""
        if self._claims is not None and self._loading is None:
            gone = self._claims.forget(seqs)
            self._park_no_more()
        else:
            unsettled = self.kept.unsettled
            gone = sum(unsettled.pop(seq, None) is not None for seq in seqs)
        if gone:
            self.kept.lost += gone
            self._changed()

    # --- what leases ask ----------------------------------------------------------------

    def take(self, lease: Lease, limit: int) -> list[Claim] | BusNotice | None:
        """See ``Lease.take``."""
        assert self._claims is not None
        notice = self._notice()
        if notice is not None:
            return notice
        taken = self._claims.take(lease.token, self._now(), limit)
        if not taken:
            self._pump()
            self._wake()  # what was read may be the others'
            if lease.lost is not None:
                raise lease.lost
            notice = self._notice()
            if notice is not None:
                return notice
            taken = self._claims.take(lease.token, self._now(), limit)
        return taken or None

    def ack(self, lease: Lease, seq: int) -> int:
        """See ``Lease.ack``."""
        assert self._claims is not None
        settled = self._claims.ack(lease.token, seq, self._now())
        if settled:
            self._changed()
        return settled

    def ack_one(self, lease: Lease, seq: int) -> bool:
        """See ``Lease.ack_one``."""
        assert self._claims is not None
        done = self._claims.ack_one(lease.token, seq, self._now())
        if done:
            self._changed()
        return done

    def has(self, lease: Lease, seq: int) -> bool:
        """See ``Lease.has``."""
        assert self._claims is not None
        return self._claims.has(lease.token, seq)

    def in_hand_of(self, lease: Lease) -> int:
        """See ``Lease.in_hand``."""
        assert self._claims is not None
        return self._claims.in_hand(lease.token)

    def nack(self, lease: Lease, seq: int, reason: str, delay: float | None) -> bool:
        """See ``Lease.nack``."""
        assert self._claims is not None
        done = self._claims.nack(lease.token, seq, self._now(), reason=reason, delay=delay)
        if done:
            self._changed()
        return done

    def give_back(self, lease: Lease) -> None:
        """See ``Lease.give_back``."""
        assert self._claims is not None
        self._claims.give_back(lease.token)
        self._changed()

    def renew(self, lease: Lease) -> None:
        """See ``Lease.renew``."""
        assert self._claims is not None
        self._claims.renew(lease.token, self._now())

    # --- beginning and pausing ----------------------------------------------------------

    def _begin(self) -> Claims:
        """Read on where it was left."""
        kept = self.kept
        start = resolve(kept.cursor, self._log.epochs, self._log.head)
        if start.reset is not None:
            logger.warning("the durable subscription %s was reset: %s", self.name, start.reset)
            kept.unsettled = {s: n for s, n in kept.unsettled.items() if s <= start.position}
        self._subscription = self._log.subscribe(
            self.name, kept.patterns, SYSTEM.access, kept.cursor, self._schedule, ephemeral=None
        )
        self._claims = Claims(start.position, most_tries=kept.terms.tries)
        if kept.unsettled:
            self._loading = self._log.loop.create_task(self._load(self._claims))
        return self._claims

    def _pause(self) -> None:
        """Let go of everything but what is kept."""
        self._update()
        self.kept.used_us = self._table.now_us()
        if self._loading is not None:
            self._loading.cancel()
            self._loading = None
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None
        self._claims = None
        for timer in self._park_timers.values():
            timer.cancel()
        self._parking -= self._park_timers.keys()
        self._park_timers.clear()
        self._disarm()

    def _update(self) -> None:
        """Bring ``kept`` up to what is known now."""
        kept, claims = self.kept, self._claims
        if self.leases:
            kept.used_us = self._table.now_us()
        if claims is None or self._loading is not None:
            return
        if self._subscription is not None:
            claims.offer((), self._subscription.position)  # read, and not wanted
        kept.unsettled = claims.tries()
        kept.cursor = self._log.cursor(claims.read)
        kept.told = {topic: upto for topic, upto in kept.told.items() if upto > claims.read}

    def _start(self) -> int:
        return resolve(self.kept.cursor, self._log.epochs, self._log.head).position

    async def _load(self, claims: Claims) -> None:
        """Read again what was not settled when it was left; what is gone is lost."""
        wanted, seqs = self.kept.unsettled, tuple(self.kept.unsettled)
        while True:
            try:
                rows = await self._log.pages.run(lambda reader: reader.get(seqs))
                break
            except (StoreUnavailable, StoreCorrupt) as error:
                logger.warning("reading events of %s failed: %s; trying again", self.name, error)
                await asyncio.sleep(RETRY_S)
        self._loading = None
        claims.offer([_again(row, wanted[row.seq]) for row in rows if row.seq in wanted], 0)
        self._miss(wanted.keys() - {row.seq for row in rows})
        self._changed()

    def _miss(self, gone: set[int]) -> None:
        """Unsettled events are not there any more; those that were trimmed make a gap."""
        self.kept.lost += len(gone)
        upto = max(trimmed_past(self._log, self.kept.patterns, 0).values(), default=0)
        trimmed = [seq for seq in gone if seq <= upto]  # the others were compacted or forgotten
        if trimmed:
            self.kept.miss(min(trimmed), max(trimmed))

    # --- reading ------------------------------------------------------------------------

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._log.call_soon(self._pump_later)

    def _pump_later(self) -> None:
        self._scheduled = False
        self._pump()
        self._wake()

    def _pump(self) -> None:
        """Read on while a holder could take more than there is."""
        for _ in range(SLICES):
            claims, subscription = self._claims, self._subscription
            if claims is None or subscription is None or self._loading is not None:
                return
            if not claims.is_hungry():
                break
            taken = subscription.take()
            if taken is None:
                break
            self._read(claims, taken)
        else:
            self._schedule()
        self._end_exhausted()

    def _read(self, claims: Claims, taken: Slice | BusNotice) -> None:
        if isinstance(taken, Slice):
            if not taken.ephemeral:
                found = zip(taken.events, taken.data, taken.seqs, strict=True)
                offered = [Claim(seq, _lane(event), event, data) for event, data, seq in found]
                claims.offer(offered, taken.upto)
        elif isinstance(taken, Gap):
            told = self.kept.told
            past = trimmed_past(self._log, self.kept.patterns, claims.read)
            fresh = {topic: upto for topic, upto in past.items() if upto > told.get(topic, 0)}
            if fresh:
                told.update(fresh)
                self.kept.miss(taken.first, max(fresh.values()))
                self._table.touch(self.name)
        elif isinstance(taken, Reset):
            self._notices.append(taken)

    def _notice(self) -> BusNotice | None:
        if self._notices:
            return self._notices.popleft()
        gap = self.kept.gap
        if gap is None:
            return None
        self.kept.gap = None
        self._table.touch(self.name)
        return Gap(self.name, *gap, self._log.cursor(self.position))

    # --- after each change --------------------------------------------------------------

    def _changed(self) -> None:
        self._table.touch(self.name)
        self._end_exhausted()
        self._wake()
        self._arm()
        claims = self._claims
        if claims is not None and claims.is_hungry() and self._anybody_waits():
            self._schedule()

    def _anybody_waits(self) -> bool:
        return any(lease.is_idle for lease in self.leases.values())

    def _after_leave(self) -> None:
        if self._claims is not None:
            self._end_exhausted()
        if not self.leases and self._claims is not None:
            self._pause()
        self._changed()

    def _wake(self) -> None:
        """Call whoever waits and could have something; a hungry one reads on itself."""
        claims = self._claims
        if claims is None:
            return
        told = bool(self._notices) or self.kept.gap is not None
        for lease in list(self.leases.values()):
            if lease.is_idle and (told or claims.can_take(lease.token)):
                lease.wake()

    def _end_exhausted(self) -> None:
        """Park what failed too often, or stop at it."""
        claims = self._claims
        if claims is None or self.kept.stop is not None:
            return
        for seq in sorted(claims.exhausted.keys() - self._parking):
            claim = claims.exhausted[seq]
            if self.kept.terms.on_exhausted == "stop":
                self._stop(claim)
                return
            self._park(claim)

    # --- time ---------------------------------------------------------------------------

    def _now(self) -> float:
        return self._table.clock.now()

    def _arm(self) -> None:
        """Have ``_tick`` called when the next lease runs out or the next retry is due."""
        due = None if self._claims is None else self._claims.next_due()
        if due is not None and due < self._timer_due:
            self._disarm()
            self._timer_due = due
            delay = due - self._now()
            self._timer = self._table.clock.call_later(delay, self._due)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._timer_due = float("inf")

    def _due(self) -> None:
        self._disarm()
        self._tick()
        self._wake()
        self._arm()

    def _tick(self) -> None:
        claims = self._claims
        if claims is None:
            return
        now = self._now()
        for token in claims.silent(now):
            lease = self.leases[token]
            if lease.is_idle:  # told to wait; if it lives, it asks again
                claims.renew(token, now)
                lease.wake()
        ended = claims.tick(now)
        for token in ended:
            lease = self.leases.pop(token)
            why = f"the lease of {self.name} ran out: nothing was heard of its holder"
            lease.lost = LeaseLost(why, value=token)
            logger.warning("%s", why)
            lease.wake()
        if ended:
            self._after_leave()

    # --- events that fail too often -----------------------------------------------------

    def _stop(self, claim: Claim) -> None:
        stop = self.kept.stop = Stop(claim.seq, claim.reason)
        logger.error("%s", self._stopped(stop))
        self._table.tell(self.name, "stopped", {"seq": stop.seq, "reason": stop.reason})
        self.end_all(self._stopped(stop))

    def _stopped(self, stop: Stop) -> DurableStopped:
        return DurableStopped(
            f"{self.name} stands still at seq {stop.seq}, which failed too often: {stop.reason};"
            " resume it",
            seq=stop.seq,
        )

    def _park(self, claim: Claim) -> None:
        """Publish *claim* to the dead letters, then settle it."""
        self._park_timers.pop(claim.seq, None)
        self._parking.add(claim.seq)
        if claim.event.topic.startswith(f"{DLQ}."):  # it is there already
            self._parked(claim, None)
            return
        future: asyncio.Future[Published] = self._log.loop.create_future()
        try:
            self._log.put(parked(self.name, claim, future), remote=False)
        except (Overloaded, StorageUnavailable) as error:
            self._parked(claim, error)
            return
        future.add_done_callback(lambda done: self._parked(claim, done.exception()))

    def _park_no_more(self) -> None:
        """Call off what waits to be parked anew and was forgotten meanwhile."""
        exhausted = {} if self._claims is None else self._claims.exhausted
        for seq in self._park_timers.keys() - exhausted.keys():
            self._park_timers.pop(seq).cancel()
            self._parking.discard(seq)

    def _parked(self, claim: Claim, error: BaseException | None) -> None:
        if error is not None and not isinstance(error, IdConflict):  # that is: parked before
            logger.warning("parking seq %d of %s failed: %s", claim.seq, self.name, error)
            if self._claims is None:
                self._parking.discard(claim.seq)
            else:
                timer = self._table.clock.call_later(RETRY_S, self._park, claim)
                self._park_timers[claim.seq] = timer
            return
        self._parking.discard(claim.seq)
        if self._claims is not None:
            self._claims.settle(claim.seq)
        self.kept.unsettled.pop(claim.seq, None)
        self.kept.parked += 1
        logger.warning(
            "%s parked seq %d after %d tries: %s", self.name, claim.seq, claim.tries, claim.reason
        )
        self._changed()


def trimmed_past(log: Log, patterns: tuple[str, ...], position: int) -> dict[str, int]:
    """The topics that *patterns* match and that were trimmed past *position*: up to where."""
    return {
        topic: state.trimmed_upto
        for topic, state in log.topics.items()
        if state.trimmed_upto > position and any(matches(pattern, topic) for pattern in patterns)
    }


def _check_seq(seq: object) -> int:
    if type(seq) is not int:
        raise BadRequest(f"a seq is an integer, got {cut(seq)}", value=seq)
    return seq


def _again(row: Stored, tries: int) -> Claim:
    event = _decode(row.data)
    return Claim(row.seq, _lane(event), event, row.data, tries)


def _lane(event: Event) -> str:
    """What keeps its order: the events of one key, or of one topic."""
    return event.topic if event.key is None else event.key


def check_right(principal: Principal, name: str, patterns: tuple[str, ...]) -> None:
    """Whether *principal* may hold a durable subscription to *patterns*.

    Raises:
        Forbidden: One is not covered by what it may see, or meets what it may not.
    """
    for pattern in patterns:
        if not principal.access.may_hold(pattern):
            raise Forbidden(
                f"{principal.name} may not hold {name}: {pattern} is not covered whole",
                value=pattern,
            )
