"""A trace goes with each message, whatever way it takes, and ends with its handler."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.actors.kit import Ctx, Do, Recorder

from antiphon.actors import ActorRef, ActorSystem, Trace, current_trace, tracing
from antiphon.testing import advance, settle

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def noting(seen: list[Trace | None]) -> Do:
    async def work(ctx: Ctx) -> None:
        seen.append(current_trace())

    return Do(work)


async def reach(way: str, system: ActorSystem, ref: ActorRef[Any], msg: Do) -> None:
    match way:
        case "cast":
            ref.cast(msg)
        case "try_cast":
            ref.try_cast(msg)
        case "send":
            await ref.send(msg)
        case "call":
            await ref.call(msg)
        case "timer" | "interval" | "pipe":

            async def arrange(ctx: Ctx) -> None:
                if way == "timer":
                    ctx.send_after(1.0, msg)
                elif way == "interval":
                    ctx.send_interval(1.0, msg)
                else:
                    ctx.pipe_to_self(asyncio.sleep(0), lambda _: msg)

            await ref.call(Do(arrange))


@pytest.mark.parametrize("way", ["cast", "try_cast", "send", "call", "timer", "interval", "pipe"])
async def test_every_way_to_an_actor_carries_the_trace(system: ActorSystem, way: str) -> None:
    seen: list[Trace | None] = []
    ref = await system.spawn(Recorder)
    with tracing(Trace.parse(PARENT, "job-7")) as trace:
        await reach(way, system, ref, noting(seen))
    await advance(system, 1.0)
    [got] = seen
    assert got is not None
    assert (got.trace_id, got.correlation_id) == (trace.trace_id, "job-7")
    assert got.span_id != trace.span_id


async def test_it_crosses_hops_and_each_is_a_step_of_its_own(system: ActorSystem) -> None:
    seen: list[Trace | None] = []
    refs = [await system.spawn(Recorder) for _ in range(3)]

    def hop(left: list[ActorRef[Any]]) -> Do:
        async def work(ctx: Ctx) -> None:
            seen.append(current_trace())
            if left:
                await left[0].call(hop(left[1:]))

        return Do(work)

    with tracing():
        await refs[0].call(hop(refs[1:]))
    traces = [trace for trace in seen if trace is not None]
    assert len({trace.trace_id for trace in traces}) == 1
    assert len({trace.span_id for trace in traces}) == 3


async def test_it_ends_with_the_handler_and_is_not_the_spawners(system: ActorSystem) -> None:
    seen: list[Trace | None] = []
    with tracing():
        ref = await system.spawn(Recorder)
        await ref.call(noting([]))
    ref.cast(noting(seen))
    await ref.call(noting(seen))
    await settle(system)
    assert seen == [None, None]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00-xyz",
        PARENT.upper(),
        PARENT + "-more",
        PARENT.replace("00-4", "01-4"),
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        PARENT.replace("00f067aa0ba902b7", "0" * 16),
    ],
)
def test_what_is_no_traceparent_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="traceparent"):
        Trace.parse(text)


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 255))
def test_a_traceparent_is_read_and_written_alike(trace: int, span: int, flags: int) -> None:
    text = f"00-{trace:032x}-{span:016x}-{flags:02x}"
    assert Trace.parse(text).traceparent == text
