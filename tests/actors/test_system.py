"""The system: tree, registry, observer, closing."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from tests.actors.kit import Ask, Crash, Ctx, Do, Gate, Note, Recorder

from antiphon.actors import (
    ActorSystem,
    Backoff,
    Child,
    DeadLetter,
    Failed,
    Key,
    Killed,
    Restart,
    Stopped,
    Supervisor,
)
from antiphon.errors import ActorDead, NameTaken, SpawnFailed, SystemClosed
from antiphon.testing import advance, assert_no_leaks, manual_system, settle

KEY: Key[Any] = Key("log/store")


class Watcher:
    """An observer that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def started(self, ref: Any, generation: int) -> None:
        self.told.append(("started", ref.path, generation))

    def restarted(self, ref: Any, generation: int, reason: Any, delay: float) -> None:
        self.told.append(("restarted", ref.path, generation, delay))

    def stopped(self, ref: Any, generation: int, reason: Any) -> None:
        self.told.append(("stopped", ref.path, generation, str(reason)))

    def failed(self, ref: Any, generation: int, error: BaseException) -> None:
        self.told.append(("failed", ref.path, generation, str(error)))

    def tripped(self, ref: Any, error: BaseException) -> None:
        self.told.append(("tripped", ref.path))

    def dead_letter(self, letter: DeadLetter, count: int) -> None:
        self.told.append(("dead_letter", letter.reason.value, count))


async def test_the_tree_is_shown_each_after_its_parent(system: ActorSystem) -> None:
    await system.spawn(Recorder, "mine")
    await system.supervise(Supervisor([Child(KEY, Recorder)]), "log")
    shown = [(a.key, a.parent, a.state) for a in system.actors()]
    assert shown == [
        ("root", None, "running"),
        ("log", "root", "running"),
        ("log/store", "log", "running"),
        ("user", "root", "running"),
        ("user/mine", "user", "running"),
    ]


async def test_an_actor_is_shown_with_its_counters(system: ActorSystem) -> None:
    gate = Gate()
    await system.supervise(Supervisor([Child(KEY, Recorder, capacity=7)]), "log")
    ref = system.ref(KEY)
    ref.cast(Crash(ValueError()))
    await settle(system)
    await advance(system, 2.0)
    await ref.call(Ask("x"))
    ref.cast(gate.do)
    await gate.reached.wait()
    ref.cast(Note("waits"))
    info = next(a for a in system.actors() if a.key == "log/store")
    assert (info.generation, info.restarts, info.failed) == (2, 1, 1)
    assert (info.depth, info.capacity, info.current) == (1, 7, "Do")
    assert info.processed == 2
    assert info.age_s == 2.0
    gate.opened.set()


async def test_what_the_user_runs_stops_before_what_it_runs_on() -> None:
    log: list[str] = []

    class Named(Recorder):
        async def post_stop(self, reason: Any, ctx: Ctx) -> None:
            log.append(ctx.myself.path)

    async with manual_system() as system:
        await system.spawn(Named, "mine")
        await system.supervise(Supervisor([Child(KEY, Named)]), "log")
    assert log == ["user/mine", "log/store"]


async def test_two_systems_know_nothing_of_each_other(system: ActorSystem) -> None:
    async with manual_system() as other:
        await system.spawn(Recorder, "x")
        assert other.lookup("user/x") is None
        await other.spawn(Recorder, "x")


# --- C11: the registry ---


async def test_a_clash_names_who_is_there(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder, "x")
    with pytest.raises(NameTaken, match="user/x") as caught:
        await system.spawn(Recorder, "x")
    assert caught.value.ref is ref
    assert await ref.call(Ask("unharmed")) == "unharmed"


async def test_a_name_is_registered_before_pre_start(system: ActorSystem) -> None:
    class Looking(Recorder):
        async def pre_start(self, ctx: Ctx) -> None:
            assert system.lookup("user/x") is ctx.myself

    await system.spawn(Looking, "x")


async def test_a_stopping_name_is_unresolvable_and_reserved(system: ActorSystem) -> None:
    gate = Gate()

    class Slow(Recorder):
        async def post_stop(self, reason: Any, ctx: Ctx) -> None:
            await gate.hold()

    ref = await system.spawn(Slow, "x")
    ref.stop()
    await gate.reached.wait()
    assert system.lookup("user/x") is None
    with pytest.raises(NameTaken):
        await system.spawn(Recorder, "x")
    ref.cast(Note("too late"))
    assert [letter.reason.value for letter in system.dead_letters] == ["stopped"]
    gate.opened.set()
    await ref.wait()
    await system.spawn(Recorder, "x")


async def test_get_or_spawn_starts_once_for_all_who_ask(system: ActorSystem) -> None:
    starts: list[int] = []
    gate = Gate()

    class Slow(Recorder):
        async def pre_start(self, ctx: Ctx) -> None:
            starts.append(1)
            await gate.hold()

    asking = [asyncio.ensure_future(system.get_or_spawn(KEY, Slow)) for _ in range(10)]
    await gate.reached.wait()
    asking[0].cancel()
    gate.opened.set()
    refs = await asyncio.gather(*asking[1:])
    assert starts == [1]
    assert set(refs) == {system.ref(KEY)}
    assert await system.get_or_spawn(KEY, Slow) is refs[0]


async def test_get_or_spawn_tells_all_of_a_failed_start(system: ActorSystem) -> None:
    class Broken(Recorder):
        async def pre_start(self, ctx: Ctx) -> None:
            raise ValueError

    results = await asyncio.gather(
        *(system.get_or_spawn(KEY, Broken) for _ in range(3)), return_exceptions=True
    )
    assert all(isinstance(result, SpawnFailed) for result in results)
    assert await (await system.get_or_spawn(KEY, Recorder)).call(Ask("x")) == "x"


async def test_get_or_spawn_waits_for_one_that_is_ending(system: ActorSystem) -> None:
    gate = Gate()

    class Slow(Recorder):
        async def post_stop(self, reason: Any, ctx: Ctx) -> None:
            await gate.hold()

    ref = await system.get_or_spawn(KEY, Slow)
    ref.stop()
    await gate.reached.wait()
    again = asyncio.ensure_future(system.get_or_spawn(KEY, Recorder))
    await asyncio.sleep(0)
    gate.opened.set()
    assert await again is ref
    assert ref.generation == 2


# --- C18: the observer ---


async def test_the_observer_is_told_in_order() -> None:
    watcher = Watcher()
    async with manual_system(observer=watcher) as system:
        backoff = Backoff(base=1.0, jitter=0.0)
        child = Child(KEY, Recorder, backoff=backoff)
        await system.supervise(Supervisor([child], intensity=1), "log")
        ref = system.ref(KEY)
        watcher.told.clear()
        ref.cast(Crash(ValueError("one")))
        await settle(system)
        assert watcher.told == [
            ("dead_letter", "failed", 1),
            ("failed", "log/store", 1, "one"),
            ("restarted", "log/store", 2, 0.0),
            ("started", "log/store", 2),
        ]
        watcher.told.clear()
        ref.cast(Crash(ValueError("two")))
        await settle(system)
        assert [entry[:2] for entry in watcher.told] == [
            ("dead_letter", "failed"),
            ("failed", "log/store"),
            ("tripped", "log"),
            ("stopped", "log/store"),
            ("failed", "log"),
            ("restarted", "log"),
            ("started", "log/store"),
            ("started", "log"),
        ]


async def test_an_observer_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Watcher):
        def started(self, ref: Any, generation: int) -> None:
            raise OSError("observer")

    with caplog.at_level(logging.ERROR):
        async with manual_system(observer=Broken()) as system:
            ref = await system.spawn(Recorder)
            assert await ref.call(Ask("x")) == "x"
    assert "the observer failed at started" in caplog.text


async def test_an_observer_that_always_raises_harms_nobody() -> None:
    class Broken:
        def __getattr__(self, what: str) -> Any:
            def fail(*args: Any) -> None:
                told.add(what)
                raise OSError(what)

            return fail

    told: set[str] = set()
    observer: Any = Broken()
    async with manual_system(observer=observer) as system:
        backoff = Backoff(base=0.0, cap=0.0)
        child = Child(KEY, Recorder, backoff=backoff)
        await system.supervise(Supervisor([child], intensity=1), "log")
        ref = system.ref(KEY)
        for _ in range(2):
            ref.cast(Crash(ValueError()))
            await settle(system)
        assert await ref.call(Ask("x")) == "x"
        assert ref.generation == 3
        system.ref(Key[Any]("nobody")).cast(Note("the sender notices nothing"))
    assert told == {"started", "restarted", "stopped", "failed", "tripped", "dead_letter"}


# --- opening and closing ---


async def test_closing_stops_everybody_and_leaves_nothing() -> None:
    log: list[Any] = []
    async with ActorSystem() as system:
        for _ in range(20):
            ref = await system.spawn(lambda: Recorder(log))
            system.groups.join("s", "g", ref)
        await ref.call(Do(lambda ctx: _timer(ctx)))
    assert log.count("post_stop: stopped: its parent stops") == 20
    assert system.leftovers() == []
    assert_no_leaks(system)
    assert await ref.wait() == Stopped("its parent stops")


async def _timer(ctx: Ctx) -> None:
    ctx.send_after(3600, Note("never"))


async def test_a_closed_system_takes_no_actors(system: ActorSystem) -> None:
    async with ActorSystem() as other:
        pass
    with pytest.raises(SystemClosed):
        await other.spawn(Recorder)
    with pytest.raises(SystemClosed):
        await other.supervise(Supervisor(), "x")
    with pytest.raises(SystemClosed):
        await ActorSystem().spawn(Recorder)
    ref = other.ref(KEY)
    ref.cast(Note("x"))
    with pytest.raises(ActorDead):
        await ref.call(Ask("x"))


async def test_a_stopping_actor_takes_no_children(system: ActorSystem) -> None:
    class Late(Recorder):
        async def post_stop(self, reason: Any, ctx: Ctx) -> None:
            with pytest.raises(ActorDead, match="is stopping"):
                await ctx.spawn(Recorder)

    ref = await system.spawn(Late)
    ref.stop()
    assert await ref.wait() == Stopped()


async def test_cancelling_a_close_kills(system: ActorSystem) -> None:
    gate = Gate()
    inner = ActorSystem()
    await inner.__aenter__()
    ref = await inner.spawn(Recorder, shutdown=3600)
    ref.cast(gate.do)
    await gate.reached.wait()
    closing = asyncio.ensure_future(inner.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert isinstance(await ref.wait(), Killed)
    assert_no_leaks(inner)


async def test_a_failure_is_logged_with_its_traceback(
    system: ActorSystem, caplog: pytest.LogCaptureFixture
) -> None:
    ref = await system.spawn(Recorder, "x")
    with caplog.at_level(logging.ERROR):
        ref.cast(Crash(ValueError("in the log")))
        assert isinstance(await ref.wait(), Failed)
    assert "user/x failed" in caplog.text
    assert "in the log" in caplog.text


async def test_a_temporary_named_key_can_be_used_again(system: ActorSystem) -> None:
    child = Child(KEY, Recorder, restart=Restart.TEMPORARY)
    first = await system.supervise(Supervisor([child]), "log")
    system.ref(KEY).kill()
    await settle(system)
    first.kill()
    await settle(system)
    assert await system.ref(KEY).call(Ask("x")) == "x"
    assert system.ref(KEY).generation == 2


async def test_eager_tasks_change_nothing() -> None:
    """Under 3.12's eager task factory, user code runs inside create_task."""
    if hasattr(asyncio, "eager_task_factory"):
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    async with manual_system() as system:
        log: list[Any] = []
        await system.supervise(Supervisor([Child(KEY, lambda: Recorder(log))]), "log")
        ref = system.ref(KEY)
        ref.cast(Crash(ValueError()))
        assert await ref.call(Ask("x")) == "x"

        async def piped(ctx: Ctx) -> None:
            async def at_once() -> str:
                return "piped"

            ctx.pipe_to_self(at_once(), Note)
            await ctx.spawn(Recorder)

        await ref.call(Do(piped))
        await settle(system)
        assert log[-1] == "piped"
        ref.kill()
        await settle(system)
        assert ref.generation == 3
