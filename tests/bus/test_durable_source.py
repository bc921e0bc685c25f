"""Actors that hold a durable subscription: acked when handled, again when it raised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import pytest
from tests.bus.conftest import until
from tests.bus.durable_kit import advance, by_hand, letters, publish

from antiphon.actors import Actor, ActorContext, Backoff, Child, Key, Notice, Supervisor
from antiphon.app import Core, core
from antiphon.bus import BUS, Ended, EventStore, Live, subscribe
from antiphon.errors import BadRequest, LeaseHeld
from antiphon.messages import Event
from antiphon.testing import ManualClock

KEY: Key[str] = Key("workers/one")


class Worker(Actor[str]):
    """Raises on "bad"; keeps all others."""

    def __init__(self, running: Core, seen: list[Any], **options: Any) -> None:
        self.running = running
        self.seen = seen
        self.options = {"durable": "work", "start": "earliest", **options}

    async def pre_start(self, ctx: ActorContext[str]) -> None:
        await subscribe(self.running.bus, ctx.myself, "a.*", **self.options)

    async def handle(self, msg: str, ctx: ActorContext[str]) -> None:
        self.seen.append(msg)

    async def handle_notice(self, notice: Notice, ctx: ActorContext[str]) -> None:
        if not isinstance(notice, Live):
            self.seen.append(notice)

    async def handle_event(self, event: Event, ctx: ActorContext[str]) -> None:
        if event.payload == "bad":
            raise ValueError("it is bad")
        self.seen.append(event.payload)


class SliceWorker(Worker):
    """The same, by whole slices."""

    async def handle_events(self, events: Sequence[Event], ctx: ActorContext[str]) -> None:
        for event in events:
            await self.handle_event(event, ctx)


async def supervise(running: Core, make: Callable[[], Worker]) -> None:
    await running.system.supervise(
        Supervisor([Child(KEY, make, backoff=Backoff(0, 0))], intensity=100), name="workers"
    )


async def retries(running: Core, clock: ManualClock, what: Callable[[], bool]) -> None:
    """Let the time pass until *what*."""

    def later() -> bool:
        advance(clock, 1.0)
        return what()

    await until(later)


@pytest.mark.parametrize("kind", [Worker, SliceWorker])
async def test_an_event_whose_handler_raised_comes_again_and_is_parked_in_the_end(
    running: Core, kind: type[Worker]
) -> None:
    """The others of its slice are handled, and none is blamed but the one that raises."""
    clock = by_hand(running)
    seen: list[Any] = []
    await publish(running, "a.b", 1, 2, "bad", 3)
    await publish(running, "a.c", 4)
    await supervise(running, lambda: kind(running, seen))
    await retries(running, clock, lambda: running.bus.durables()[0].parked == 1)
    await until(lambda: {1, 2, 3, 4} <= set(seen))
    await until(lambda: running.bus.durables()[0].position >= 5)
    if kind is Worker:
        assert sorted(seen) == [1, 2, 3, 4]
    [letter] = await letters(running, "work")
    assert (letter["event"]["payload"], letter["tries"]) == ("bad", 5)
    assert letter["reason"] == "ValueError: it is bad"
    assert running.system.ref(KEY).generation >= 6


async def test_what_was_handled_is_not_handled_again_after_a_restart(
    new_store: Callable[[], EventStore],
) -> None:
    seen: list[Any] = []
    async with core(new_store()) as running:
        await supervise(running, lambda: Worker(running, seen))
        await publish(running, "a.b", *range(500))
        await until(lambda: len(seen) == 500)
    async with core(new_store()) as running:
        await publish(running, "a.b", 500)
        await supervise(running, lambda: Worker(running, seen))
        await until(lambda: len(seen) >= 501)
        assert seen == list(range(501))


async def test_the_lease_lives_through_restarts_until_unsubscribe(running: Core) -> None:
    seen: list[Any] = []
    await supervise(running, lambda: Worker(running, seen))
    ref = running.system.ref(KEY)
    with pytest.raises(LeaseHeld):
        await running.bus.durable("work")
    ref.kill()
    running.system.ref(BUS).kill()
    await publish(running, "a.b", 1)
    await until(lambda: seen == [1])
    assert running.bus.durables()[0].holders == [ref.path]
    assert await running.bus.unsubscribe(ref, "work")
    holder = await running.bus.durable("work")
    with pytest.raises(LeaseHeld):
        await running.bus.subscribe(ref, "a.*", durable="work")
    await holder.release()
    assert await running.bus.subscribe(ref, "a.*", durable="work") == "work"


async def test_the_lease_ends_with_the_ref(running: Core) -> None:
    ref = await running.system.spawn(lambda: Worker(running, []))
    assert running.bus.durables()[0].state == "held"
    ref.stop()
    await ref.wait()
    assert running.bus.durables()[0].state == "idle"


async def test_actors_share_the_work_of_a_group(running: Core) -> None:
    seen: list[list[Any]] = [[], [], []]
    refs = [
        await running.system.spawn(
            lambda log=log: Worker(running, log, durable=None, group="crew")  # type: ignore[misc]
        )
        for log in seen
    ]
    for n in range(60):
        await publish(running, f"a.t{n % 30}", n)
    await until(lambda: sum(map(len, seen)) == 60)
    assert sorted(chain(*seen)) == list(range(60))
    refs[0].stop()
    await refs[0].wait()
    for n in range(60, 120):
        await publish(running, f"a.t{n % 30}", n)
    await until(lambda: sum(map(len, seen)) == 120)
    assert sorted(chain(*seen)) == list(range(120))
    assert len(running.bus.durables()[0].holders) == 2


async def test_an_actor_hears_that_its_subscription_ended(running: Core) -> None:
    seen: list[Any] = []
    ref = await running.system.spawn(lambda: Worker(running, seen))
    await running.bus.drop_durable("work")
    await until(lambda: bool(seen))
    assert seen == [Ended("work", "lease_lost", "work was dropped")]
    assert not await running.bus.unsubscribe(ref, "work")


async def test_a_subscription_that_stops_tells_its_actor(running: Core) -> None:
    seen: list[Any] = []
    await publish(running, "a.b", "bad", 1)
    await supervise(running, lambda: Worker(running, seen, tries=1, on_exhausted="stop"))
    await until(lambda: running.bus.durables()[0].state == "stopped")
    assert running.bus.durables()[0].reason == "ValueError: it is bad"
    await until(lambda: bool(seen))
    assert seen[0].code == "durable_stopped"
    ref = running.system.ref(KEY)
    await running.bus.resume_durable("work", skip=True)
    await running.bus.subscribe(ref, "a.*", durable="work")
    await until(lambda: seen[-1] == 1)


async def test_one_name_has_one_subscription_of_an_actor(running: Core) -> None:
    seen: list[Any] = []
    ref = await running.system.spawn(lambda: Worker(running, seen))
    assert await running.bus.subscribe(ref, "a.*", durable="work") == "work"
    with pytest.raises(BadRequest, match="has other patterns"):
        await running.bus.subscribe(ref, "b.*", durable="work")
    with pytest.raises(BadRequest, match="give one of them"):
        await running.bus.subscribe(ref, "a.*", durable="work", group="crew")
