"""The event port: slices, positions, turns. On both loops."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from tests.actors.kit import Ask, Ctx, Do, Gate, ListSource, Note, Recorder, Stubborn, until

from antiphon.actors import (
    Actor,
    ActorSystem,
    Child,
    DeadLetterReason,
    Joined,
    Key,
    Supervisor,
    life,
)
from antiphon.errors import ActorDead
from antiphon.testing import Probe, advance, settle

KEY: Key[Any] = Key("reader")


class Batches(Actor[Note]):
    def __init__(self, log: list[Any]) -> None:
        self.log = log

    async def handle_events(self, events: Sequence[Any], ctx: Ctx) -> None:
        self.log.append(list(events))
        if "bad" in events:
            raise ValueError("batch")


async def supervised(system: ActorSystem, log: list[Any]) -> Any:
    await system.supervise(Supervisor([Child(KEY, lambda: Recorder(log))], intensity=10), "sup")
    return system.ref(KEY)


async def test_events_come_in_order_and_the_position_follows(system: ActorSystem) -> None:
    probe: Probe[Any] = await Probe.spawn(system)
    source = ListSource(range(1000))
    probe.ref.feed(source)
    await settle(system)
    assert probe.events == list(range(1000))
    assert source.position == 1000
    assert max(source.taken) <= 256


async def test_after_none_the_source_wakes_the_feed(system: ActorSystem) -> None:
    probe: Probe[Any] = await Probe.spawn(system)
    source = ListSource()
    feed = probe.ref.feed(source)
    await settle(system)
    source.items += ["a", "b"]
    feed.wake()
    feed.wake()
    await settle(system)
    assert probe.events == ["a", "b"]


async def test_a_class_with_handle_events_gets_slices(system: ActorSystem) -> None:
    log: list[Any] = []
    ref = await system.spawn(lambda: Batches(log))
    source = ListSource(range(600))
    ref.feed(source)
    await settle(system)
    assert [len(batch) for batch in log] == [256, 256, 88]
    assert source.position == 600


async def test_notices_of_a_source_go_to_handle_notice_in_their_place(
    system: ActorSystem,
) -> None:
    log: list[Any] = []
    ref = await system.spawn(lambda: Recorder(log))
    notice = Joined("s", "g", ref)
    ref.feed(ListSource(["a", notice, "b"]))
    await settle(system)
    assert log[2:] == ["a", notice, "b"]


async def test_after_a_crash_the_next_generation_has_the_next_event(system: ActorSystem) -> None:
    log: list[Any] = []
    ref = await supervised(system, log)
    bad = ValueError("bad event")
    source = ListSource(["a", bad, "b", "c"])
    ref.feed(source)
    await settle(system)
    assert log == ["pre_start", "post_start", "a", "post_stop: failed: ValueError: bad event",
                   "pre_start", "post_start", "b", "c"]  # fmt: skip
    (letter,) = system.dead_letters
    assert letter.reason is DeadLetterReason.FAILED
    assert letter.message is bad
    assert source.position == 4
    assert source.was_closed == 0


async def test_a_crashing_slice_is_counted_whole(system: ActorSystem) -> None:
    log: list[Any] = []
    await system.supervise(Supervisor([Child(KEY, lambda: Batches(log))]), "sup")
    source = ListSource(["a", "bad", "b"])
    system.ref(KEY).feed(source)
    await settle(system)
    assert log == [["a", "bad", "b"]]
    assert source.position == 3
    assert [letter.message for letter in system.dead_letters] == [["a", "bad", "b"]]


async def test_a_killed_event_is_counted(system: ActorSystem) -> None:
    gate = Gate()
    log: list[Any] = []

    class Holding(Recorder):
        async def handle_event(self, event: Any, ctx: Ctx) -> None:
            if event == "hold":
                await gate.hold()
            self.log.append(event)

    await system.supervise(Supervisor([Child(KEY, lambda: Holding(log))]), "sup")
    ref = system.ref(KEY)
    ref.feed(ListSource(["a", "hold", "b"]))
    await gate.reached.wait()
    ref.kill()
    await settle(system)
    assert log == ["pre_start", "post_start", "a", "pre_start", "post_start", "b"]
    assert [letter.message for letter in system.dead_letters] == ["hold"]


async def test_a_zombies_position_is_moved_for_it_once(system: ActorSystem) -> None:
    stubborn = Stubborn()
    log: list[Any] = []

    class Holding(Recorder):
        async def handle_event(self, event: Any, ctx: Ctx) -> None:
            if event == "hold":
                await stubborn.hold()
            self.log.append(event)

    await system.supervise(Supervisor([Child(KEY, lambda: Holding(log))]), "sup")
    ref = system.ref(KEY)
    source = ListSource(["a", "hold", "b", "c"])
    ref.feed(source)
    await stubborn.reached.wait()
    ref.kill()
    await advance(system, 1.0)
    assert ref.generation == 2
    assert log[-2:] == ["b", "c"]
    stubborn.go.set()
    await until(lambda: not system.zombies)
    assert source.position == 4
    assert ref.is_alive
    assert ref.try_cast(Note("the next generation is not harmed"))


async def test_stop_acts_between_two_events_of_a_slice(system: ActorSystem) -> None:
    log: list[Any] = []

    class Stopping(Recorder):
        async def handle_event(self, event: Any, ctx: Ctx) -> None:
            self.log.append(event)
            if event == 2:
                ctx.stop()

    ref = await system.spawn(lambda: Stopping(log))
    source = ListSource(range(10))
    ref.feed(source)
    await ref.wait()
    assert log[2:-1] == [0, 1, 2]
    assert source.position == 3
    assert source.was_closed == 1


async def test_a_notice_acts_between_two_events_of_a_slice(system: ActorSystem) -> None:
    log: list[Any] = []
    other = await system.spawn(Recorder)
    other.stop()
    await other.wait()

    class Watching(Recorder):
        async def handle_event(self, event: Any, ctx: Ctx) -> None:
            self.log.append(event)
            if event == 0:
                ctx.monitor(other)

    ref = await system.spawn(lambda: Watching(log))
    ref.feed(ListSource(range(3)))
    await settle(system)
    assert [x if isinstance(x, int) else type(x).__name__ for x in log[2:]] == [0, "Down", 1, 2]


async def test_events_and_messages_take_turns(plain_system: ActorSystem) -> None:
    """A full mailbox doesn't starve the events, nor the other way round."""
    system = plain_system
    log: list[Any] = []
    gate = Gate()
    ref = await system.spawn(lambda: Recorder(log))
    ref.cast(gate.do)
    await gate.reached.wait()
    ref.feed(ListSource(["event"] * 1000))
    for _ in range(1000):
        ref.cast(Note("message"))
    gate.opened.set()
    await settle(system)
    first_half = log[2:1002]
    assert 100 < first_half.count("message") < 900
    assert log.count("event") == log.count("message") == 1000


async def test_a_detached_feed_brings_nothing_more(system: ActorSystem) -> None:
    log: list[Any] = []
    feeds: list[Any] = []

    class Leaving(Recorder):
        async def handle_event(self, event: Any, ctx: Ctx) -> None:
            self.log.append(event)
            if event == 1:
                feeds[0].detach()

    ref = await system.spawn(lambda: Leaving(log))
    source = ListSource(range(10))
    feeds.append(ref.feed(source))
    await settle(system)
    assert log[2:] == [0, 1]
    assert source.position == 2
    feeds[0].wake()
    await settle(system)
    assert log[2:] == [0, 1]
    ref.stop()
    await ref.wait()
    assert source.was_closed == 0


async def test_two_feeds_take_turns(system: ActorSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "TURN_S", 60.0)  # a loaded machine would end a turn earlier
    probe: Probe[Any] = await Probe.spawn(system)
    gate = Gate()
    probe.ctx.pipe_to_self(gate.hold(), lambda _: "opened")
    probe.ref.feed(ListSource(["a"] * 600))
    probe.ref.feed(ListSource(["b"] * 600))
    gate.opened.set()
    await settle(system)
    assert probe.events[:512] == ["a"] * 256 + ["b"] * 256


async def test_a_source_that_raises_fails_the_actor_and_is_asked_again(
    system: ActorSystem,
) -> None:
    log: list[Any] = []
    ref = await supervised(system, log)

    class Flaky(ListSource):
        broken = True

        def take(self, limit: int) -> Any:
            if self.broken:
                self.broken = False
                raise OSError("disk")
            return super().take(limit)

    ref.feed(Flaky(["a"]))
    await settle(system)
    assert ref.generation == 2
    assert log[-1] == "a"


async def test_a_source_hears_of_the_end_of_the_ref_once(system: ActorSystem) -> None:
    log: list[Any] = []
    supervisor = await system.supervise(Supervisor([Child(KEY, lambda: Recorder(log))]), "sup")
    ref = system.ref(KEY)
    source = ListSource(["a"])
    feed = ref.feed(source)
    ref.kill()
    await settle(system)
    assert source.was_closed == 0
    supervisor.stop()
    await settle(system)
    assert source.was_closed == 1
    feed.detach()
    assert source.was_closed == 1


async def test_the_dead_cannot_be_fed(system: ActorSystem) -> None:
    with pytest.raises(ActorDead):
        system.ref(KEY).feed(ListSource())


async def test_long_slices_give_way(system: ActorSystem) -> None:
    """Another task runs between slices, however many events there are."""
    probe: Probe[Any] = await Probe.spawn(system)
    probe.ref.feed(ListSource(range(10_000)))
    seen = []
    while len(probe.events) < 10_000:
        seen.append(len(probe.events))
        await asyncio.sleep(0)
    assert len(seen) > 20


async def test_calls_are_answered_between_slices(system: ActorSystem) -> None:
    log: list[Any] = []
    ref = await system.spawn(lambda: Recorder(log))
    ref.feed(ListSource(range(5000)))
    await asyncio.sleep(0)
    assert await ref.call(Ask("x")) == "x"
    assert len(log) < 5000
    assert await ref.call(Do(lambda ctx: asyncio.sleep(0, "y"))) == "y"
