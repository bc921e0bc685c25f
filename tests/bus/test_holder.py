"""The async iterator over a durable subscription: how it ends, and what it says then."""

from __future__ import annotations

import asyncio

import pytest

from antiphon.app import Core
from antiphon.bus import Holder
from antiphon.errors import LeaseLost

from .conftest import until
from .durable_kit import publish, take


async def test_iterating_ends_after_release_even_while_it_waits(running: Core) -> None:
    holder = await running.bus.durable("work", "a.*")
    seen: list[object] = []

    async def read(holder: Holder) -> None:
        async for event in holder:
            seen.append(event.payload)
            holder.ack(event.seq or 0)

    reading = asyncio.ensure_future(read(holder))
    await publish(running, "a.b", 1)
    await until(lambda: seen == [1])
    await holder.release()
    await asyncio.wait_for(reading, 10)
    await holder.release()
    with pytest.raises(LeaseLost, match="was released"):
        holder.ack(1)
    with pytest.raises(LeaseLost):
        holder.renew()


async def test_leaving_the_block_gives_back_what_is_in_hand_and_blames_nothing(
    running: Core,
) -> None:
    async with await running.bus.durable("work", "a.*", tries=1) as holder:
        assert (holder.name, holder.token) == ("work", 1)
        await publish(running, "a.b", 1, 2)
        await take(holder, 2)
    async with await running.bus.durable("work") as holder:
        assert [event.payload for event in await take(holder, 2)] == [1, 2]
        assert running.bus.durables()[0].parked == 0


async def test_a_cancelled_reader_blames_nothing(running: Core) -> None:
    async def work() -> None:
        async with await running.bus.durable("work", "a.*", tries=1) as holder:
            await take(holder, 1)
            await asyncio.get_running_loop().create_future()

    working = asyncio.ensure_future(work())
    await until(lambda: bool(running.bus.durables()))
    await publish(running, "a.b", 1)
    await until(lambda: running.bus.durables()[0].in_hand == 1)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    async with await running.bus.durable("work") as holder:
        assert [event.payload for event in await take(holder, 1)] == [1]
