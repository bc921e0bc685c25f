"""From other threads by ``ref.threadsafe``; in debug mode other ways are refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.actors.kit import Ask, Gate, Note, Recorder

from antiphon.actors import ActorSystem, DeadLetterReason, Overflow
from antiphon.errors import ActorDead, SystemClosed, WrongLoop
from antiphon.testing import settle


async def test_another_thread_casts_and_calls(system: ActorSystem) -> None:
    log: list[Any] = []
    ref = await system.spawn(lambda: Recorder(log))

    def elsewhere() -> str:
        for n in range(100):
            ref.threadsafe.cast(Note(str(n)))
        return ref.threadsafe.call(Ask("answer")).result(5)

    assert await asyncio.to_thread(elsewhere) == "answer"
    assert log[2:] == [*map(str, range(100)), "answer"]


async def test_errors_come_by_the_future_and_refusals_are_dead_letters(
    system: ActorSystem,
) -> None:
    gate = Gate()
    ref = await system.spawn(Recorder, capacity=1, overflow=Overflow.REJECT)
    ref.cast(gate.do)
    await gate.reached.wait()
    foreign: Any = object()
    for message in (Note("in"), Note("rejected"), foreign):
        await asyncio.to_thread(ref.threadsafe.cast, message)
    await asyncio.sleep(0)
    gate.opened.set()
    await settle(system)
    assert system.dead_letters.counts[DeadLetterReason.OVERFLOW] == 1
    assert system.dead_letters.counts[DeadLetterReason.UNHANDLED] == 1
    ref.stop()
    await ref.wait()
    future = await asyncio.to_thread(ref.threadsafe.call, Ask("x"))
    with pytest.raises(ActorDead):
        await asyncio.wrap_future(future)


def test_a_closed_loop_is_told() -> None:
    async def scene() -> Any:
        async with ActorSystem() as system:
            return (await system.spawn(Recorder)).threadsafe

    ref = asyncio.run(scene())
    with pytest.raises(SystemClosed):
        ref.cast(Note("x"))
    with pytest.raises(SystemClosed):
        ref.call(Ask("x"))


async def test_in_debug_a_wrong_thread_is_refused() -> None:
    async with ActorSystem(debug=True) as system:
        ref = await system.spawn(Recorder)
        ref.cast(Note("x"))
        assert await ref.call(Ask("x")) == "x"
        with pytest.raises(WrongLoop, match="threadsafe"):
            await asyncio.to_thread(ref.cast, Note("x"))
        with pytest.raises(WrongLoop):
            await asyncio.to_thread(lambda: asyncio.run(ref.send(Note("x"))))
