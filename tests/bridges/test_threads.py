"""Plain threads publish and read, and the loop never waits for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from tests.bus.conftest import until

import antiphon
from antiphon.actors import tracing
from antiphon.app import Core
from antiphon.bridges.threads import ThreadBus
from antiphon.errors import (
    BusClosed,
    Forbidden,
    IdConflict,
    InvalidPattern,
    InvalidPayload,
    Overloaded,
    SubscriptionGap,
    WrongLoop,
)

THREADS = 8
EACH = 1000


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Core]:
    async with antiphon.open(tmp_path) as app:
        yield app


async def test_eight_threads_publish_a_thousand_each_in_order_and_one_reads_all(app: Core) -> None:
    bridge = ThreadBus(app.bus)

    def publish(number: int) -> list[int]:
        answers = [bridge.publish_soon(f"t.{number}", n, key=str(number)) for n in range(EACH)]
        return [answer.result(30).seq or 0 for answer in answers]

    def read() -> list[tuple[str, int]]:
        with bridge.events("t.*", start="earliest", timeout=30) as events:
            return [(event.topic, event.payload) for event in islice(events, total)]

    total = THREADS * EACH
    with ThreadPoolExecutor(THREADS + 1) as pool:
        loop = asyncio.get_running_loop()
        reading = loop.run_in_executor(pool, read)
        seqs = await asyncio.gather(
            *(loop.run_in_executor(pool, publish, n) for n in range(THREADS))
        )
        seen = await reading
    assert all(one == sorted(one) for one in seqs)
    assert sorted(seq for one in seqs for seq in one) == list(range(1, total + 1))
    for number in range(THREADS):
        assert [n for topic, n in seen if topic == f"t.{number}"] == list(range(EACH))


async def test_a_publish_is_answered_when_it_is_stored(app: Core) -> None:
    bridge = ThreadBus(app.bus)
    answer = await asyncio.to_thread(bridge.publish, "a.b", {"n": 1}, id="x")
    assert (answer.seq, answer.id, app.bus.head) == (1, "x", 1)
    with pytest.raises(IdConflict):
        await asyncio.to_thread(bridge.publish, "a.b", 2, id="x")
    with pytest.raises(InvalidPayload):
        await asyncio.to_thread(bridge.publish_soon, "a.b", object())
    with pytest.raises(TypeError):
        await asyncio.to_thread(bridge.publish, "a.b", 1, colour="red")


async def test_an_event_is_fixed_when_its_thread_published_it_and_carries_its_trace(
    app: Core,
) -> None:
    bridge = ThreadBus(app.bus)
    gate = threading.Event()

    def publish() -> Any:
        payload = {"n": 1}
        with tracing(correlation_id="job-7"):
            answer = bridge.publish_soon("a.b", payload)
        payload["n"] = 2
        gate.set()
        return answer

    thread = asyncio.get_running_loop().run_in_executor(None, publish)
    gate.wait(10)  # the loop stands still meanwhile
    await asyncio.wrap_future(await thread)
    async with app.bus.events("a.b", start="earliest") as events:
        event = await anext(events)
    assert (event.payload, event.correlation_id) == ({"n": 1}, "job-7")


async def test_the_loops_own_thread_is_refused_before_it_waits_for_itself(app: Core) -> None:
    bridge = ThreadBus(app.bus)
    for use in (bridge.publish, bridge.publish_soon, bridge.events):
        with pytest.raises(WrongLoop, match="use the bus"):
            use("a.b")
    reader = await asyncio.to_thread(bridge.events, "a.b")
    with pytest.raises(WrongLoop):
        next(reader)


async def test_too_many_waiting_events_block_their_threads_and_then_refuse(app: Core) -> None:
    bridge = ThreadBus(app.bus, waiting=3)
    done = threading.Event()

    def flood() -> int:
        try:
            for _ in range(3):
                bridge.publish_soon("a.b")
            with pytest.raises(Overloaded, match="3 events of threads wait"):
                bridge.publish_soon("a.b", timeout=0.01)
        finally:
            done.set()
        return bridge.publish("a.b").seq or 0

    thread = asyncio.get_running_loop().run_in_executor(None, flood)
    done.wait(10)  # the loop stands still meanwhile
    assert await thread == 4


async def test_a_publish_that_is_given_up_in_time_is_never_stored(app: Core) -> None:
    bridge = ThreadBus(app.bus)
    done = threading.Event()

    def give_up() -> None:
        try:
            with pytest.raises(TimeoutError, match="it was not handed in"):
                bridge.publish("a.b", "late", timeout=0.01)
        finally:
            done.set()

    thread = asyncio.get_running_loop().run_in_executor(None, give_up)
    done.wait(10)  # the loop stands still meanwhile
    await thread
    assert (await asyncio.to_thread(bridge.publish, "a.b", "next")).seq == 1


async def test_an_iterator_is_told_of_a_gap_and_goes_on(app: Core) -> None:
    bridge = ThreadBus(app.bus)
    for n in range(5):
        await app.bus.publish_event("a.b", n)
    cursor = app.bus.cursor(0)
    await app.log.trim("a.b", 3)
    app.log.ring.restart(app.log.head)

    def read() -> list[Any]:
        reader = bridge.events("a.b", start=cursor, timeout=10)
        with pytest.raises(SubscriptionGap):
            next(reader)
        rest = [next(reader).payload, next(reader).payload]
        assert reader.cursor == app.bus.cursor(5)
        reader.close()
        assert list(reader) == []
        return rest

    assert await asyncio.to_thread(read) == [3, 4]
    await until(lambda: app.log.subscriptions == 0)


async def test_a_wait_that_timed_out_loses_nothing(app: Core) -> None:
    bridge = ThreadBus(app.bus)
    reader = await asyncio.to_thread(bridge.events, "a.b", timeout=0.01)
    with pytest.raises(TimeoutError, match=r"no event of a\.b within 0\.01 s"):
        await asyncio.to_thread(next, reader)
    await app.bus.publish_event("a.b", 1)
    await app.bus.publish_event("a.b", 2)
    assert [(await asyncio.to_thread(next, reader)).payload for _ in range(2)] == [1, 2]
    reader.close()


async def test_closing_an_iterator_ends_who_waits_for_it(app: Core) -> None:
    bridge = ThreadBus(app.bus)
    reader = await asyncio.to_thread(bridge.events, "a.b")
    waiting = asyncio.ensure_future(asyncio.to_thread(list, reader))
    await until(lambda: reader._asked is not None)
    reader.close()
    assert await asyncio.wait_for(waiting, 10) == []


async def test_what_is_refused_at_the_start_is_told_there(app: Core) -> None:
    bridge = ThreadBus(app.bus, principal=antiphon.Principal("ann", antiphon.Access(sub=("a.*",))))
    with pytest.raises(InvalidPattern):
        await asyncio.to_thread(bridge.events, "**")
    with pytest.raises(Forbidden):
        await asyncio.to_thread(bridge.events, "b.*")
    with pytest.raises(Forbidden):
        await asyncio.to_thread(bridge.publish, "a.b")
    assert app.log.subscriptions == 0


async def test_the_end_of_the_bus_ends_every_wait_with_a_clear_error(tmp_path: Path) -> None:
    async with antiphon.open(tmp_path) as app:
        bridge = ThreadBus(app.bus)
        reader = await asyncio.to_thread(bridge.events, "a.b")
        waiting = asyncio.ensure_future(asyncio.to_thread(next, reader))
        await until(lambda: reader._asked is not None)
    with pytest.raises(BusClosed, match="the bus has ended"):
        await asyncio.wait_for(waiting, 10)
    for use in (bridge.publish, bridge.publish_soon, bridge.events):
        with pytest.raises(BusClosed):
            await asyncio.to_thread(use, "a.b")
    with pytest.raises(BusClosed):
        await asyncio.to_thread(next, reader)
    assert app.log.subscriptions == 0


def test_a_thread_is_told_when_the_loop_has_gone(tmp_path: Path) -> None:
    kept: list[ThreadBus] = []

    async def main() -> None:
        async with antiphon.open(tmp_path) as app:
            kept.append(ThreadBus(app.bus))

    asyncio.run(main())
    with pytest.raises(BusClosed):
        kept[0].publish("a.b")
    kept[0].close()


async def test_a_closed_bridge_answers_what_waits_and_leaves_nothing_behind(app: Core) -> None:
    def work() -> ThreadBus:
        with ThreadBus(app.bus) as bridge:
            bridge.events("a.b")
            return bridge

    bridge = await asyncio.to_thread(work)
    await until(lambda: app.log.subscriptions == 0)
    with pytest.raises(BusClosed):
        await asyncio.to_thread(bridge.publish, "a.b")
