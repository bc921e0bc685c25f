"""The log: intake, one writer, the ring, and the table of subscriptions.

Plain objects, made once for each data folder and process. EventStoreActor
owns the writer's life, EventBusActor answers for the table; either may die at
any time, and what is here stays.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from antiphon.bus.access import Access
from antiphon.bus.batch import Audience, Batch, Shelf
from antiphon.bus.durables import Durables
from antiphon.bus.ephemeral import EphemeralPolicy, EphemeralQueue
from antiphon.bus.index import PatternIndex
from antiphon.bus.intake import Pending
from antiphon.bus.pages import Pages
from antiphon.bus.position import resolve
from antiphon.bus.removals import Removals, Sweep
from antiphon.bus.ring import Ring
from antiphon.bus.settle import Settled
from antiphon.bus.store import Epoch, EventStore, Row, StoreStatus, TopicState
from antiphon.bus.subscription import SLICE_EVENTS, Subscription
from antiphon.bus.writer import Writer
from antiphon.errors import Overloaded, StorageUnavailable
from antiphon.ids import Cursor
from antiphon.messages import Published

logger = logging.getLogger(__name__)

REMOTE_WAITING = 16_384
LOCAL_WAITING = 131_072
WAITING_BYTES = 64 * 1024 * 1024
TOPIC_AUDIENCES_KEPT = 100_000
OPEN_TIMEOUT_S = 60.0
PARK_TIMEOUT_S = 10.0

T = TypeVar("T")


class Log:
    """Orders, keeps and hands on events.

    Use it from one event loop only. A publish is answered after its batch is on
    disk and in the ring, and its awake subscribers have had their turns (ADR 7).

    Args:
        store: Where events are kept; the log closes it.
    """

    def __init__(self, store: EventStore) -> None:
        self.store = store
        self.loop: asyncio.AbstractEventLoop = asyncio.get_event_loop()
        self.epochs: list[Epoch] = []
        self.topics: dict[str, TopicState] = {}
        self.recorded_us = 0
        self.ring = Ring(0)
        self.shelf = Shelf()
        self.pages = Pages(self)
        self.writer = Writer(
            store,
            post=self.call_threadsafe,
            announce=self._announce,
            on_state=lambda: None,
            on_crash=self._crashed,
        )
        self.on_crash: Callable[[BaseException], None] | None = None
        self._unanswered: deque[tuple[Settled, int]] = deque()
        self._turns_left = 0
        self._for_room: deque[asyncio.Future[None]] = deque()
        self.waiting = 0
        self.waiting_bytes = 0
        self.counters = {"published": 0, "duplicates": 0, "refused": 0, "overloaded": 0}
        self.delivered = 0
        self.offers: Counter[Audience] = Counter()  # of ephemeral events
        self._missed_before = 0
        self.removals = Removals(self)
        self.open_subscriptions: dict[Subscription, None] = {}
        self._audiences: dict[tuple[tuple[str, ...], Access], Audience] = {}
        self._index: PatternIndex[Audience] = PatternIndex()
        self._interested: dict[str, tuple[Audience, ...]] = {}
        self._opened = False
        self._ended = False
        self._closed = False
        self._at_end: dict[Callable[[], None], None] = {}
        self.durables = Durables(self)

    # --- life ---------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the store and start writing; or, if open, hand the writer to a new owner.

        Raises:
            StartError, StoreUnavailable, StoreCorrupt: The store can't be opened.
            StorageUnavailable: The writer did not come to rest in time.
        """
        if self._opened:
            if not await asyncio.to_thread(self.writer.adopt, PARK_TIMEOUT_S):
                raise StorageUnavailable(f"the log's writer did not park in {PARK_TIMEOUT_S} s")
            return
        opened = await asyncio.to_thread(self.writer.open)
        self._opened = True
        self.epochs = opened.epochs
        self.topics = opened.topics
        self.recorded_us = opened.recorded_us
        self.removals.restore(opened.topics, opened.gone_upto)
        self.ring.restart(opened.head)
        self.durables.restore(opened.subs)

    def end(self) -> None:
        """Take nothing more, and have whatever waits answered. Idempotent.

        For when the writer will have no owner any more. Reading goes on until ``aclose``.
        """
        if self._ended:
            return
        if self._opened:
            self.durables.close()
        self._ended = True
        self.writer.end()
        self._make_room(len(self._for_room))  # the next publish tells them why not

    async def aclose(self, timeout: float = 30.0) -> None:
        """Store what waits, answer everybody, close the store. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self.end()
        if self._opened:
            ended = await asyncio.to_thread(self.writer.close, timeout)
            await asyncio.sleep(0)  # lets the last batch be announced
            self._answer_all()
            if not ended:
                logger.error("the log's writer did not end in %s s", timeout)
                self._answer(self.writer.left())
        for tell in list(self._at_end):
            tell()
        await asyncio.to_thread(self.pages.close)

    def at_end(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Let *tell* be called in the loop when the log has closed; returns what undoes this."""
        self._at_end[tell] = None
        return lambda: self._at_end.pop(tell, None)

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Run *callback* in a later tick."""
        self.loop.call_soon(callback)

    def call_threadsafe(self, callback: Callable[..., object], *args: Any) -> None:
        """Run *callback* in the loop, from any thread; nothing happens once it is closed."""
        try:
            self.loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            logger.debug("the loop closed before the log did")

    # --- facts --------------------------------------------------------------------------

    @property
    def head(self) -> int:
        """The last seq announced."""
        return self.ring.head

    @property
    def epoch(self) -> str:
        return self.epochs[-1].name if self.epochs else ""

    @property
    def status(self) -> StoreStatus:
        return self.writer.status

    def cursor(self, seq: int) -> str:
        """The cursor of *seq*, in the epoch that it belongs to."""
        for epoch in reversed(self.epochs):
            if seq >= epoch.first_seq:
                return str(Cursor(epoch.name, seq))
        name = self.epochs[0].name if self.epochs else "none"
        return str(Cursor(name, seq))

    # --- publishing ---------------------------------------------------------------------

    def put(self, pending: Pending, *, remote: bool) -> None:
        """Queue a checked event for the writer.

        Raises:
            Overloaded: Too much waits already.
            StorageUnavailable: The disk refuses writes now, or the log has ended.
        """
        status = self.writer.status
        if status.state not in ("ok", "parked") or self._ended:
            why = "it has ended" if self._ended else status.message or status.state
            raise StorageUnavailable(f"the log takes no events now: {why}", retry_after_ms=1000)
        bound = REMOTE_WAITING if remote else LOCAL_WAITING
        if self._is_full(bound):
            self.counters["overloaded"] += 1
            raise Overloaded(
                f"{self.waiting} events of {self.waiting_bytes} bytes wait to be stored,"
                f" the bounds are {bound} and {WAITING_BYTES}",
                retry_after_ms=200,
                limit=bound,
            )
        self.waiting += 1
        self.waiting_bytes += len(pending.body)
        self.writer.put(pending)

    async def take(self, rows: Sequence[Row], recorded_us: int) -> int:
        """Store rows whose seqs were given elsewhere, and hand them on; the new head.

        For a log that follows another one. Seqs ascend from the head on, and may have gaps.
        Such a log's own publishers must not be asked at the same time.

        Args:
            recorded_us: When they were recorded, microseconds since 1970.

        Raises:
            ValueError: A seq doesn't come after the one before, or after the head.
            StoreUnavailable: The disk refused. Go on from ``head``, which tells if they
                were stored after all.
        """
        return await self.in_writer(lambda: self.writer.take(rows, recorded_us))

    async def room(self) -> None:
        """Wait until the intake has room for another event of this process.

        Returns without a turn of the loop if it has: what is published next, before anything
        else is awaited, is taken.
        """
        while self._is_full(LOCAL_WAITING) and not self._ended:
            turn: asyncio.Future[None] = self.loop.create_future()
            self._for_room.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn in self._for_room:
                    self._for_room.remove(turn)
                else:
                    self._make_room(1)  # it was this one's turn: the next one's, then
                raise

    def _is_full(self, bound: int) -> bool:
        return self.waiting >= bound or self.waiting_bytes >= WAITING_BYTES

    def _make_room(self, count: int) -> None:
        while count > 0 and self._for_room:
            turn = self._for_room.popleft()
            if not turn.done():
                turn.set_result(None)
            count -= 1

    def _announce(self, settled: Settled) -> None:
        """One tick: the ring, then the subscribers; then the publishers, in their turn.

        A publisher that is answered brings its next events in one go. So after a large
        batch the awake subscribers first get as many turns of the loop as they need for
        it; else a publisher at full rate would leave them ever further behind. A turn is
        a turn of the loop, not of any handler: a slow subscriber holds up nobody.
        """
        turns = 0
        if settled.rows:
            batch = settled.batch(self.shelf)
            self._extend_ring(batch)
            self._count(settled)
            self.recorded_us = settled.recorded_us
            if self._wake_interested(batch):
                turns = 1 + len(batch) // SLICE_EVENTS
        if turns == 0 and not self._unanswered:
            self._answer(settled)
            return
        self._unanswered.append((settled, turns))
        if len(self._unanswered) == 1:
            self._turns_left = turns
            self.loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Count one turn of the loop towards the oldest answer; give it when its time has come."""
        self._turns_left -= 1
        while self._turns_left <= 0 and self._unanswered:
            self._answer(self._unanswered.popleft()[0])
            if self._unanswered:
                self._turns_left = self._unanswered[0][1]
        if self._unanswered:
            self.loop.call_soon(self._turn)

    def _answer_all(self) -> None:
        while self._unanswered:
            self._answer(self._unanswered.popleft()[0])

    def _extend_ring(self, batch: Batch) -> None:
        if batch.after != self.ring.head:
            # Something was committed that was never announced: subscribers read it from
            # the log, and the ring goes on from here.
            behind = self.ring.head
            self.ring.restart(batch.after)
            self._unpark_all(behind)
        self.ring.append(batch)

    def _unpark_all(self, position: int) -> None:
        for audience in self._audiences.values():
            parked, audience.parked = audience.parked, {}
            for subscription in parked:
                subscription.unpark(position, None)

    def _count(self, settled: Settled) -> None:
        for name, (count, size, first, last) in settled.sizes.items():
            state = self.topics.get(name)
            if state is None:
                state = self.topics[name] = TopicState()
            if not state.count:
                state.first_seq = first
            state.count += count
            state.size_bytes += size
            state.last_seq = last

    def _answer(self, settled: Settled) -> None:
        epoch = self.epoch
        for pending in settled.stored:
            future = pending.future
            if future is not None and not future.done():
                seq = pending.seq
                future.set_result(Published(id=pending.id, seq=seq, cursor=f"{epoch}.{seq}"))
        for pending, seq in settled.duplicates:
            if pending.future is not None and not pending.future.done():
                pending.future.set_result(
                    Published(id=pending.id, seq=seq, cursor=self.cursor(seq), duplicate=True)
                )
        alone = 0
        for pending, error in settled.refused:
            if pending.future is None:
                alone += 1
            elif not pending.future.done():
                pending.future.set_exception(error)
        if alone:
            why = settled.refused[-1][1]
            logger.warning("%d events that nobody waits for were refused: %s", alone, why)
        self.waiting -= len(settled.stored) + len(settled.duplicates) + len(settled.refused)
        self.waiting_bytes -= settled.size_bytes
        if self._for_room and not self._is_full(LOCAL_WAITING):
            self._make_room(LOCAL_WAITING - self.waiting)
        self.counters["published"] += len(settled.stored)
        self.counters["duplicates"] += len(settled.duplicates)
        self.counters["refused"] += len(settled.refused)

    def _wake_interested(self, batch: Batch) -> bool:
        """Wake who waits for something in *batch*; whether anybody reads it."""
        end = self.ring.end
        awake: dict[Audience, None] = {}
        for topic in batch.topic_set:
            for audience in self._audiences_of(topic):
                awake[audience] = None
        for audience in awake:
            if audience.parked:
                parked, audience.parked = audience.parked, {}
                view = batch.view(audience)
                for subscription in parked:
                    subscription.unpark(batch.after, end, view)
        return bool(awake)

    def _crashed(self, bug: BaseException) -> None:
        if self.on_crash is not None:
            self.on_crash(bug)

    # --- subscribing --------------------------------------------------------------------

    def subscribe(
        self,
        sid: str,
        patterns: tuple[str, ...],
        access: Access,
        start: str | int,
        on_ready: Callable[[], None],
        ephemeral: EphemeralPolicy | None = "drop_oldest",
        *,
        owner: str = "",
    ) -> Subscription:
        """Open a subscription; checks of patterns and access are the caller's.

        Args:
            ephemeral: None: it wants no ephemeral events, and misses none.
            owner: The principal's name, for ``regrant``.

        Raises:
            BadRequest: *start* is no start, or *ephemeral* no policy.
        """
        where = resolve(start, self.epochs, self.head)
        waiting = None if ephemeral is None else EphemeralQueue(ephemeral)
        audience = self.audience(patterns, access)
        audience.users += 1
        trim_clock = 0 if where.known else self.removals.clock
        subscription = Subscription(
            self, sid, audience, where, on_ready, trim_clock, waiting, owner=owner
        )
        self.open_subscriptions[subscription] = None
        return subscription

    def audience(self, patterns: tuple[str, ...], access: Access) -> Audience:
        """Whoever has these patterns and this access; ``users`` is the caller's to count."""
        key = (patterns, access)
        audience = self._audiences.get(key)
        if audience is None:
            audience = self._audiences[key] = Audience(patterns, access)
            self._index.add(patterns, audience)
            self._interested.clear()
        return audience

    def leave(self, audience: Audience) -> None:
        """Count one user less; the last one takes the audience out of the index."""
        audience.users -= 1
        if audience.users < 2:
            audience.cuts.clear()
        if audience.users == 0:
            del self._audiences[(audience.patterns, audience.access)]
            del self.offers[audience]
            self._index.discard(audience.patterns, audience)
            self._interested.clear()

    def regrant(self, owner: str, access: Access) -> int:
        """Give *owner*'s open subscriptions this access from now on; how many it concerned.

        A durable one that it doesn't cover any more is lost to its holder.
        """
        mine = [one for one in self.open_subscriptions if one.owner == owner]
        for subscription in mine:
            subscription.regrant(access)
        return len(mine) + self.durables.revoke(owner, access)

    def drop(self, subscription: Subscription) -> None:
        """Take a closed subscription out of the table."""
        subscription.audience.parked.pop(subscription, None)
        if self.open_subscriptions.pop(subscription, self) is None:
            self._missed_before += subscription.missed
        self.leave(subscription.audience)

    @property
    def missed(self) -> int:
        """Ephemeral events that subscriptions did not get, open and closed ones; see theirs."""
        return self._missed_before + sum(one.missed for one in self.open_subscriptions)

    @property
    def subscriptions(self) -> int:
        """How many are open."""
        return len(self.open_subscriptions)

    def watched(self, topic: str) -> bool:
        """Whether any open subscription sees *topic*."""
        return bool(self._audiences_of(topic))

    def deliver_ephemeral(self, batch: Batch) -> None:
        """Offer events without seq to whoever is at the head."""
        for topic in batch.topic_set:
            for audience in self._audiences_of(topic):
                view = batch.view(audience)
                if view is not None:
                    self.offers[audience] += 1
                    for subscription in list(audience.parked):
                        subscription.offer(topic, view)

    def _audiences_of(self, topic: str) -> tuple[Audience, ...]:
        found = self._interested.get(topic)
        if found is None:
            if len(self._interested) >= TOPIC_AUDIENCES_KEPT:
                self._interested.clear()
            found = tuple(a for a in self._index.lookup(topic) if a.sees(topic))
            self._interested[topic] = found
        return found

    # --- beside the batches -------------------------------------------------------------

    async def trim(self, topic: str, upto: int) -> int:
        """Remove *topic*'s events up to seq *upto*, in small steps; how many went."""
        count = 0
        while True:
            swept = await self.removals.sweep(lambda: Sweep("trimmed", {topic: upto}))
            if not swept:
                return count
            count += sum(removed.events for removed in swept.values())

    def in_writer(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Run *work* in the writer's thread between two batches; see ``step``."""
        return self.step(work)[0]

    def step(
        self, work: Callable[[], T], done: Callable[[T], None] | None = None
    ) -> tuple[asyncio.Future[T], asyncio.Future[None]]:
        """Run *work* in the writer's thread between two batches, then *done* in the loop.

        Returns:
            Its result, which may be cancelled without harm: the work is done all the same;
            and what resolves when all is done, whatever came of it.

        Raises:
            StorageUnavailable: The log has ended.
        """
        if self._ended:
            raise StorageUnavailable("the log has ended")
        future: asyncio.Future[T] = self.loop.create_future()
        ended: asyncio.Future[None] = self.loop.create_future()

        def finish(result: T | None, error: BaseException | None) -> None:
            try:
                if error is None and done is not None:
                    done(cast("T", result))
            except Exception as bug:
                error = bug
            ended.set_result(None)
            if future.done():
                return
            if error is None:
                future.set_result(cast("T", result))
            else:
                future.set_exception(error)

        def run() -> None:
            try:
                result = work()
            except Exception as error:
                self.call_threadsafe(finish, None, error)
            else:
                self.call_threadsafe(finish, result, None)

        self.writer.job(run)
        return future, ended
