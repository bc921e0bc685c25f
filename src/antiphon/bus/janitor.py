"""The janitor: looks about once a second at what the policies want gone, and removes it.

What is to go is decided in ``retention.py`` and ``stock.py``, how a step is done in
``removals.py``. The ``Janitor`` outlives its actor, which only gives it its turns and may
die at any time.

Promises: docs/semantics/retention.md.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec

from antiphon.actors import Actor, ActorContext, Key, Request
from antiphon.bus.age import AgeClock
from antiphon.bus.bus import Bus
from antiphon.bus.fullness import Alarms
from antiphon.bus.removals import STEP_EVENTS, Sweep
from antiphon.bus.retention import DAY_S, Policies, Policy, plan, show_policy
from antiphon.bus.stock import Holds, Stock, take_stock, to_compact
from antiphon.bus.store import StoreCorrupt, StoreReader, StoreUnavailable
from antiphon.bus.units import show_size
from antiphon.errors import BusError, StorageUnavailable
from antiphon.messages import PolicyInfo, Published, RetentionInfo

logger = logging.getLogger(__name__)

EVERY_S = 1.0
SOON_S = 0.1
"""After a round that removed something: little and often, so that publishers hardly feel it."""
TROUBLE_S = 10.0
"""After the disk refused."""
DISK_EVERY_S = 10.0
TOPICS_EVERY_S = 3600.0
TOPIC_S = 30 * DAY_S
"""A topic's row outlives its last event so long, since a cursor could need it."""
TOPICS_STEP = 1000
ROUND_STEPS = 16
MOST_EVENTS = 4 * STEP_EVENTS
"""Removed between two batches, step by step, while publishers bring more than one step takes."""
WARNING = "_sys.store.warning"


class Janitor:
    """Carries out the retention of one log.

    Args:
        clock: Tells how old events are.
        holds: What durable subscriptions still need.
        disk: The used share of the log's disk, 0 to 1; None if that can't be told.

    Attributes:
        doubt: Why nothing is removed by age now; None if all is well.
    """

    def __init__(
        self,
        bus: Bus,
        policies: Policies,
        *,
        clock: AgeClock | None = None,
        holds: Holds = lambda topic: None,
        disk: Callable[[], float | None] = lambda: None,
    ) -> None:
        self.policies = policies
        self.holds = holds
        self.doubt: str | None = None
        self._bus = bus
        self._log = bus.log
        self._clock = AgeClock() if clock is None else clock
        self._disk = disk
        self._alarms = Alarms()
        self._oldest: dict[str, tuple[int, float]] = {}
        self._pace = STEP_EVENTS
        self._next_disk = self._next_topics = 0.0

    @property
    def removed(self) -> int:
        """Bytes of all events removed from the log, by whomever."""
        return self._log.removals.size_bytes

    async def round(self) -> bool:
        """Remove some of what is to go; whether there is more.

        Raises:
            StoreUnavailable, StoreCorrupt, StorageUnavailable: The disk, or the log's end.
        """
        self._look_at_clock()
        more = await self._compact()
        edits = self._log.removals.edits
        stocks = await take_stock(self.policies, self._log.topics)
        if self._log.removals.edits != edits:
            return True  # others removed something meanwhile: take stock anew
        for stock in stocks:
            more |= await self._clean(stock)
        now = self._clock.steady()
        if now >= self._next_disk:
            self._next_disk = now + DISK_EVERY_S
            self._look_at_disk()
        if now >= self._next_topics and self.doubt is None:
            self._next_topics = now + TOPICS_EVERY_S
            await self._drop_topics()
        return more

    # --- by age, count and bytes --------------------------------------------------------

    async def _clean(self, stock: Stock) -> bool:
        """Make up to so many steps; whether there is more to do."""
        expired = await self._expired(stock)
        edits, head = self._log.removals.edits, self._log.head
        gone = 0
        for _ in range(ROUND_STEPS):
            events = await self._step(stock, expired, edits)
            if not events:
                self._pace = STEP_EVENTS
                self._look_at_size(stock)
                return self._log.removals.edits != edits
            gone += events
        if gone <= self._log.head - head:  # publishers bring more than we remove
            self._pace = min(2 * self._pace, MOST_EVENTS)
        return True

    async def _step(self, stock: Stock, expired: int, edits: int) -> int:
        """Make the first cut that may remove anything; how many events went."""

        def choose() -> Sweep | None:
            if self._log.removals.edits != edits:
                return None  # others removed something: take stock anew
            head = self._log.head
            for cut in plan(stock.policy, stock.total, expired=expired, head=head):
                sweep = stock.choose(cut, head=head, most=self._pace, holds=self.holds)
                if sweep is not None:
                    return sweep
            return None

        removed = await self._log.removals.sweep(choose)
        events = sum(one.events for one in removed.values())
        stock.removed(events, sum(one.size_bytes for one in removed.values()))
        return events

    async def _expired(self, stock: Stock) -> int:
        """The highest seq older than the policy's age; 0 if none is, or the clock is in doubt."""
        age, first = stock.policy.max_age_s, stock.first_seq
        if age is None or not first or self.doubt is not None:
            return 0
        before = self._clock.now() - age
        if await self._recorded(stock) > before:
            return 0
        return await self._seq_at(before)

    async def _recorded(self, stock: Stock) -> float:
        """When the oldest event was recorded; read once for each oldest event."""
        first = stock.first_seq
        known = self._oldest.get(stock.policy.pattern)
        if known is None or known[0] != first:
            rows = await self._log.pages.run(lambda reader: reader.get((first,)))
            recorded = _recorded(rows[0].data) if rows else 0.0
            known = self._oldest[stock.policy.pattern] = (first, recorded)
        return known[1]

    async def _seq_at(self, seconds: float) -> int:
        def ask(reader: StoreReader) -> int:
            return reader.seq_at(round(seconds * 1_000_000))

        return await self._log.pages.run(ask)

    # --- by key, and empty topics -------------------------------------------------------

    async def _compact(self) -> bool:
        behind = list(itertools.islice(to_compact(self.policies, self._log.topics), ROUND_STEPS))
        for name in behind:
            await self._log.removals.compact(name)
        return any(True for _ in to_compact(self.policies, self._log.topics)) if behind else False

    async def _drop_topics(self) -> None:
        upto = await self._seq_at(self._clock.now() - TOPIC_S)
        topics = self._log.topics.items()
        unused = [name for name, state in topics if not state.count and state.last_seq <= upto]
        for at in range(0, len(unused), TOPICS_STEP):
            await self._log.removals.drop_topics(unused[at : at + TOPICS_STEP])

    # --- warnings -----------------------------------------------------------------------

    def _look_at_clock(self) -> None:
        doubt = self._clock.doubt(self._log.recorded_us / 1_000_000)
        if doubt is not None and self.doubt is None:
            self._warn("clock", f"{doubt}: no events are removed by age until the clocks agree")
        self.doubt = doubt

    def _look_at_size(self, stock: Stock) -> None:
        policy = stock.policy
        if self._alarms.crossed(("policy", policy.pattern), stock.share):
            self._warn(
                "policy",
                f"the events of {policy.pattern} use {stock.share:.0%} of {show_policy(policy)};"
                " past the limit the oldest are removed",
                policy=policy,
            )
        if not policy.hold_bytes:
            return
        beyond = stock.size_bytes - (policy.max_bytes or 0)
        held = beyond / policy.hold_bytes if self._is_over(stock) else 0.0
        if self._alarms.crossed(("hold", policy.pattern), held):
            self._warn(
                "hold",
                f"durable subscriptions that lag hold {show_size(stock.size_bytes)} of"
                f" {policy.pattern}; past {show_size(policy.hold_until_bytes)} they lose events",
                policy=policy,
            )

    def _is_over(self, stock: Stock) -> bool:
        """Whether more is there than the limits allow, since it is held."""
        expired = bool(stock.policy.max_bytes is None and stock.held)
        return stock.share > 1 or expired

    def _look_at_disk(self) -> None:
        share = self._disk()
        if share is not None and self._alarms.crossed("disk", share):
            self._warn("disk", f"the log's disk is {share:.0%} full")

    def _warn(self, about: str, message: str, *, policy: Policy | None = None) -> None:
        logger.warning("%s", message)
        payload: dict[str, Any] = {"about": about, "message": message}
        if policy is not None:
            payload["pattern"] = policy.pattern
        try:
            sent = self._bus.publish_event(WARNING, payload, type="store_warning")
            sent.add_done_callback(_look)
        except BusError as error:
            logger.warning("a warning could not be written down: %s", error)

    # --- asked --------------------------------------------------------------------------

    async def report(self) -> RetentionInfo:
        """Each policy with what it holds, and what it will remove when."""
        stocks = await take_stock(self.policies, self._log.topics)
        return RetentionInfo(
            policies=[await self._describe(stock) for stock in stocks],
            doubt=self.doubt,
            removed=dict(self._log.removals.counters),
            removed_bytes=self._log.removals.size_bytes,
        )

    async def _describe(self, stock: Stock) -> PolicyInfo:
        policy = stock.policy
        oldest = await self._recorded(stock) if stock.first_seq else 0.0
        cuts = plan(policy, stock.total, expired=await self._expired(stock), head=self._log.head)
        goes = any(stock.choose(cut, head=self._log.head, most=1, holds=self.holds) for cut in cuts)
        ages = policy.max_age_s is not None and oldest and self.doubt is None
        next_s = oldest + (policy.max_age_s or 0) if ages else 0.0
        return PolicyInfo(
            pattern=policy.pattern,
            limits=show_policy(policy),
            max_age_s=policy.max_age_s,
            max_count=policy.max_count,
            max_bytes=policy.max_bytes,
            compact_by_key=policy.compact_by_key,
            hold_bytes=policy.hold_bytes,
            topics=stock.names,
            events=stock.events,
            size_bytes=stock.size_bytes,
            share=round(stock.share, 4) if policy.max_bytes or policy.max_count else None,
            oldest=datetime.fromtimestamp(oldest, UTC) if oldest else None,
            next=datetime.fromtimestamp(next_s, UTC) if next_s else None,
            excess_events=max(0, stock.events - (policy.max_count or stock.events)),
            excess_bytes=max(0, stock.size_bytes - (policy.max_bytes or stock.size_bytes)),
            due=bool(cuts),
            held=bool(cuts) and not goes,
        )


class _Recorded(msgspec.Struct, frozen=True):
    recorded: datetime


_decode = msgspec.json.Decoder(_Recorded).decode


def _recorded(data: bytes) -> float:
    return _decode(data).recorded.timestamp()


def _look(done: asyncio.Future[Published]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        logger.warning("a warning could not be written down: %s", error)


@dataclass(frozen=True, slots=True)
class LookAbout:
    """It is time for another round."""


@dataclass(frozen=True, slots=True)
class ReportRetention(Request[RetentionInfo]):
    """Ask what the policies hold and will remove."""


JanitorMessage: TypeAlias = LookAbout | ReportRetention
JANITOR: Key[JanitorMessage] = Key("log/janitor")


class JanitorActor(Actor[JanitorMessage]):
    """Gives the janitor a turn each second, and at once while there is more to do.

    Attributes:
        trouble: What the disk said last, told once; None if all is well.
    """

    def __init__(self, janitor: Janitor) -> None:
        self.janitor = janitor
        self.trouble: str | None = None

    async def post_start(self, ctx: ActorContext[JanitorMessage]) -> None:
        ctx.send_after(EVERY_S, LookAbout())

    async def handle(self, msg: JanitorMessage, ctx: ActorContext[JanitorMessage]) -> None:
        match msg:
            case LookAbout():
                ctx.send_after(await self._round(), msg)
            case ReportRetention():
                try:
                    ctx.reply(msg, await self.janitor.report())
                except (StoreUnavailable, StoreCorrupt) as error:
                    ctx.reply_error(msg, StorageUnavailable(f"the log can't be read: {error}"))

    async def _round(self) -> float:
        """Make a round; seconds until the next."""
        before = self.janitor.removed
        try:
            if await self.janitor.round():
                return 0.0
            self.trouble = None
            return EVERY_S if self.janitor.removed == before else SOON_S
        except (StoreUnavailable, StoreCorrupt, StorageUnavailable) as error:
            if str(error) != self.trouble:
                self.trouble = str(error)
                logger.warning("retention is put off: %s", error)
            return TROUBLE_S
