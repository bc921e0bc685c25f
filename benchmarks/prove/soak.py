"""Minutes of steady load under a bounded log, with one stalled reader and one stalled durable.

Everything in one process on a real file: a publisher on schedule, subscribers that check
order and count, the janitor at its work. Memory, file, lag and latency are sampled each
second and drawn; what the readers hold in the end is compared with what was published.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import linear_regression, quantiles
from typing import Any

import psutil

from antiphon.actors import ActorContext, Child, Key, Notice, Supervisor
from antiphon.app import Core, core
from antiphon.app.core import SWITCH_S
from antiphon.bus import Bus, Gap, Policy
from antiphon.errors import SubscriptionGap
from antiphon.messages import Event
from antiphon.stores import SqliteEventStore
from benchmarks.prove.paused import PAYLOAD, TOPICS, Place, Reader
from benchmarks.prove.plot import Line, Panel, svg

MIB = 1024**2
PICTURE = Path("docs/soak.svg")
SAMPLE_EVERY = 100
READ_BEFORE = 1000
"""Events that the durable acknowledges before it stalls."""
QUIET_S = 60.0
Series = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much, how long, and what stays.

    Attributes:
        settle_s: Memory's slope is measured after it; the file's size in the last 0.6 of all.
    """

    seconds: float = 300.0
    rate: int = 10_000
    live: int = 98
    max_bytes: int = 256 * MIB
    hold_bytes: int = 128 * MIB
    settle_s: float = 120.0


@dataclass(slots=True)
class Samples:
    """What was measured, second by second: pairs of seconds since the start and a value."""

    rss_mib: Series = field(default_factory=list)
    file_mib: Series = field(default_factory=list)
    lag: Series = field(default_factory=list)
    p50_ms: Series = field(default_factory=list)
    p99_ms: Series = field(default_factory=list)


class Clocked(Reader):
    """A reader that notes how late each sampled event was handled, in milliseconds."""

    def __init__(self, bus: Bus, gate: asyncio.Event, place: Place, late_ms: list[float]) -> None:
        super().__init__(bus, gate, place)
        self.late_ms = late_ms

    async def handle_event(self, event: Event, ctx: ActorContext[object]) -> None:
        await super().handle_event(event, ctx)
        if event.correlation_id is not None:
            self.late_ms.append((time.monotonic() - float(event.correlation_id)) * 1000)


class Stalled(Reader):
    """A reader that keeps what it hears of gaps, and the first event after each."""

    def __init__(self, bus: Bus, gate: asyncio.Event, place: Place) -> None:
        super().__init__(bus, gate, place)
        self.gaps: list[Gap] = []
        self.after_gap: list[int] = []

    async def handle_notice(self, notice: Notice, ctx: ActorContext[object]) -> None:
        if isinstance(notice, Gap):
            self.gaps.append(notice)

    async def handle_event(self, event: Event, ctx: ActorContext[object]) -> None:
        await super().handle_event(event, ctx)
        if len(self.after_gap) < len(self.gaps):
            self.after_gap.append(event.seq or 0)


class Soak:
    """One run."""

    def __init__(self, running: Core, plan: Plan, picture: Path) -> None:
        self.running = running
        self.plan = plan
        self.picture = picture
        self.open, self.shut = asyncio.Event(), asyncio.Event()
        self.open.set()
        self.places = [Place() for _ in range(plan.live)]
        self.late_ms: list[float] = []
        self.stalled = Stalled(running.bus, self.shut, Place())
        self.samples = Samples()
        self.published = 0
        self.started = 0.0

    async def run(self) -> dict[str, Any]:
        """Load it, let go of who stalled, and judge."""
        await self._start_readers()
        await self._stall_a_durable()
        self.started = time.monotonic()
        sampler = asyncio.create_task(self._sample())
        await self._publish()
        await self._all_read()
        sampler.cancel()
        self.shut.set()
        head = self.running.log.head
        await self._until(lambda: self.stalled.place.last >= head)
        durable = await self._read_durable(head)
        return self._judge(durable)

    async def _start_readers(self) -> None:
        bus = self.running.bus
        readers: list[Reader] = [
            Clocked(bus, self.open, self.places[0], self.late_ms),
            *(Reader(bus, self.open, place) for place in self.places[1:]),
            self.stalled,
        ]
        children = [
            Child(Key[object](f"readers/r{n}"), lambda reader=reader: reader)  # type: ignore[misc]
            for n, reader in enumerate(readers)
        ]
        await self.running.system.supervise(Supervisor(children), name="readers")

    async def _stall_a_durable(self) -> None:
        """Acknowledge some events under a name, then leave it."""
        bus = self.running.bus
        async with await bus.durable("slow", "worker.*", start="earliest") as holder:
            for n in range(READ_BEFORE):
                await bus.publish_event(TOPICS[n % len(TOPICS)], PAYLOAD)
            self.published = READ_BEFORE
            for _ in range(READ_BEFORE):
                holder.ack((await anext(holder)).seq or 0)

    async def _publish(self) -> None:
        """Publish on schedule, whether or not anybody keeps up."""
        bus, rate = self.running.bus, self.plan.rate
        total = int(rate * self.plan.seconds)
        done = 0
        waiting: list[asyncio.Future[Any]] = []
        while done < total:
            due = min(total, int((time.monotonic() - self.started) * rate))
            for n in range(done, due):
                sample = str(self.started + n / rate) if n % SAMPLE_EVERY == 0 else None
                topic = TOPICS[n % len(TOPICS)]
                waiting.append(bus.publish_event(topic, PAYLOAD, correlation_id=sample))
            done = max(done, due)
            if len(waiting) > rate:
                await asyncio.gather(*waiting)
                waiting.clear()
            await asyncio.sleep(0.002)
        await asyncio.gather(*waiting)
        self.published += done

    async def _sample(self) -> None:
        process = psutil.Process()
        while True:
            await asyncio.sleep(1)
            at = time.monotonic() - self.started
            samples, head = self.samples, self.running.log.head
            samples.rss_mib.append((at, process.memory_info().rss / MIB))
            samples.file_mib.append((at, self.running.log.store.size_bytes() / MIB))
            samples.lag.append((at, head - min(place.last for place in self.places)))
            late, self.late_ms[:] = sorted(self.late_ms), []
            if len(late) > 1:
                cuts = quantiles(late, n=100)
                samples.p50_ms.append((at, cuts[49]))
                samples.p99_ms.append((at, cuts[98]))

    async def _all_read(self) -> None:
        await self._until(lambda: all(place.count >= self.published for place in self.places))

    async def _until(self, condition: Any) -> None:
        end = time.monotonic() + QUIET_S
        while not condition() and time.monotonic() < end:
            await asyncio.sleep(0.01)

    async def _read_durable(self, head: int) -> dict[str, Any]:
        """Read the rest of the durable: every later event, but for gaps that it hears of."""
        position, missing, gaps = READ_BEFORE, 0, []
        async with await self.running.bus.durable("slow") as holder:
            while position < head:
                try:
                    event = await asyncio.wait_for(anext(holder), QUIET_S)
                except SubscriptionGap as gap:
                    gaps.append([gap.first, gap.last])
                    position = gap.last
                    continue
                seq = event.seq or 0
                missing += await self._of_readers(position + 1, seq)
                position = max(position, seq)
                holder.ack(seq)
        return {"missing": missing, "gaps": gaps}

    async def _of_readers(self, first: int, end: int) -> int:
        """How many of these seqs were to be read: not those of Antiphon's own warnings."""
        stored = [await self.running.bus.get(seq) for seq in range(first, end)]
        return sum(data is None or b'"topic":"_sys.' not in data for data in stored)

    # --- judging ------------------------------------------------------------------------

    def _judge(self, durable: dict[str, Any]) -> dict[str, Any]:
        plan, samples = self.plan, self.samples
        missing = sum(self.published - place.count for place in self.places)
        disorder = sum(place.disorder for place in [*self.places, self.stalled.place])
        gaps = [(gap.first, gap.last) for gap in self.stalled.gaps]
        begins = self.stalled.after_gap
        last = [size for at, size in samples.file_mib if at > plan.seconds * 0.4]
        swing = (max(last) - min(last)) / max(last)
        slope = _slope_per_min([s for s in samples.rss_mib if s[0] > plan.settle_s])
        self.picture.write_text(self._picture(), "utf-8")
        return {
            "seconds": plan.seconds,
            "events": self.published,
            "live_subscribers": plan.live,
            "missing": missing,
            "out_of_order": disorder,
            "stalled_gaps": gaps,
            "stalled_events_begin": begins,
            "durable": durable,
            "file_mib_last": [round(min(last), 1), round(max(last), 1)],
            "file_swing_percent": round(swing * 100, 2),
            "rss_mib": [round(samples.rss_mib[0][1], 1), round(samples.rss_mib[-1][1], 1)],
            "rss_slope_mib_per_min": round(slope, 3),
            "p50_ms": round(_middle(samples.p50_ms), 2),
            "p99_ms": round(_middle(samples.p99_ms), 2),
            "removed": self.running.log.removals.counters,
            "plot": f"![memory, lag and latency]({self.picture.name})",
            "held": missing == disorder == durable["missing"] == 0
            and len(gaps) == len(begins) == 1
            and begins[0] == gaps[0][1] + 1
            and len(durable["gaps"]) <= 1
            and swing < 0.10
            and slope < 1.0,
        }

    def _picture(self) -> str:
        samples = self.samples
        return svg(
            [
                Panel(
                    "MiB",
                    [Line("memory (RSS)", samples.rss_mib), Line("log on disk", samples.file_mib)],
                ),
                Panel(
                    f"events behind the head, the last of {self.plan.live} subscribers",
                    [Line("lag", samples.lag)],
                ),
                Panel(
                    "ms from due to handled, each second",
                    [Line("p50", samples.p50_ms), Line("p99", samples.p99_ms)],
                ),
            ]
        )


def _slope_per_min(points: Series) -> float:
    if len(points) < 2:
        return 0.0
    return linear_regression(*zip(*points, strict=True)).slope * 60


def _middle(points: Series) -> float:
    values = sorted(value for _, value in points)
    return values[len(values) // 2] if values else 0.0


def run(plan: Plan | None = None, picture: Path = PICTURE) -> dict[str, Any]:
    """Soak it, by default for five minutes at 10,000 events a second."""
    sys.setswitchinterval(SWITCH_S)
    chosen = plan or Plan()
    policy = Policy(pattern="worker.*", max_bytes=chosen.max_bytes, hold_bytes=chosen.hold_bytes)

    async def work(folder: Path) -> dict[str, Any]:
        async with core(SqliteEventStore(folder / "log.db"), retention=[policy]) as running:
            return await Soak(running, chosen, picture).run()

    with tempfile.TemporaryDirectory(prefix="antiphon-soak-") as made:
        import uvloop

        return uvloop.run(work(Path(made)))
