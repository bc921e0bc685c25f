"""What a principal may publish from outside; time is set by hand."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.bus.conftest import until

from antiphon.app import Core, core
from antiphon.bus import ADMIN, Access, Principal, Quota, Quotas
from antiphon.errors import BadRequest, Overloaded
from antiphon.messages import EventIn, Published
from antiphon.stores import SqliteEventStore

ANN = Principal("ann", Access(pub=("*",), sub=("*",)))
BOB = Principal("bob", Access(pub=("*",), sub=("*",)))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def limit(running: Core, **quota: int) -> Clock:
    """Bind everybody but admins from now on."""
    clock = Clock()
    running.bus.quotas = Quotas(running.log, Quota(**quota), clock)
    return clock


async def put(running: Core, topic: str, who: Principal = ANN, payload: Any = None) -> Published:
    event = EventIn(topic=topic, payload=payload)
    return await running.bus.publish(event, principal=who, remote=True)


async def test_so_many_events_at_once_then_so_many_a_second(running: Core) -> None:
    clock = limit(running, events_at_once=3, events_per_s=2)
    for _ in range(3):
        await put(running, "a")
    with pytest.raises(Overloaded, match="ann publishes faster than 2 events a second") as refused:
        await put(running, "a")
    assert (refused.value.retry_after_ms, refused.value.limit) == (500, 2)
    await put(running, "a", BOB)
    clock.now += 0.5
    await put(running, "a")
    with pytest.raises(Overloaded):
        await put(running, "a.typing")  # ephemeral ones count too
    assert running.bus.quotas is not None
    assert running.bus.quotas.counters == {"events": 2, "bytes": 0, "topics": 0}
    assert running.bus.head == 5


async def test_so_many_bytes_a_second_and_four_seconds_worth_at_once(running: Core) -> None:
    clock = limit(running, bytes_per_s=100_000)
    for _ in range(4):
        await put(running, "a", payload="x" * 99_500)
    with pytest.raises(Overloaded, match="faster than 100000 bytes a second") as refused:
        await put(running, "a", payload="x" * 99_500)
    assert 900 < refused.value.retry_after_ms <= 1000
    clock.now += 1.0
    await put(running, "a", payload="x" * 99_500)


async def test_admins_and_code_of_this_process_are_bound_by_nothing(running: Core) -> None:
    limit(running, events_at_once=1, events_per_s=1, topics=1)
    for n in range(5):
        await put(running, f"a.n{n}", ADMIN)
        await running.bus.publish_event(f"b.n{n}")
        await running.bus.publish_event(f"c.n{n}", principal=ANN)


async def test_so_many_topics_may_be_made_and_the_error_names_the_rule(running: Core) -> None:
    limit(running, topics=2)
    await running.bus.publish_event("there.already")
    await put(running, "a.one")
    await put(running, "a.two")
    with pytest.raises(BadRequest, match=r"ann has made 2 topics, a\.three would be") as refused:
        await put(running, "a.three")
    assert (refused.value.value, refused.value.limit) == ("a.three", 2)
    for topic in ("a.one", "there.already", "a.typing"):
        await put(running, topic)
    await put(running, "a.three", BOB)
    await put(running, "a.three")  # it is there now


async def test_topics_on_their_way_count_and_those_that_went_do_not(running: Core) -> None:
    clock = limit(running, topics=3)
    wanted = [
        running.bus.publish(EventIn(topic=f"a.n{n}"), principal=ANN, remote=True) for n in range(3)
    ]
    with pytest.raises(BadRequest):
        running.bus.publish(EventIn(topic="a.more"), principal=ANN, remote=True)
    await asyncio.gather(*wanted)
    await running.log.trim("a.n0", 1)
    await running.log.removals.drop_topics(["a.n0"])
    with pytest.raises(BadRequest):  # they are looked through once a second at most
        await put(running, "a.more")
    clock.now += 1.0
    await until(lambda: running.log.waiting == 0)
    await put(running, "a.more")
    clock.now += 1.0
    with pytest.raises(BadRequest):
        await put(running, "a.again")


async def test_after_a_restart_topics_count_for_who_published_their_first_event(
    tmp_path: Path,
) -> None:
    async with core(SqliteEventStore(tmp_path / "log.db")) as running:
        limit(running, topics=2)
        await put(running, "a.one")
        await put(running, "a.two", BOB)
        await put(running, "a.two")
    async with core(SqliteEventStore(tmp_path / "log.db")) as running:
        limit(running, topics=2)
        assert running.bus.quotas is not None
        await running.bus.quotas.learn()
        await put(running, "a.three")
        with pytest.raises(BadRequest, match="ann has made 2 topics"):
            await put(running, "a.four")
        await put(running, "a.four", BOB)
        with pytest.raises(BadRequest, match="bob has made 2 topics"):
            await put(running, "a.five", BOB)
