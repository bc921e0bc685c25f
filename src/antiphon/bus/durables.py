"""The table of durable subscriptions: makes, finds, keeps and ends them.

A plain object of the log, so it outlives the EventBusActor, and no call into it waits for
a mailbox. What changed is saved by the writer's thread between batches, at most every
100 ms; new names and new fencing tokens before they are handed out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from antiphon.actors import Clock, RealClock
from antiphon.bus.access import SYSTEM, Access, Principal
from antiphon.bus.durable import Durable, Lease, check_right, trimmed_past
from antiphon.bus.event_rules import check_text
from antiphon.bus.index import PatternIndex
from antiphon.bus.own_events import news
from antiphon.bus.position import resolve
from antiphon.bus.store import StoreCorrupt, StoreUnavailable
from antiphon.bus.terms import Kept, Terms, check_name, check_seconds
from antiphon.errors import (
    BadRequest,
    Forbidden,
    LeaseLost,
    NotFound,
    Overloaded,
    StorageUnavailable,
    SubscriptionReset,
)
from antiphon.messages import DurableInfo

if TYPE_CHECKING:
    from antiphon.actors import TimerHandle
    from antiphon.bus.log import Log

logger = logging.getLogger(__name__)

SAVE_S = 0.1
"""Shortest time between two saves; what was acknowledged since the last may come again."""
SAVE_AGAIN_S = 1.0
SAVE_WITHIN_S = 10.0
"""Longest wait for a save, as while the writer has no owner."""
LEASE_S = 30.0
UNUSED_S = 30 * 86400.0
SWEEP_S = 3600.0
JUMP_S = 86400.0
"""A clock that has gone further than it should have by this much is not believed."""
DURABLES = 1000
OWNED = 100
"""Most of one owner, unless it is an admin: nobody takes all the places."""
SNAPSHOT = 10_000
"""Most topics that a durable subscription can start with the last event of."""


class Durables:
    """All durable subscriptions of one log.

    Args:
        lease: Seconds that a holder may be silent with nothing to wait for.
        unused: Seconds without a holder after which a subscription expires.
        wall: Seconds since 1970.

    Attributes:
        counters: ``saves``, ``save_failures``, ``expired``, ``refused`` (over the bound).
    """

    def __init__(
        self,
        log: Log,
        *,
        clock: Clock | None = None,
        wall: Callable[[], float] = time.time,
        lease: float = LEASE_S,
        unused: float = UNUSED_S,
    ) -> None:
        self.log = log
        self.clock: Clock = RealClock() if clock is None else clock
        self.wall = wall
        self.lease = lease
        self.unused = unused
        self.counters = {"saves": 0, "save_failures": 0, "expired": 0, "refused": 0}
        self._held: dict[str, Durable] = {}
        self._index: PatternIndex[Durable] = PatternIndex()
        self._dirty: set[str] = set()
        self._one_save = asyncio.Lock()
        self._save_timer: TimerHandle | None = None
        self._save_task: asyncio.Task[None] | None = None
        self._sweep_timer: TimerHandle | None = None
        self._swept = (0.0, 0.0)
        self._closed = False

    # --- life ---------------------------------------------------------------------------

    def restore(self, subs: dict[str, bytes]) -> None:
        """Take up what the store kept. What can't be read is told, and left as it is."""
        for name, data in subs.items():
            try:
                kept = msgspec.json.decode(data, type=Kept)
            except msgspec.DecodeError as error:
                logger.error("the durable subscription %s can't be read: %s", name, error)
            else:
                self._add(Durable(self, name, kept))
        self._swept = (self.clock.now(), self.wall())
        self._sweep()

    def close(self) -> None:
        """End every lease, and give the last save to the writer; its closing waits for that."""
        if self._closed:
            return
        self._closed = True
        for timer in (self._save_timer, self._sweep_timer):
            if timer is not None:
                timer.cancel()
        for durable in self._held.values():
            durable.end_all(LeaseLost(f"the log ends, and with it the lease of {durable.name}"))
        changed = {name: durable.data() for name, durable in self._held.items()}
        changed |= dict.fromkeys(self._dirty - changed.keys())  # type: ignore[arg-type]
        if changed:
            saved = self.log.in_writer(lambda: self.log.store.save_subs(changed))
            saved.add_done_callback(_told)

    # --- what the bus asks --------------------------------------------------------------

    async def attach(
        self,
        name: str,
        patterns: tuple[str, ...],
        *,
        terms: Callable[[Terms], Terms],
        start: str | int,
        principal: Principal,
        member: str,
        on_ready: Callable[[], None],
        ttl: float | None = None,
    ) -> Lease:
        """A lease of *name*, which is made if it isn't there. Patterns are checked already.

        Args:
            patterns: Those that it has, or none to take them as they are.
            terms: What the caller wants of them, from what they are.
            member: The holder's name, which decides its lanes in a group.
            ttl: Seconds, as ``lease``.

        Raises:
            BadRequest: *name* is no name, or has other patterns; it is a group and the
                terms want one holder, or the other way round; *start* is no start.
            NotFound: Without patterns nothing is made.
            Forbidden: It is somebody else's, or reaches further than *principal*.
            LeaseHeld, DurableStopped: See ``Durable.attach``.
            SubscriptionReset: *start* is of another history.
            Overloaded: There are 1,000 already, or 100 of one owner who is no admin.
            StorageUnavailable: The disk takes nothing now.
        """
        check_name(name)
        check_text("member", member)
        ttl = self.lease if ttl is None else check_seconds("lease", ttl)
        self._check_open()
        durable = self._held.get(name)
        made = durable is None
        if durable is None:
            wanted = terms(Terms())
            durable = self._make(name, patterns, wanted, start, principal)
        else:
            wanted = terms(durable.kept.terms)
            self._check_same(durable, patterns, wanted, principal)
        lease = durable.attach(member, principal, on_ready, terms=wanted, ttl=ttl)
        try:
            await self.save()
        except BaseException:
            lease.release()
            if made and not durable.leases and self._held.get(name) is durable:
                self._remove(durable)
            raise
        return lease

    async def drop(self, name: str, *, principal: Principal = SYSTEM) -> None:
        """Forget *name* for good; its holders lose their leases.

        Raises:
            NotFound, Forbidden: It isn't there, or is somebody else's.
            StorageUnavailable: It is dropped, but kept on disk until that takes writes.
        """
        self._check_open()
        durable = self._find(name, principal)
        self._remove(durable)
        durable.end_all(LeaseLost(f"{name} was dropped", value=name))
        await self.save()

    async def resume(self, name: str, *, skip: bool = False, principal: Principal = SYSTEM) -> bool:
        """Let *name* go on after it stopped; False if it had not.

        Args:
            skip: Go on after the event that failed; otherwise it is tried anew.

        Raises:
            NotFound, Forbidden, StorageUnavailable: As ``drop``.
        """
        resumed = self._find(name, principal).resume(skip=skip)
        await self.save()
        return resumed

    def revoke(self, principal: str, access: Access | None = None) -> int:
        """End *principal*'s leases that *access* (None: none at all) doesn't cover; how many."""
        return sum(durable.revoke(principal, access) for durable in list(self._held.values()))

    def settled(self, topic: str) -> int | None:
        """Up to which seq no durable subscription needs *topic*; None if none reads it."""
        return min((durable.position for durable in self._index.lookup(topic)), default=None)

    def forget(self, seqs: Iterable[int]) -> None:
        """Let go of these events, which are being removed for good, where nobody has them yet."""
        wanted = tuple(seqs)
        for durable in self._held.values():
            durable.forget(wanted)

    def infos(self) -> list[DurableInfo]:
        """All of them, by name."""
        return [self._info(durable) for _, durable in sorted(self._held.items())]

    # --- what a durable asks ------------------------------------------------------------

    def touch(self, name: str) -> None:
        """Save *name* soon."""
        self._dirty.add(name)
        if self._save_timer is None and not self._closed:
            self._save_timer = self.clock.call_later(SAVE_S, self._save_soon)

    def tell(self, name: str, what: str, payload: dict[str, Any]) -> None:
        """Publish ``_sys.durables.NAME.WHAT``; a log that refuses is no error here."""
        try:
            self.log.put(news(f"_sys.durables.{name}.{what}", payload), remote=False)
        except (Overloaded, StorageUnavailable) as error:
            logger.warning("the news that %s %s were refused: %s", name, what, error)

    def now_us(self) -> int:
        """Microseconds since 1970."""
        return round(self.wall() * 1_000_000)

    # --- saving -------------------------------------------------------------------------

    async def save(self) -> None:
        """Wait until all that changed so far is kept.

        Raises:
            StorageUnavailable: The disk refuses; it stays to be saved.
        """
        async with self._one_save:
            names, self._dirty = self._dirty, set()
            if not names:
                return
            try:
                await self._save(names)
            except BaseException:
                self._dirty |= names
                raise

    async def _save(self, names: set[str]) -> None:
        changed: dict[str, bytes | None] = dict.fromkeys(names)
        changed |= {n: self._held[n].data() for n in names if n in self._held}
        status = self.log.status
        try:
            if status.state not in ("ok", "parked"):
                raise StoreUnavailable(status.message or status.state)
            async with asyncio.timeout(SAVE_WITHIN_S):
                await self.log.in_writer(lambda: self.log.store.save_subs(changed))
        except (StoreUnavailable, StoreCorrupt, TimeoutError) as error:
            self.counters["save_failures"] += 1
            why = f"no answer in {SAVE_WITHIN_S} s" if isinstance(error, TimeoutError) else error
            raise StorageUnavailable(
                f"durable subscriptions can't be saved now: {why}", retry_after_ms=1000
            ) from error
        self.counters["saves"] += 1

    def _save_soon(self) -> None:
        self._save_timer = None
        if self._save_task is None:
            self._save_task = self.log.loop.create_task(self._save_alone())
            self._save_task.add_done_callback(self._saved_alone)

    async def _save_alone(self) -> None:
        try:
            await self.save()
        except StorageUnavailable as error:
            logger.warning("%s; trying again", error)
            if self._save_timer is None and not self._closed:
                self._save_timer = self.clock.call_later(SAVE_AGAIN_S, self._save_soon)

    def _saved_alone(self, task: asyncio.Task[None]) -> None:
        self._save_task = None
        if not task.cancelled() and task.exception() is not None:
            logger.error("saving durable subscriptions failed", exc_info=task.exception())
        for name in self._dirty:  # changed meanwhile, when the timer could start nothing
            self.touch(name)

    # --- expiry -------------------------------------------------------------------------

    def _sweep(self) -> None:
        """Drop what nobody held for too long; again in an hour."""
        now, wall = self.clock.now(), self.wall()
        passed, by_wall = now - self._swept[0], wall - self._swept[1]
        self._swept = (now, wall)
        if by_wall - passed > JUMP_S:
            logger.warning("the clock went on by %d s in %d s: nothing expires", by_wall, passed)
        else:
            for durable in list(self._held.values()):
                if durable.leases:
                    self.touch(durable.name)  # it is in use, which nothing else may say
                elif wall - durable.kept.used_us / 1e6 > self.unused:
                    self._expire(durable)
        self._sweep_timer = self.clock.call_later(SWEEP_S, self._sweep)

    def _expire(self, durable: Durable) -> None:
        kept = durable.kept
        self.counters["expired"] += 1
        logger.warning("%s expired: nobody held it for %d s", durable.name, self.unused)
        facts = {"owner": kept.owner, "patterns": kept.patterns, "position": durable.position}
        self.tell(durable.name, "expired", facts)
        self._remove(durable)

    # --- inside -------------------------------------------------------------------------

    def _make(
        self,
        name: str,
        patterns: tuple[str, ...],
        terms: Terms,
        start: str | int,
        principal: Principal,
    ) -> Durable:
        if not patterns:
            raise NotFound(f"there is no durable subscription {name}", value=name)
        if len(self._held) >= DURABLES:
            self.counters["refused"] += 1
            raise Overloaded(
                f"there are {len(self._held)} durable subscriptions, the bound is {DURABLES}",
                limit=DURABLES,
            )
        self._check_owned(principal)
        check_right(principal, name, patterns)
        kept = Kept(owner=principal.name, patterns=patterns, terms=terms, cursor="")
        self._place(kept, start)
        durable = Durable(self, name, kept)
        self._add(durable)
        return durable

    def _check_owned(self, principal: Principal) -> None:
        owned = sum(durable.kept.owner == principal.name for durable in self._held.values())
        if owned >= OWNED and not principal.access.admin:
            self.counters["refused"] += 1
            raise Overloaded(
                f"{principal.name} has {owned} durable subscriptions, the bound is {OWNED}",
                limit=OWNED,
            )

    def _place(self, kept: Kept, start: str | int) -> None:
        """Put it where it starts."""
        log = self.log
        where = resolve(start, log.epochs, log.head)
        if where.reset is not None:
            raise SubscriptionReset(where.reset, log.cursor(where.position))
        kept.cursor = log.cursor(where.position)
        kept.used_us = self.now_us()
        if not where.known:  # what was trimmed before is not missed
            kept.told = trimmed_past(log, kept.patterns, where.position)
        if where.last:
            index: PatternIndex[None] = PatternIndex()
            index.add(kept.patterns, None)
            newest = [s.last_seq for t, s in log.topics.items() if s.count and index.lookup(t)]
            if len(newest) > SNAPSHOT:
                raise BadRequest(
                    f"{len(newest)} topics match, start=last takes {SNAPSHOT}", limit=SNAPSHOT
                )
            kept.unsettled = dict.fromkeys(sorted(newest), 0)

    def _check_same(
        self, durable: Durable, patterns: tuple[str, ...], terms: Terms, principal: Principal
    ) -> None:
        kept = durable.kept
        self._check_owner(durable, principal)
        check_right(principal, durable.name, kept.patterns)
        if patterns and patterns != kept.patterns:
            raise BadRequest(
                f"{durable.name} has other patterns: {', '.join(kept.patterns)}",
                value=durable.name,
            )
        if (terms.members == 1) != (kept.terms.members == 1):
            kind = "for one holder alone" if kept.terms.members == 1 else "a group"
            raise BadRequest(f"{durable.name} is {kind}", value=durable.name)

    def _find(self, name: str, principal: Principal) -> Durable:
        durable = self._held.get(check_name(name))
        if durable is None:
            raise NotFound(f"there is no durable subscription {name}", value=name)
        self._check_owner(durable, principal)
        return durable

    def _check_owner(self, durable: Durable, principal: Principal) -> None:
        if principal.name != durable.kept.owner and not principal.access.admin:
            raise Forbidden(
                f"{durable.name} is not {principal.name}'s, but {durable.kept.owner}'s",
                value=durable.name,
            )

    def _check_open(self) -> None:
        if self._closed:
            raise StorageUnavailable("the log is closed")

    def _add(self, durable: Durable) -> None:
        self._held[durable.name] = durable
        self._index.add(durable.kept.patterns, durable)

    def _remove(self, durable: Durable) -> None:
        del self._held[durable.name]
        self._index.discard(durable.kept.patterns, durable)
        self.touch(durable.name)

    def _info(self, durable: Durable) -> DurableInfo:
        kept, position = durable.kept, durable.position
        state = "held" if durable.leases else "idle"
        return DurableInfo(
            name=durable.name,
            owner=kept.owner,
            patterns=list(kept.patterns),
            state=state if kept.stop is None else "stopped",
            position=position,
            lag=max(0, self.log.head - position),
            members=kept.terms.members,
            holders=[lease.member for lease in durable.leases.values()],
            waiting=durable.waiting,
            in_hand=durable.in_hand,
            stalls=durable.stalls,
            parked=kept.parked,
            lost=kept.lost,
            reason=None if kept.stop is None else kept.stop.reason,
        )


def _told(saved: asyncio.Future[None]) -> None:
    if not saved.cancelled() and saved.exception() is not None:
        logger.warning("the last save of durable subscriptions failed: %s", saved.exception())
