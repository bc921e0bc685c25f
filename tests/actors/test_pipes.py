"""Results of awaitables come back as messages."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.actors.kit import Ctx, Do, Gate, Note, Recorder

from antiphon.actors import ActorSystem, Failed
from antiphon.testing import settle


async def value(text: str) -> str:
    await asyncio.sleep(0)
    return text


async def broken() -> str:
    raise ValueError("piped")


async def test_a_result_becomes_a_message_while_others_are_handled(system: ActorSystem) -> None:
    log: list[Any] = []
    gate = Gate()

    async def wait() -> str:
        await gate.hold()
        return "result"

    async def start(ctx: Ctx) -> None:
        ctx.pipe_to_self(wait(), Note)

    ref = await system.spawn(lambda: Recorder(log))
    await ref.call(Do(start))
    await gate.reached.wait()
    ref.cast(Note("meanwhile"))
    gate.opened.set()
    await settle(system)
    assert log[2:] == ["meanwhile", "result"]


async def test_an_exception_goes_to_on_error(system: ActorSystem) -> None:
    log: list[Any] = []

    async def start(ctx: Ctx) -> None:
        ctx.pipe_to_self(broken(), Note, lambda error: Note(f"error: {error}"))

    ref = await system.spawn(lambda: Recorder(log))
    await ref.call(Do(start))
    await settle(system)
    assert log[2:] == ["error: piped"]


async def cancelled() -> str:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("work", "to_message", "error"),
    [
        (broken, Note, ValueError),
        (cancelled, Note, RuntimeError),
        (lambda: value("x"), lambda _: 1 / 0, ZeroDivisionError),
        (lambda: value("x"), lambda _: object(), TypeError),
    ],
)
async def test_what_nobody_handles_fails_the_actor(
    system: ActorSystem, work: Any, to_message: Any, error: type[Exception]
) -> None:
    async def start(ctx: Ctx) -> None:
        ctx.pipe_to_self(work(), to_message)

    ref = await system.spawn(Recorder)
    ref.cast(Do(start))
    reason = await ref.wait()
    assert isinstance(reason, Failed)
    assert isinstance(reason.error, error)


async def test_pipes_are_cancelled_with_their_generation(system: ActorSystem) -> None:
    ended: list[str] = []

    async def long() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return ""

    async def start(ctx: Ctx) -> None:
        ctx.pipe_to_self(long(), Note)
        await asyncio.sleep(0)
        ctx.pipe_to_self(long(), Note)
        ctx.stop()

    ref = await system.spawn(Recorder)
    ref.cast(Do(start))
    await ref.wait()
    await settle(system)
    for _ in range(3):
        await asyncio.sleep(0)
    assert ended == ["cancelled", "cancelled"]
