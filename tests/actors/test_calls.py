"""A circle of actors that wait for each other is seen before it closes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.actors.kit import Ask, Ctx, Do, Gate, Note, Recorder, until

from antiphon.actors import ActorRef, ActorSystem
from antiphon.errors import CallCycle, CalleeFailed, CallTimeout
from antiphon.testing import settle


def asking(*refs: ActorRef[Any]) -> Do:
    """Call the first, which calls the next, and so on."""

    async def work(ctx: Ctx) -> Any:
        first, *rest = refs
        return await first.call(asking(*rest) if rest else Ask("end"), timeout=3.0)

    return Do(work)


async def test_to_call_oneself_raises_at_once(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder, "a")

    async def work(ctx: Ctx) -> str:
        with pytest.raises(CallCycle, match="user/a -> user/a"):
            await ctx.myself.call(Ask("me"), timeout=None)
        return "lives"

    assert await ref.call(Do(work)) == "lives"
    await settle(system)


@pytest.mark.parametrize("length", [2, 3, 7])
async def test_a_circle_of_any_length_raises_at_the_last_one(
    system: ActorSystem, length: int
) -> None:
    refs = [await system.spawn(Recorder, f"n{n}") for n in range(length)]
    with pytest.raises(CalleeFailed) as failed:
        await refs[0].call(asking(*refs[1:], refs[0]))
    deepest: BaseException = failed.value
    while deepest.__cause__ is not None:
        deepest = deepest.__cause__
    assert isinstance(deepest, CallCycle)


async def test_a_chain_that_is_no_circle_is_let_pass(system: ActorSystem) -> None:
    refs = [await system.spawn(Recorder, f"n{n}") for n in range(5)]
    assert await refs[0].call(asking(*refs[1:])) == "end"
    assert all(ref._cell is not None and ref._cell.waiting_on is None for ref in refs)


async def test_a_call_that_is_not_awaited_yet_makes_no_circle(system: ActorSystem) -> None:
    """Only who waits is waited for: an answer may be fetched later."""
    a = await system.spawn(Recorder, "a")
    b = await system.spawn(Recorder, "b")
    gate = Gate()

    async def work(ctx: Ctx) -> str:
        b.call(asking(a))  # b will wait for a, which doesn't wait for b yet
        await gate.hold()
        return "done"

    working = a.call(Do(work))
    await gate.reached.wait()
    await until(lambda: b._cell is not None and b._cell.waiting_on is a)
    gate.opened.set()
    assert await working == "done"
    await settle(system)


async def test_tasks_of_a_body_are_exempt_and_end_by_their_timeouts(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder, "a")

    async def work(ctx: Ctx) -> str:
        async def ask() -> str:
            return await ctx.myself.call(Ask("me"), timeout=1.0)

        with pytest.raises(CallTimeout):
            await asyncio.create_task(ask())
        return "lives"

    working = ref.call(Do(work))
    await until(lambda: ref._cell is not None and ref._cell.life.doing() and ref._box.queue)
    clock: Any = system.clock
    assert clock.fire_next(clock.now() + 1.0)
    assert await working == "lives"


async def test_waiting_for_room_counts_too(system: ActorSystem) -> None:
    """A sends into B's full mailbox; B calls A: that could never end."""
    a = await system.spawn(Recorder, "a")
    b = await system.spawn(Recorder, "b", capacity=1)
    gate = Gate()

    async def hold_then_call(ctx: Ctx) -> Any:
        await gate.hold()
        with pytest.raises(CallCycle):
            await a.call(Ask("b asks"), timeout=None)
        return "refused"

    busy = b.call(Do(hold_then_call))
    await gate.reached.wait()
    b.cast(Note("fills it"))

    async def send(ctx: Ctx) -> str:
        await b.send(Note("waits"), timeout=None)
        return "sent"

    sending = a.call(Do(send))
    await until(lambda: a._cell is not None and a._cell.waiting_on is b)
    gate.opened.set()
    assert await busy == "refused"
    assert await sending == "sent"


async def test_to_send_into_ones_own_full_mailbox_raises(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder, "a", capacity=1)

    async def work(ctx: Ctx) -> str:
        ctx.myself.cast(Note("fills it"))
        with pytest.raises(CallCycle):
            await ctx.myself.send(Note("waits"), timeout=None)
        return "lives"

    assert await ref.call(Do(work)) == "lives"
    await settle(system)


async def test_a_negative_timeout_raises_and_sends_nothing(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder, "a")
    for timeout in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="timeout"):
            ref.call(Ask("x"), timeout=timeout)
    await settle(system)
    assert ref._cell is not None
    assert ref._cell.processed == 0


async def test_a_caller_cancelled_in_the_turn_of_its_reply_sees_the_cancelling(
    system: ActorSystem,
) -> None:
    callers: list[asyncio.Task[Any]] = []
    replied: list[bool] = []

    class Hasty(Recorder):
        async def handle(self, msg: Any, ctx: Ctx) -> None:
            replied.append(ctx.reply(msg, "x"))
            callers[0].cancel()

    ref = await system.spawn(Hasty)

    async def ask() -> Any:
        return await ref.call(Ask("x"))

    callers.append(asyncio.create_task(ask()))
    with pytest.raises(asyncio.CancelledError):
        await callers[0]
    assert replied == [True]
    assert ref.is_alive
