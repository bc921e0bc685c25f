"""Blocking code runs in threads, within a bound, and never holds up an end."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from tests.actors.kit import Ask, Ctx, Do, Note, Recorder, until

from antiphon.actors import ActorSystem, Child, Failed, Key, Supervisor
from antiphon.actors.offload import Offload
from antiphon.errors import CalleeFailed
from antiphon.testing import NotQuiet, settle


def offloading(work: Any, *args: Any) -> Do:
    async def run(ctx: Ctx) -> Any:
        return await ctx.offload(work, *args)

    return Do(run)


async def test_the_result_comes_back_and_the_work_ran_in_a_thread(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder)

    def work(n: int) -> tuple[int, bool]:
        return n + 1, threading.current_thread() is threading.main_thread()

    assert await ref.call(offloading(work, 41)) == (42, False)


@pytest.mark.parametrize("error", [ValueError("no"), StopIteration(3)])
async def test_what_it_raises_is_raised_at_the_await(system: ActorSystem, error: Exception) -> None:
    ref = await system.spawn(Recorder)

    def work() -> None:
        raise error

    with pytest.raises(CalleeFailed):
        await ref.call(offloading(work))
    assert isinstance(await ref.wait(), Failed)


async def test_no_more_than_the_bound_run_at_once() -> None:
    async with ActorSystem(threads=2) as system:
        running, most, lock = 0, 0, threading.Lock()
        go = threading.Event()

        def work() -> None:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            go.wait(5)
            with lock:
                running -= 1

        refs = [await system.spawn(Recorder) for _ in range(5)]
        calls = [ref.call(offloading(work)) for ref in refs]
        await until(lambda: running == 2)
        go.set()
        await asyncio.gather(*calls)
        assert most == 2


async def test_by_pipe_to_self_the_actor_stays_free(system: ActorSystem) -> None:
    log: list[Any] = []
    ref = await system.spawn(lambda: Recorder(log))
    go = threading.Event()

    async def run(ctx: Ctx) -> None:
        ctx.pipe_to_self(ctx.offload(go.wait, 5), lambda done: Note(f"done {done}"))

    await ref.call(Do(run))
    assert await ref.call(Ask("free")) == "free"
    go.set()
    await settle(system)
    assert log[-1] == "done True"


async def test_a_kill_abandons_the_result_and_counts_an_orphan(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder)
    started, go = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        go.wait(5)

    asked = ref.call(offloading(work))
    await until(started.is_set)
    ref.kill()
    await ref.wait()
    with pytest.raises(CalleeFailed):
        await asked
    assert system.offload.orphans == 1
    go.set()


async def test_what_has_not_begun_is_never_run_once_abandoned() -> None:
    async with ActorSystem(threads=1) as system:
        go = threading.Event()
        ran: list[str] = []
        busy = await system.spawn(Recorder)
        held = busy.call(offloading(go.wait, 5))
        await until(lambda: len(system.offload))
        waiting = await system.spawn(Recorder)
        asked = waiting.call(offloading(ran.append, "ran"))
        await until(lambda: len(system.offload) == 2)
        waiting.kill()
        with pytest.raises(CalleeFailed):
            await asked
        go.set()
        await held
        assert ran == []
        assert system.offload.orphans == 0


async def test_closing_does_not_wait_for_a_hung_call() -> None:
    go = threading.Event()
    async with asyncio.timeout(5):
        async with ActorSystem() as system:
            ref = await system.spawn(Recorder, shutdown=0.05)
            ref.cast(offloading(go.wait, 30))
            await until(lambda: len(system.offload))
    assert system.offload.orphans == 1
    assert not len(system.offload)
    go.set()


async def test_settle_waits_for_what_was_handed_out(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder)
    go = threading.Event()
    asked = ref.call(offloading(go.wait, 5))
    await until(lambda: len(system.offload))
    with pytest.raises(NotQuiet, match="blocking calls"):
        await settle(system, patience=0.1)
    go.set()
    await asked


def test_a_pool_without_threads_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 thread"):
        Offload(0)


async def test_a_result_does_not_reach_the_next_generation(system: ActorSystem) -> None:
    log: list[Any] = []
    key: Key[Any] = Key("kept")
    await system.supervise(Supervisor([Child(key, lambda: Recorder(log))]), "sup")
    ref = system.ref(key)
    go, ended = threading.Event(), threading.Event()

    def work() -> str:
        go.wait(5)
        ended.set()
        return "late"

    async def run_and_crash(ctx: Ctx) -> None:
        ctx.pipe_to_self(ctx.offload(work), Note)
        await until(lambda: next(iter(system.offload._under_way)).running)
        raise ValueError

    ref.cast(Do(run_and_crash))
    await until(lambda: ref.generation == 2 and system.offload.orphans == 1)
    go.set()
    await until(ended.is_set)
    await ref.call(offloading(int))  # by the same thread, or beside it
    await settle(system)
    assert "late" not in log
