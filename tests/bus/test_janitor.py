"""The janitor on a running log: what stays is exactly what the policies say."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.app import Core, core
from antiphon.bus import (
    JANITOR,
    EventStore,
    Gap,
    Janitor,
    Policies,
    Policy,
    ReportRetention,
    publish_event,
)
from antiphon.bus.age import AgeClock
from antiphon.bus.batch import Slice
from antiphon.bus.janitor import EVERY_S, SOON_S, TROUBLE_S, JanitorActor
from antiphon.bus.store import Stored, StoreUnavailable
from antiphon.bus.topics import matches
from antiphon.stores import MemoryEventStore, SqliteEventStore

from .conftest import until

DAY = 86_400.0


class World:
    """Clocks that a test moves, and what durables need; the writer records by the same clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall = 1_790_000_000.0
        self.since_boot = 5.0
        self.held: dict[str, int] = {}
        monkeypatch.setattr(
            "antiphon.bus.writer.time.time_ns", lambda: round(self.wall * 1_000_000) * 1000
        )

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.since_boot += seconds

    def janitor(self, running: Core, *policies: Policy) -> Janitor:
        """In the place of the one that goes by the real clock."""
        running.janitor.policies = Policies((), defaults=())
        return Janitor(
            running.bus,
            Policies(policies, defaults=()),
            clock=AgeClock(wall=lambda: self.wall, steady=lambda: self.since_boot),
            holds=self.held.get,
        )


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


async def publish(running: Core, topic: str, count: int = 1, **fields: Any) -> list[int]:
    futures = [publish_event(running.bus, topic, n, **fields) for n in range(count)]
    return [(await future).seq or 0 for future in futures]


async def stored(running: Core) -> list[Stored]:
    """All but warnings."""
    rows = await running.log.pages.run(lambda reader: reader.page(0, 100_000))
    return [row for row in rows if not row.topic.startswith("_")]


async def seqs(running: Core) -> list[int]:
    return [row.seq for row in await stored(running)]


async def clean(janitor: Janitor) -> None:
    while await janitor.round():
        pass


async def test_limits_count_for_all_topics_of_a_policy_together(
    running: Core, world: World
) -> None:
    """And the oldest of all go first, whatever their topics."""
    for n in range(30):
        await publish(running, f"a.t{n % 7}")
    other = await publish(running, "b", 5)
    await clean(world.janitor(running, Policy(pattern="a.*", max_count=10)))
    assert await seqs(running) == [*range(21, 31), *other]
    states = running.log.topics
    assert sum(states[f"a.t{n}"].count for n in range(7)) == 10
    assert running.log.removals.counters["count"] == 20


async def test_bytes_are_trimmed_to_the_event(running: Core, world: World) -> None:
    for n in range(40):
        await publish_event(running.bus, f"a.t{n % 3}", "x" * n)
    sizes = [len(row.data) for row in await stored(running)]
    limit = sum(sizes[25:]) + 1
    await clean(world.janitor(running, Policy(pattern="*", max_bytes=limit)))
    assert await seqs(running) == list(range(26, 41))


async def test_events_go_when_they_are_too_old(running: Core, world: World) -> None:
    janitor = world.janitor(running, Policy(pattern="*", max_age_s=DAY))
    for _ in range(5):
        await publish(running, "a.b", 2)
        world.pass_by(DAY / 4)
    await clean(janitor)
    assert await seqs(running) == list(range(5, 11))
    world.pass_by(DAY / 4 - 1)
    await clean(janitor)
    assert await seqs(running) == list(range(5, 11)), "a second too early"
    world.pass_by(2)
    await clean(janitor)
    assert await seqs(running) == list(range(7, 11))


async def test_a_clock_that_jumps_removes_nothing_by_age_and_warns_once(
    running: Core, world: World
) -> None:
    janitor = world.janitor(running, Policy(pattern="a.*", max_age_s=3 * DAY, max_count=4))
    await publish(running, "a.b", 3)
    world.wall += 10 * DAY
    for _ in range(3):
        await clean(janitor)
    assert janitor.doubt is not None
    assert len(await seqs(running)) == 3
    await publish(running, "a.b", 3)
    await clean(janitor)
    assert running.log.topics["a.b"].count == 4, "what needs no clock goes on"
    warnings = await running.bus.query(["_sys.store.warning"])
    told = [data for data in warnings.data if b'"about":"clock"' in data]
    assert len(told) == 1
    assert b"jumped forward by 10.0 days" in told[0]


async def test_a_clock_set_back_an_hour_changes_nothing(running: Core, world: World) -> None:
    janitor = world.janitor(running, Policy(pattern="*", max_age_s=DAY))
    await publish(running, "a", 2)
    world.wall -= 3600
    await publish(running, "a", 2)
    world.pass_by(DAY + 3599)
    await clean(janitor)
    assert janitor.doubt is None
    assert await seqs(running) == [1, 2, 3, 4]
    world.pass_by(3602)
    await clean(janitor)
    assert await seqs(running) == []


async def test_what_a_durable_needs_stays_up_to_the_cap(running: Core, world: World) -> None:
    await publish(running, "a.held", 10)
    await publish(running, "a.free", 10)
    size = running.log.topics["a.held"].size_bytes
    world.held["a.held"] = 4
    policy = Policy(pattern="a.*", max_bytes=size // 2, hold_bytes=2 * size)
    janitor = world.janitor(running, policy)
    await clean(janitor)
    assert await seqs(running) == [5, 6, 7, 8, 9, 10], "the next oldest went in their place"
    report = await janitor.report()
    assert (report.policies[0].due, report.policies[0].held) == (True, True)
    await publish(running, "a.held", 22)
    await clean(janitor)
    kept = await seqs(running)
    assert kept[0] > 5, "past the cap they go too"
    assert running.log.topics["a.held"].size_bytes <= size // 2 + 2 * size
    world.held.clear()
    await clean(janitor)
    assert running.log.topics["a.held"].size_bytes <= size // 2


async def test_compaction_keeps_the_newest_of_each_key_and_is_no_gap(
    running: Core, world: World
) -> None:
    for n in range(30):
        await publish_event(running.bus, "state.a", n, key="xyz"[n % 3])
    await publish(running, "state.a", 2)
    await publish_event(running.bus, "other", 1, key="x")
    cursor = running.bus.cursor(2)
    await clean(world.janitor(running, Policy(pattern="state.*", compact_by_key=True)))
    assert await seqs(running) == [28, 29, 30, 31, 32, 33]
    assert running.log.topics["state.a"].count == 5
    assert running.log.removals.counters["compacted"] == 27
    page = await running.bus.query(["state.*"], after=cursor)
    assert len(page.data) == 5


async def test_unused_topics_go_after_30_days_and_not_before(running: Core, world: World) -> None:
    janitor = world.janitor(running, Policy(pattern="*", max_age_s=DAY))
    await publish(running, "old.one")
    world.pass_by(5 * DAY)
    await publish(running, "old.two")
    await clean(janitor)
    for days, left in ((20, 2), (7, 1), (6, 0)):
        world.pass_by(days * DAY)
        await publish(running, "now")
        await clean(janitor)
        assert sum(name.startswith("old") for name in running.log.topics) == left, days
    assert await publish(running, "old.one") == [6]
    assert running.log.topics["old.one"].trimmed_upto == 0


async def test_warnings_of_a_policy_and_of_the_disk_come_once(running: Core, world: World) -> None:
    await publish(running, "a", 9)
    shares = [0.9, 0.85, 0.5]
    janitor = Janitor(
        running.bus,
        Policies([Policy(pattern="*", max_count=10)], defaults=()),
        clock=AgeClock(wall=lambda: world.wall, steady=lambda: world.since_boot),
        disk=shares.pop,
    )
    for _ in range(3):
        world.pass_by(60)
        await clean(janitor)
    await publish(running, "a")
    page = await running.bus.query(["_sys.store.warning"])
    payloads = [msgspec.json.decode(data)["payload"] for data in page.data]
    assert [payload["about"] for payload in payloads] == ["policy", "disk"]
    assert "90% of 10 events" in payloads[0]["message"]
    assert "85% full" in payloads[1]["message"]


async def test_the_janitor_keeps_up_with_a_publisher(running: Core) -> None:
    """The supervised one, by itself, though it is killed on the way."""
    policies = Policies([Policy(pattern="*", max_count=300)], defaults=())
    running.janitor.policies = policies
    for n in range(8):
        await publish(running, "a.b", 1000)
        if n == 3:
            running.system.ref(JANITOR).kill()
    state = running.log.topics["a.b"]
    await until(lambda: state.count == 300)
    assert state.first_seq == state.last_seq - 299
    report = await running.system.ref(JANITOR).call(ReportRetention())
    assert report.removed["count"] == 7700
    assert report.policies[0].events == 300


async def test_a_disk_that_refuses_puts_retention_off_and_is_told_once(
    running: Core, world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The actor lives on, and does it when the disk allows it."""
    await publish(running, "a.b", 10)
    janitor = world.janitor(running, Policy(pattern="*", max_count=4))

    def refuse(*_: Any) -> Any:
        raise StoreUnavailable("database or disk is full")

    actor = JanitorActor(janitor)
    with monkeypatch.context() as patch:
        patch.setattr(running.log.store, "sweep", refuse)
        assert [await actor._round() for _ in range(3)] == [TROUBLE_S] * 3
    assert [r.message for r in caplog.records if "put off" in r.message] == [
        "retention is put off: database or disk is full"
    ]
    assert running.log.topics["a.b"].count == 10
    assert await actor._round() == SOON_S
    assert await actor._round() == EVERY_S
    assert await seqs(running) == [7, 8, 9, 10]


async def test_a_step_whose_asker_is_gone_is_counted_all_the_same(running: Core) -> None:
    await publish(running, "a.b", 10)
    asked = asyncio.ensure_future(running.log.trim("a.b", 4))
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    await until(lambda: running.log.topics["a.b"].count == 6)
    assert await running.log.trim("a.b", 6) == 2
    assert await seqs(running) == [7, 8, 9, 10]


# --- against a plain list -------------------------------------------------------------------


class Kept(NamedTuple):
    seq: int
    topic: str
    size: int
    recorded: float


def naive(
    kept: list[Kept], policies: Policies, now: float, held: dict[str, int]
) -> tuple[list[Kept], dict[str, int]]:
    """Take away the oldest event that may go for as long as any limit is broken."""
    trimmed: dict[str, int] = {}
    for policy in policies.all:
        while True:
            mine = [one for one in kept if policies.of(one.topic) is policy]
            size = sum(one.size for one in mine)
            hold = policy.hold_bytes > 0 and size <= (policy.max_bytes or 0) + policy.hold_bytes
            may_go = [one for one in mine if not (hold and one.seq > held.get(one.topic, 10**9))]
            if not may_go:
                break
            oldest = may_go[0]
            too_old = policy.max_age_s is not None and oldest.recorded <= now - policy.max_age_s
            too_many = policy.max_count is not None and len(mine) > policy.max_count
            too_much = policy.max_bytes is not None and size > policy.max_bytes
            if not (too_old or too_many or too_much):
                break
            kept = [one for one in kept if one is not oldest]
            trimmed[oldest.topic] = max(trimmed.get(oldest.topic, 0), oldest.seq)
    return kept, trimmed


TOPICS = ("a.x", "a.y", "b.x", "b.y", "c")
POLICIES = st.lists(
    st.builds(
        Policy,
        pattern=st.sampled_from(["*", "a.*", "b.*", "*.x", "a.x"]),
        max_age_s=st.none() | st.sampled_from([60.0, 600.0]),
        max_count=st.none() | st.integers(1, 12),
        max_bytes=st.none() | st.integers(300, 3000),
        hold_bytes=st.sampled_from([0, 0, 500, 2000]),
    ),
    max_size=3,
    unique_by=lambda policy: policy.pattern,
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.sampled_from(TOPICS), st.integers(1, 8)),
        st.tuples(st.just("wait"), st.sampled_from([1.0, 45.0, 300.0])),
        st.tuples(st.just("hold"), st.sampled_from(TOPICS), st.none() | st.integers(0, 40)),
        st.tuples(st.just("clean")),
        st.tuples(st.just("restart")),
    ),
    min_size=4,
    max_size=14,
)


class Lives:
    """A log with its janitor, through restarts, beside a plain list."""

    def __init__(self, world: World, new_store: Callable[[], EventStore]) -> None:
        self.world = world
        self.new_store = new_store
        self.kept: list[Kept] = []
        self.trimmed: dict[str, int] = {}

    async def live(self, policies: list[Policy], steps: list[Any]) -> None:
        left = list(steps)
        while True:
            async with core(self.new_store()) as running:
                janitor = self.world.janitor(running, *policies)
                await self.check(running)
                await self.check_readers(running)
                if not left:
                    return
                while left:
                    what, *about = left.pop(0)
                    if what == "restart":
                        break
                    await getattr(self, what)(running, janitor, *about)

    async def publish(self, running: Core, janitor: Janitor, topic: str, count: int) -> None:
        first = (await publish(running, topic, count))[0]
        for row in (await stored(running))[-count:]:
            self.kept.append(Kept(row.seq, topic, len(row.data), self.world.wall))
        assert self.kept[-count].seq == first

    async def wait(self, running: Core, janitor: Janitor, seconds: float) -> None:
        self.world.pass_by(seconds)

    async def hold(self, running: Core, janitor: Janitor, topic: str, upto: int | None) -> None:
        if upto is None:
            self.world.held.pop(topic, None)
        else:
            self.world.held[topic] = upto

    async def clean(self, running: Core, janitor: Janitor) -> None:
        await clean(janitor)
        self.kept, trimmed = naive(self.kept, janitor.policies, self.world.wall, self.world.held)
        self.trimmed.update(trimmed)
        await self.check(running)

    async def check(self, running: Core) -> None:
        assert await seqs(running) == [one.seq for one in self.kept]
        for name, state in running.log.topics.items():
            if name.startswith("_"):
                continue
            mine = [one for one in self.kept if one.topic == name]
            assert state.count == len(mine)
            assert state.size_bytes == sum(one.size for one in mine)
            assert state.first_seq == (mine[0].seq if mine else 0)
            assert state.trimmed_upto == self.trimmed.get(name, 0)

    async def check_readers(self, running: Core) -> None:
        """From each position: a gap exactly for who matches what was trimmed past it."""
        for pattern in ("a.*", "*.y", "c"):
            for start in sorted({0, running.bus.head // 2, running.bus.head}):
                heard = await _read(running, pattern, start)
                lost = max((u for t, u in self.trimmed.items() if matches(pattern, t)), default=0)
                gaps = [(one.first, one.last) for one in heard if isinstance(one, Gap)]
                assert gaps == ([(start + 1, lost)] if lost > start else [])
                read = [seq for one in heard if isinstance(one, Slice) for seq in one.seqs]
                assert read == [
                    one.seq for one in self.kept if one.seq > start and matches(pattern, one.topic)
                ]


async def _read(running: Core, pattern: str, start: int) -> list[Any]:
    """All that a reader from *start* hears until it is live."""
    heard: list[Any] = []
    subscription = running.bus.open_subscription([pattern], start=start, on_ready=lambda: None)

    def is_live() -> bool:
        while (taken := subscription.take()) is not None:
            heard.append(taken)
        return subscription.live

    await until(is_live)
    subscription.close()
    return heard


def _live(new_store: Callable[[], EventStore], policies: list[Policy], steps: list[Any]) -> None:
    """In small steps over short spans, so that there are many."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("stock.SPAN", 3),
            ("stock.LONGEST_SPAN", 5),
            ("janitor.STEP_EVENTS", 2),
            ("janitor.MOST_EVENTS", 6),
            ("removals.STEP_EVENTS", 2),
        ):
            patch.setattr(f"antiphon.bus.{name}", value)
        asyncio.run(Lives(World(patch), new_store).live(policies, [*steps, ("restart",)]))


@settings(max_examples=40, deadline=None)
@given(POLICIES, STEPS)
def test_what_stays_is_what_a_plain_list_says(policies: list[Policy], steps: list[Any]) -> None:
    """Through publishing, time, holds, cleaning and restarts; counts, marks and gaps too."""
    store = MemoryEventStore()
    _live(lambda: store, policies, steps)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(POLICIES, STEPS)
def test_what_stays_on_disk_is_what_a_plain_list_says(
    tmp_path_factory: pytest.TempPathFactory, policies: list[Policy], steps: list[Any]
) -> None:
    path = tmp_path_factory.mktemp("log") / "log.db"
    _live(lambda: SqliteEventStore(path), policies, steps)


@pytest.mark.long
@pytest.mark.timeout(600)
@settings(max_examples=400, deadline=None)
@given(POLICIES, STEPS)
def test_many_lives_in_memory(policies: list[Policy], steps: list[Any]) -> None:
    store = MemoryEventStore()
    _live(lambda: store, policies, steps)


async def test_a_page_read_while_a_trim_is_not_yet_written_down_hides_no_gap(
    new_store: Callable[[], EventStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the trim's COMMIT and its note in the loop, the log is read without its events."""
    async with core(new_store()) as running:
        log = running.log
        await publish(running, "a", 20)
        log.ring.restart(log.head)  # as if all had fallen out of it
        trimmed, go_on = threading.Event(), threading.Event()
        sweep = log.store.sweep

        def slow(*args: Any) -> Any:
            removed = sweep(*args)
            trimmed.set()
            go_on.wait(10)
            return removed

        monkeypatch.setattr(log.store, "sweep", slow)
        trim = asyncio.create_task(log.trim("a", 10))
        await until(trimmed.is_set)
        reader = running.bus.open_subscription(["a"], start=1, on_ready=lambda: None)
        seen: list[Any] = []

        def read() -> bool:
            taken = reader.take()
            if isinstance(taken, Slice):
                seen.extend(taken.seqs)
            elif isinstance(taken, Gap):
                seen.append((taken.first, taken.last))
            return len(seen) >= 11

        read()  # asks for the page
        for _ in range(50):  # time enough for it to come, were it not held back
            await asyncio.wrap_future(log.pages._pool.submit(read_nothing))
            read()
        go_on.set()
        await until(read)
        assert seen == [(2, 10), *range(11, 21)]
        await trim
        reader.close()


def read_nothing() -> None:
    """Passes through the readers' queue."""
