"""Tasks: a piece of work as an actor of its own, its result a message."""

from __future__ import annotations

import asyncio
from typing import Any, Never

import pytest
from tests.actors.kit import Ask, Crash, Ctx, Do, Gate, Note, Recorder, until

from antiphon.actors import (
    ActorRef,
    ActorSystem,
    Backoff,
    Child,
    Down,
    Failed,
    Key,
    Killed,
    Restart,
    Stopped,
    Supervisor,
    Task,
    current_trace,
    tracing,
)
from antiphon.errors import NameTaken
from antiphon.testing import advance, settle

WORK: Key[Never] = Key("work")


async def double(number: int) -> str:
    await asyncio.sleep(0)
    return str(2 * number)


async def fail(error: Exception) -> str:
    raise error


def told(error: Exception) -> Note:
    return Note(f"told: {error}")


async def spawn_in(
    ref: ActorRef[Any], work: Any, *args: Any, watch: bool = False, **options: Any
) -> ActorRef[Never]:
    """Let the actor *ref* start a task, and monitor it at once."""

    async def start(ctx: Ctx) -> ActorRef[Never]:
        task = await ctx.spawn_task(work, *args, to_message=Note, **options)
        if watch:
            ctx.monitor(task)
        return task

    return await ref.call(Do(start))


async def supervised(
    system: ActorSystem, to: ActorRef[Any], work: Any, *args: Any, **options: Any
) -> ActorRef[Never]:
    task = Task(work, *args, to=to, to_message=Note, **options)
    child = Child(WORK, task, restart=Restart.TRANSIENT, backoff=Backoff(base=1.0, jitter=0.0))
    await system.supervise(Supervisor([child]))
    return system.ref(WORK)


# --- in an actor ------------------------------------------------------------------------


async def test_the_result_becomes_a_message_and_the_task_ends_normally(
    system: ActorSystem,
) -> None:
    log: list[Any] = []
    ref = await system.spawn(lambda: Recorder(log))
    task = await spawn_in(ref, double, 21)
    assert await task.wait() == Stopped("done")
    await settle(system)
    assert log[2:] == ["42"]


async def test_it_stands_in_the_tree_while_the_actor_handles_other_messages(
    system: ActorSystem,
) -> None:
    ref = await system.spawn(Recorder, "owner")
    gate = Gate()
    await spawn_in(ref, gate.hold, name="slow")
    await gate.reached.wait()
    assert await ref.call(Ask("meanwhile")) == "meanwhile"
    assert system.lookup("user/owner/slow") is not None
    gate.opened.set()


async def test_a_monitor_made_at_once_sees_the_end_of_the_quickest_task(
    system: ActorSystem,
) -> None:
    log: list[Any] = []
    ref = await system.spawn(lambda: Recorder(log))
    task = await spawn_in(ref, fail, ValueError("quick"), watch=True)
    await settle(system)
    (down,) = (entry for entry in log if isinstance(entry, Down))
    assert down.ref is task
    assert isinstance(down.reason, Failed)


async def test_what_it_raises_fails_the_task_alone(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder)
    task = await spawn_in(ref, fail, ValueError("no"))
    assert isinstance(await task.wait(), Failed)
    assert await ref.call(Ask("alive")) == "alive"


async def test_on_error_makes_a_message_of_it_and_the_end_is_normal(system: ActorSystem) -> None:
    log: list[Any] = []
    ref = await system.spawn(lambda: Recorder(log))
    task = await spawn_in(ref, fail, ValueError("no"), on_error=told)
    assert await task.wait() == Stopped("done")
    await settle(system)
    assert log[2:] == ["told: no"]


async def test_linked_it_takes_the_actor_with_it(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder)
    await spawn_in(ref, fail, ValueError("no"), link=True)
    assert isinstance(await ref.wait(), Killed)


async def test_a_kill_cancels_the_work_and_its_cleanup_is_waited_for(system: ActorSystem) -> None:
    log: list[Any] = []
    ref = await system.spawn(lambda: Recorder(log))
    gate = Gate()

    async def work() -> str:
        try:
            await gate.hold()
        finally:
            await asyncio.sleep(0)
            log.append("cleaned up")
        return "never"

    task = await spawn_in(ref, work, on_error=told)
    await gate.reached.wait()
    task.kill()
    assert isinstance(await task.wait(), Killed)
    assert log[2:] == ["cleaned up"]


async def test_a_stop_lets_it_finish_within_its_time(system: ActorSystem) -> None:
    log: list[Any] = []
    ref = await system.spawn(lambda: Recorder(log))
    gates = [Gate(), Gate()]
    quick, slow = [await spawn_in(ref, gate.hold, shutdown=2.0) for gate in gates]
    await asyncio.gather(*(gate.reached.wait() for gate in gates))
    quick.stop("enough")
    await asyncio.sleep(0)
    gates[0].opened.set()
    assert await quick.wait() == Stopped("enough")
    await settle(system)
    assert log[2:] == [None]  # the result came all the same
    ref.stop()
    await advance(system, 2.0)
    assert isinstance(await slow.wait(), Killed)


async def test_the_result_passes_a_full_mailbox(system: ActorSystem) -> None:
    log: list[Any] = []
    ref = await system.spawn(lambda: Recorder(log), capacity=1)
    work, gate = Gate(), Gate()
    task = await spawn_in(ref, work.hold)
    await work.reached.wait()
    ref.cast(gate.do)
    await gate.reached.wait()
    ref.cast(Note("fills it"))
    work.opened.set()
    await task.wait()
    gate.opened.set()
    await settle(system)
    assert log[2:] == ["fills it", None]


async def test_it_ends_with_the_generation_that_started_it(system: ActorSystem) -> None:
    owner: Key[Any] = Key("owner")
    log: list[Any] = []
    await system.supervise(Supervisor([Child(owner, lambda: Recorder(log))]))
    gate = Gate()
    task = await spawn_in(system.ref(owner), gate.hold)
    await gate.reached.wait()
    system.ref(owner).cast(Crash(ValueError("end")))
    await advance(system, 5.0)
    assert isinstance(await task.wait(), Killed)
    assert system.ref(owner).generation == 2
    assert not [entry for entry in log if entry is None]


async def test_a_result_that_its_generation_did_not_come_to_is_not_the_nexts(
    system: ActorSystem,
) -> None:
    owner: Key[Any] = Key("owner")
    log: list[Any] = []
    await system.supervise(Supervisor([Child(owner, lambda: Recorder(log))]))
    ref = system.ref(owner)
    work, gate = Gate(), Gate()
    task = await spawn_in(ref, work.hold)
    ref.cast(gate.do)
    await gate.reached.wait()
    ref.cast(Crash(ValueError("first")))
    work.opened.set()
    await task.wait()
    assert len(ref._box.queue) == 2
    gate.opened.set()
    await settle(system)
    assert ref.generation == 2
    assert None not in log


async def test_it_takes_no_messages(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder)
    gate = Gate()
    task: Any = await spawn_in(ref, gate.hold)
    with pytest.raises(TypeError, match="it takes nothing"):
        task.cast("x")
    gate.opened.set()


async def test_a_message_that_the_actor_does_not_take_fails_the_task(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder)

    async def start(ctx: Ctx) -> ActorRef[Never]:
        return await ctx.spawn_task(double, 1, to_message=lambda text: text)

    task = await ref.call(Do(start))
    reason = await task.wait()
    assert isinstance(reason, Failed)
    assert isinstance(reason.error, TypeError)


async def test_its_work_belongs_to_the_trace_that_it_was_started_in(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder)
    seen: list[str] = []

    async def work() -> str:
        trace = current_trace()
        assert trace is not None
        seen.append(trace.trace_id)
        return ""

    with tracing() as trace:
        task = await spawn_in(ref, work)
    await task.wait()
    assert seen == [trace.trace_id]


# --- under a supervisor -----------------------------------------------------------------


async def test_supervised_it_is_tried_again_until_it_succeeds_and_then_is_over(
    system: ActorSystem,
) -> None:
    log: list[Any] = []
    to = await system.spawn(lambda: Recorder(log))
    tries = 0

    async def third_time() -> str:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise OSError(f"try {tries}")
        return f"after {tries}"

    task = await supervised(system, to, third_time)
    await advance(system, 1.0)
    assert log[2:] == ["after 3"]
    assert not task.is_alive
    assert await task.wait() == Stopped("done")


async def test_supervised_and_killed_it_begins_again(system: ActorSystem) -> None:
    log: list[Any] = []
    to = await system.spawn(lambda: Recorder(log))
    gate = Gate()
    begun = 0

    async def work() -> str:
        nonlocal begun
        begun += 1
        await gate.hold()
        return "done"

    task = await supervised(system, to, work)
    await gate.reached.wait()
    task.kill()
    await until(lambda: begun == 2)
    gate.opened.set()
    await settle(system)
    assert log[2:] == ["done"]


async def test_supervised_its_result_waits_for_room(system: ActorSystem) -> None:
    log: list[Any] = []
    to = await system.spawn(lambda: Recorder(log), capacity=1)
    gate = Gate()
    to.cast(gate.do)
    await gate.reached.wait()
    to.cast(Note("fills it"))
    task = await supervised(system, to, double, 3)
    await until(lambda: to._box.waiters)
    assert task.is_alive
    gate.opened.set()
    await settle(system)
    assert log[2:] == ["fills it", "6"]


async def test_a_result_for_nobody_is_a_dead_letter(system: ActorSystem) -> None:
    to = await system.spawn(Recorder)
    to.stop()
    await to.wait()
    task = await supervised(system, to, double, 3)
    assert await task.wait() == Stopped("done")
    assert [letter.message for letter in system.dead_letters] == [Note("6")]


async def test_a_name_that_is_taken_is_told(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder)
    gate = Gate()
    await spawn_in(ref, gate.hold, name="one")

    async def again(ctx: Ctx) -> None:
        with pytest.raises(NameTaken):
            await ctx.spawn_task(double, 1, to_message=Note, name="one")

    await ref.call(Do(again))
    gate.opened.set()
