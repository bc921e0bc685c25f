"""The tree is sampled while somebody looks, and the system's news become events."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence

import pytest
from tests.actors.kit import Crash, Recorder, until

from antiphon.actors import Child, Supervisor
from antiphon.app.core import core
from antiphon.app.observing import PER_SECOND, Observing
from antiphon.app.stats import STATS, TOPIC, StatsActor
from antiphon.bus import BUS
from antiphon.bus.store import Row, StoreUnavailable
from antiphon.errors import StorageUnavailable
from antiphon.stores import MemoryEventStore
from antiphon.testing import Probe, settle


async def test_a_sample_comes_each_second_to_whoever_is_subscribed() -> None:
    async with core(MemoryEventStore()) as running:
        await running.system.supervise(
            Supervisor([Child(STATS, lambda: StatsActor(running.bus))]), name="services"
        )
        async with running.bus.events(TOPIC) as events:
            event = await asyncio.wait_for(anext(events), 10)
        keys = [actor["key"] for actor in event.payload["actors"]]
        assert {"root", "log", "log/store", "log/bus", "services/stats"} <= set(keys)
        assert event.seq is None


async def test_a_kill_and_its_restart_are_told_as_events() -> None:
    observing = Observing()
    async with core(MemoryEventStore(), observer=observing) as running:
        observing.attach(running.bus)
        async with running.bus.events("_sys.actors.log.bus.*", start="earliest") as events:
            assert (await asyncio.wait_for(anext(events), 10)).topic.endswith("started")
            running.system.ref(BUS).kill("a test")
            told = [(await asyncio.wait_for(anext(events), 10)) for _ in range(2)]
        assert [event.topic.rsplit(".")[-1] for event in told] == ["restarted", "started"]
        assert "a test" in told[0].payload["reason"]
        assert told[1].payload["generation"] == 2


async def test_a_storm_of_news_is_folded_with_a_count() -> None:
    observing = Observing()
    async with core(MemoryEventStore()) as running:
        observing.attach(running.bus)
        ref = running.system.ref(BUS)
        for generation in range(50):
            observing.started(ref, generation)
        async with running.bus.events("_sys.actors.*", start="earliest") as events:
            seen = [(await asyncio.wait_for(anext(events), 10)) for _ in range(PER_SECOND)]
        assert len(seen) == PER_SECOND
        assert observing._windows["log/bus"].folded == 50 - PER_SECOND


async def test_nothing_is_sampled_while_nobody_is_subscribed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("antiphon.app.stats.EVERY_S", 0.0)
    async with core(MemoryEventStore()) as running:
        sampled: list[int] = []
        whole = running.system.actors
        monkeypatch.setattr(running.system, "actors", lambda: sampled.append(1) or whole())
        stats = Child(STATS, lambda: StatsActor(running.bus))
        await running.system.supervise(Supervisor([stats]), name="services")
        cell = running.system.ref(STATS)._cell
        assert cell is not None
        await until(lambda: cell.processed > 20)
        assert sampled == []
        async with running.bus.events(TOPIC) as events:
            await asyncio.wait_for(anext(events), 10)
        assert sampled


async def test_a_failure_is_told_with_its_traceback() -> None:
    observing = Observing()
    async with core(MemoryEventStore(), observer=observing) as running:
        observing.attach(running.bus)
        ref = await running.system.spawn(Recorder, "mine")
        ref.cast(Crash(ValueError("in the traceback")))
        await ref.wait()
        async with running.bus.events("_sys.actors.user.*", start="earliest") as events:
            news = [(await asyncio.wait_for(anext(events), 10)) for _ in range(4)]
    told = [event for event in news if event.key == "user/mine"]  # the other is user's own
    assert [event.topic.rsplit(".")[-1] for event in told] == ["started", "failed", "stopped"]
    assert "ValueError: in the traceback" in told[1].payload["traceback"]
    assert "Traceback (most recent call last)" in told[1].payload["traceback"]
    assert all(event.seq is not None for event in told)


async def test_those_that_come_and_go_share_a_topic_and_say_who_they_were() -> None:
    observing = Observing()
    async with core(MemoryEventStore(), observer=observing) as running:
        observing.attach(running.bus)
        for number in range(3):
            probe = await Probe.spawn(running.system, f"brief-{number}")
            probe.ref.stop()
            await probe.ref.wait()
        async with running.bus.events("_sys.actors.user.stopped", start="earliest") as events:
            seen = [(await asyncio.wait_for(anext(events), 10)) for _ in range(3)]
        assert [event.key for event in seen] == [f"user/brief-{n}" for n in range(3)]
        assert not [topic for topic in running.log.topics if "brief" in topic]


async def test_news_that_the_disk_refuses_are_no_error_of_their_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Refusing()
    observing = Observing()
    async with core(store, observer=observing) as running:
        observing.attach(running.bus)
        store.full = True
        with pytest.raises(StorageUnavailable):
            await running.bus.publish_event("a.b", 1)
        probe = await Probe.spawn(running.system)
        probe.ref.stop()
        await probe.ref.wait()
        await settle(running.system)
        gc.collect()
        store.full = False
    assert not [record for record in caplog.records if "never retrieved" in record.getMessage()]


class Refusing(MemoryEventStore):
    """A disk that can be full."""

    full = False

    def append(self, rows: Sequence[Row], recorded_us: int) -> None:
        if self.full:
            raise StoreUnavailable("the disk is full")
        super().append(rows, recorded_us)
