"""Supervisors keep children running, nest, and give up. On both loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.actors.kit import Ask, Crash, Ctx, Do, Gate, Note, Recorder, Stubborn, until

from antiphon.actors import (
    ActorRef,
    ActorSystem,
    Backoff,
    Child,
    DeadLetterReason,
    Failed,
    Key,
    Restart,
    Status,
    Stopped,
    Supervisor,
)
from antiphon.errors import ActorError, NameTaken, SpawnFailed
from antiphon.testing import advance, settle

A: Key[Any] = Key("a")
B: Key[Any] = Key("b")
SUB: Key[Any] = Key("sub")
NONE = Backoff(base=0.0, cap=0.0)


async def crash(system: ActorSystem, ref: ActorRef[Any]) -> None:
    ref.cast(Crash(ValueError("crash")))
    await settle(system)


def logging_child(key: Key[Any], log: list[Any], **options: Any) -> Child[Any]:
    return Child(key, lambda: Recorder(log), **options)


async def test_one_for_one_restarts_only_the_one(system: ActorSystem) -> None:
    await system.supervise(Supervisor([Child(A, Recorder), Child(B, Recorder)]), "sup")
    await crash(system, system.ref(A))
    assert system.ref(A).generation == 2
    assert system.ref(B).generation == 1


@pytest.mark.parametrize(
    ("restart", "end", "alive"),
    [
        (Restart.PERMANENT, "stop", True),
        (Restart.PERMANENT, "kill", True),
        (Restart.PERMANENT, "crash", True),
        (Restart.TRANSIENT, "stop", False),
        (Restart.TRANSIENT, "kill", True),
        (Restart.TRANSIENT, "crash", True),
        (Restart.TEMPORARY, "stop", False),
        (Restart.TEMPORARY, "kill", False),
        (Restart.TEMPORARY, "crash", False),
    ],
)
async def test_restart_types(system: ActorSystem, restart: Restart, end: str, alive: bool) -> None:
    await system.supervise(Supervisor([Child(A, Recorder, restart=restart)]), "sup")
    ref = system.ref(A)
    match end:
        case "stop":
            ref.stop()
        case "kill":
            ref.kill()
        case _:
            ref.cast(Crash(ValueError()))
    await settle(system)
    assert ref.is_alive is alive
    assert (system.lookup("a") is ref) is alive


async def test_children_start_in_order_and_stop_in_reverse(system: ActorSystem) -> None:
    log: list[str] = []

    def named(name: str) -> Callable[[], Recorder]:
        class Named(Recorder):
            async def pre_start(self, ctx: Ctx) -> None:
                log.append(f"+{name}")

            async def post_stop(self, reason: Any, ctx: Ctx) -> None:
                log.append(f"-{name}")

        return Named

    supervisor = await system.supervise(
        Supervisor([Child(A, named("a")), Child(B, named("b"))]), "sup"
    )
    await crash(system, system.ref(A))
    assert log == ["+a", "+b", "-a", "+a"]
    supervisor.stop()
    await settle(system)
    assert log[4:6] == ["-b", "-a"]


async def test_a_child_that_cannot_start_ends_the_others_and_the_supervisor(
    system: ActorSystem,
) -> None:
    class Broken(Recorder):
        async def pre_start(self, ctx: Ctx) -> None:
            raise ValueError("no")

    log: list[Any] = []
    with pytest.raises(SpawnFailed, match="cannot start sup") as caught:
        await system.supervise(Supervisor([logging_child(A, log), Child(B, Broken)]), "sup")
    assert isinstance(caught.value.__cause__, SpawnFailed)
    assert isinstance(caught.value.__cause__.__cause__, ValueError)
    assert log[-1] == "post_stop: stopped: its parent stops"
    assert [a.key for a in system.actors()] == ["root", "user"]
    await system.supervise(Supervisor([Child(A, Recorder)]), "sup")


async def test_one_restart_too_many_ends_children_and_supervisor(system: ActorSystem) -> None:
    """The default: three in five seconds; the fourth trips it, and its parent restarts it."""
    log: list[Any] = []
    supervisor = await system.supervise(
        Supervisor([Child(A, Recorder, backoff=NONE), logging_child(B, log)]), "sup"
    )
    for generation in (2, 3, 4):
        await crash(system, system.ref(A))
        assert system.ref(A).generation == generation
        assert supervisor.generation == 1
    await crash(system, system.ref(A))
    assert supervisor.generation == 2
    assert log == ["pre_start", "post_start", "post_stop: stopped: its parent stops",
                   "pre_start", "post_start"]  # fmt: skip


async def test_slow_restarts_never_trip(system: ActorSystem) -> None:
    supervisor = await system.supervise(Supervisor([Child(A, Recorder, backoff=NONE)]), "sup")
    for _ in range(10):
        await crash(system, system.ref(A))
        await advance(system, 1.7)
    assert system.ref(A).generation == 11
    assert supervisor.generation == 1


async def test_failure_climbs_until_the_root_gives_up(system: ActorSystem) -> None:
    nested = Child(SUB, Supervisor([Child(A, Recorder, backoff=NONE)], intensity=0), backoff=NONE)
    await system.supervise(Supervisor([nested], intensity=0), "sup")
    for _ in range(3):
        await crash(system, system.ref(A))
        await advance(system, 0.5)  # the backoff of sup
    assert system.lookup("sup") is not None
    await crash(system, system.ref(A))
    reason = await system.wait()
    assert isinstance(reason, Failed)
    assert isinstance(reason.error, ActorError)
    assert str(reason.error).startswith("root gave up: sup failed: ActorError: sup gave up: sub")
    assert system.actors() == []


async def test_the_user_supervisor_trips_alone(system: ActorSystem) -> None:
    await system.supervise(Supervisor([Child(A, Recorder)]), "sup")
    unnamed = await system.supervise(Supervisor([Child(B, Recorder, backoff=NONE)], intensity=0))
    assert unnamed.path.startswith("user/")
    for _ in range(4):
        await crash(system, system.ref(B))
        await advance(system, 0.5)  # the backoff of the unnamed one
    assert system.lookup("user") is None
    assert await system.ref(A).call(Ask("x")) == "x"


async def test_backoff_waits_while_the_supervisor_stays_responsive(system: ActorSystem) -> None:
    backoff = Backoff(base=1.0, jitter=0.0)
    children = [Child(A, Recorder, backoff=backoff), Child(B, Recorder)]
    await system.supervise(Supervisor(children, intensity=10), "sup")
    ref = system.ref(A)
    await crash(system, ref)
    assert ref.generation == 2
    assert ref.status is Status.RUNNING
    await crash(system, ref)
    assert ref.generation == 3
    assert ref.status is Status.NEW
    assert next(a.state for a in system.actors() if a.key == "a") == "restarting"
    ref.cast(Note("kept meanwhile"))
    await crash(system, system.ref(B))
    assert system.ref(B).generation == 2
    await advance(system, 0.9)
    assert ref.status is Status.NEW
    await advance(system, 0.2)
    assert ref.status is Status.RUNNING
    assert len(system.dead_letters) == 3


async def test_a_name_keeps_resolving_through_backoff(system: ActorSystem) -> None:
    backoff = Backoff(base=1.0, jitter=0.0)
    await system.supervise(Supervisor([Child(A, Recorder, backoff=backoff)]), "sup")
    ref = system.ref(A)
    await crash(system, ref)
    await crash(system, ref)
    assert ref.status is Status.NEW
    assert system.lookup("a") is ref
    with pytest.raises(SpawnFailed) as caught:
        await system.supervise(Supervisor([Child(A, Recorder)]), "other")
    assert isinstance(caught.value.__cause__, NameTaken)


async def test_stopping_the_supervisor_ends_the_wait(system: ActorSystem) -> None:
    backoff = Backoff(base=60.0, cap=60.0, jitter=0.0)
    log: list[Any] = []
    supervisor = await system.supervise(Supervisor([logging_child(A, log, backoff=backoff)]), "sup")
    ref = system.ref(A)
    await crash(system, ref)
    await crash(system, ref)
    ref.cast(Note("waits"))
    ended = asyncio.ensure_future(ref.wait())
    await asyncio.sleep(0)
    supervisor.kill()
    await settle(system)
    assert ended.done()
    assert DeadLetterReason.STOPPED in system.dead_letters.counts
    assert ref.generation == 4  # of the restarted supervisor
    await advance(system, 60.0)
    assert ref.generation == 4


async def test_every_failed_start_counts(system: ActorSystem) -> None:
    """A child that can't start again soon trips its supervisor."""
    starts: list[float] = []

    class Once(Recorder):
        async def pre_start(self, ctx: Ctx) -> None:
            starts.append(ctx.system.clock.now())
            if 1 < len(starts) < 5:
                raise OSError("gone")

    backoff = Backoff(base=1.0, jitter=0.0)
    supervisor = await system.supervise(Supervisor([Child(A, Once, backoff=backoff)]), "sup")
    await crash(system, system.ref(A))
    await advance(system, 1.0)
    await advance(system, 2.0)
    first = starts[1]
    assert [t - first for t in starts[1:]] == [0.0, 1.0, 3.0, 3.0]
    assert supervisor.generation == 2
    assert await system.ref(A).call(Ask("x")) == "x"


async def test_the_old_generations_subtree_is_dead_before_the_new_pre_start(
    system: ActorSystem,
) -> None:
    log: list[str] = []
    gate = Gate()

    class Leaf(Recorder):
        async def post_stop(self, reason: Any, ctx: Ctx) -> None:
            await gate.hold()
            log.append("leaf ended")

    class Parent(Recorder):
        async def pre_start(self, ctx: Ctx) -> None:
            log.append("parent starts")
            await ctx.spawn(Leaf, "leaf")

    await system.supervise(Supervisor([Child(A, Parent)]), "sup")
    system.ref(A).cast(Crash(ValueError()))
    await gate.reached.wait()
    assert log == ["parent starts"]
    gate.opened.set()
    await settle(system)
    assert log == ["parent starts", "leaf ended", "parent starts"]


async def test_a_stubborn_supervised_child_is_replaced_after_the_grace(
    system: ActorSystem,
) -> None:

    stubborn = Stubborn()
    await system.supervise(Supervisor([Child(A, Recorder)]), "sup")
    ref = system.ref(A)
    ref.cast(stubborn.do)
    await stubborn.reached.wait()
    ref.kill()
    await settle(system)
    assert ref.generation == 1
    await advance(system, 1.0)
    assert ref.generation == 2
    stubborn.go.set()
    await until(lambda: not system.zombies)
    assert await ref.call(Ask("x")) == "x"


async def test_a_supervisor_waits_for_children_as_long_as_they_may_take(
    system: ActorSystem,
) -> None:
    gates = {key.name: Gate() for key in (A, B)}
    children = [Child(key, Recorder, shutdown=4.0) for key in (A, B)]
    supervisor = await system.supervise(Supervisor(children), "sup")
    for key in (A, B):
        system.ref(key).cast(gates[key.name].do)
        await gates[key.name].reached.wait()
    root = system._root
    assert root is not None
    root.life.stop("end")
    await advance(system, 7.0)
    assert supervisor.status is Status.STOPPING
    await advance(system, 1.5)
    assert supervisor.status is Status.DEAD
    assert await system.wait() == Stopped("end")


async def test_a_factory_makes_fresh_state_for_each_generation(system: ActorSystem) -> None:
    made: list[Recorder] = []

    def factory() -> Recorder:
        made.append(Recorder())
        return made[-1]

    await system.supervise(Supervisor([Child(A, factory)]), "sup")
    await crash(system, system.ref(A))
    assert len(made) == 2
    assert made[0] is not made[1]


async def test_a_child_can_stop_itself_while_handling(system: ActorSystem) -> None:
    async def leave(ctx: Ctx) -> str:
        ctx.stop("enough")
        return "bye"

    await system.supervise(Supervisor([Child(A, Recorder, restart=Restart.TRANSIENT)]), "sup")
    ref = system.ref(A)
    assert await ref.call(Do(leave)) == "bye"
    assert await ref.wait() == Stopped("enough")


def test_two_children_with_one_key_are_refused() -> None:
    with pytest.raises(ValueError, match="same key"):
        Supervisor([Child(A, Recorder), Child(A, Recorder)])
