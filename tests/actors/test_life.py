"""One generation: hooks in order, ports by rank, ends of every kind. On both loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.actors.kit import Ask, Crash, Ctx, Do, Gate, ListSource, Note, Recorder, Stubborn, until

from antiphon.actors import (
    Actor,
    ActorRef,
    ActorSystem,
    DeadLetterReason,
    Down,
    Failed,
    Joined,
    Killed,
    ReplyTo,
    Status,
    Stopped,
)
from antiphon.actors.life import Life
from antiphon.errors import ActorDead, ActorStopped, CalleeFailed, SpawnFailed
from antiphon.testing import Probe, advance, manual_system, settle

# --- C1: order ---


async def test_hooks_run_in_order_and_spawn_returns_running(system: ActorSystem) -> None:
    log: list[Any] = []
    ref = await system.spawn(lambda: Recorder(log))
    assert ref.status is Status.RUNNING
    assert log[0] == "pre_start"
    ref.cast(Note("a"))
    ref.cast(Note("b"))
    await settle(system)
    ref.stop("done")
    assert await ref.wait() == Stopped("done")
    assert log == ["pre_start", "post_start", "a", "b", "post_stop: stopped: done"]
    assert ref.status is Status.DEAD


async def test_post_start_precedes_a_message_sent_by_pre_start(system: ActorSystem) -> None:
    log: list[Any] = []

    class Eager(Recorder):
        async def pre_start(self, ctx: Ctx) -> None:
            ctx.myself.cast(Note("from pre_start"))

    await system.spawn(lambda: Eager(log))
    await settle(system)
    assert log == ["post_start", "from pre_start"]


async def test_one_hook_at_a_time(system: ActorSystem) -> None:
    """A message waits for the end of the handler before it, however long that awaits."""
    log: list[Any] = []
    gate = Gate()
    ref = await system.spawn(lambda: Recorder(log))
    ref.cast(gate.do)
    ref.cast(Note("after"))
    await gate.reached.wait()
    await asyncio.sleep(0)
    assert "after" not in log
    gate.opened.set()
    await settle(system)
    assert log[-1] == "after"


async def test_wait_is_repeatable_and_idempotent(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder)
    waits = [asyncio.ensure_future(ref.wait()) for _ in range(3)]
    cancelled = asyncio.ensure_future(ref.wait())
    await asyncio.sleep(0)
    cancelled.cancel()
    ref.stop()
    assert await asyncio.gather(*waits) == [Stopped(), Stopped(), Stopped()]
    assert await ref.wait() == Stopped()


ENDS = ("stop", "drain", "kill", "crash", "stop then kill", "kill twice", "zombie")


async def end(how: str, system: ActorSystem, ref: ActorRef[Any]) -> None:
    """End *ref*'s generation, and wait until nothing more can come of it."""
    stubborn = Stubborn()
    if how == "zombie":
        ref.cast(stubborn.do)
        await stubborn.reached.wait()
        ref.kill()
        await advance(system, 1.0)
    elif how == "crash":
        ref.cast(Crash(ValueError("crash")))
    for step in how.split(" then "):
        if step in ("stop", "drain"):
            getattr(ref, step)()
        elif step.startswith("kill"):
            ref.kill()
            ref.kill()
    await ref.wait()
    stubborn.go.set()
    await until(lambda: not system.zombies)
    await settle(system)
    for late in (ref.stop, ref.drain, ref.kill):
        late()
    await settle(system)


@pytest.mark.parametrize("how", ENDS)
async def test_a_generation_ends_once_however_it_ends(how: str) -> None:
    """Its end is told, and what it registered for it runs, exactly once."""
    told: list[str] = []

    class Told:
        def __getattr__(self, what: str) -> Callable[..., None]:
            return lambda *args: told.append(what) if args[0] in refs else None

    refs: list[Any] = []
    async with manual_system(observer=Told()) as system:  # type: ignore[arg-type]
        ended: list[str] = []
        probe: Probe[Any] = await Probe.spawn(system)
        ref = await system.spawn(Recorder)
        refs.append(ref)

        async def register(ctx: Ctx) -> None:
            ctx.at_end(lambda: ended.append("once"))

        await ref.call(Do(register))
        probe.ctx.monitor(ref)
        await end(how, system, ref)
        assert ended == ["once"]
        assert [type(notice) for notice in probe.notices] == [Down]
        assert told.count("stopped") == 1


@pytest.mark.parametrize("how", ENDS)
async def test_the_status_never_goes_back(
    system: ActorSystem, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[Life, list[Status]] = {}
    slot: Any = Life.__dict__["status"]

    def note(life: Life, status: Status) -> None:
        slot.__set__(life, status)
        seen.setdefault(life, []).append(status)

    monkeypatch.setattr(Life, "status", property(slot.__get__, note))
    ref = await system.spawn(Recorder)
    child = await ref.call(Do(lambda ctx: ctx.spawn(Recorder)))
    await end(how, system, ref)
    assert child.status is Status.DEAD
    order = list(Status)
    assert len(seen) == 2
    for stages in seen.values():
        assert stages == sorted(stages, key=order.index)
        assert stages.count(Status.DEAD) == 1


async def test_messages_of_one_sender_are_handled_in_order(system: ActorSystem) -> None:
    log: list[Any] = []
    ref = await system.spawn(lambda: Recorder(log))
    for n in range(1000):
        ref.cast(Note(str(n)))
    await settle(system)
    assert log[2:] == [str(n) for n in range(1000)]


# --- C2: exceptions ---


async def test_a_failed_pre_start_leaves_nothing(system: ActorSystem) -> None:
    log: list[Any] = []

    class Broken(Recorder):
        async def pre_start(self, ctx: Ctx) -> None:
            ctx.join("s", "g")
            await ctx.spawn(lambda: Recorder(log), "child")
            raise ValueError("no")

    with pytest.raises(SpawnFailed, match=r"cannot start user/x: failed: ValueError: no") as caught:
        await system.spawn(lambda: Broken(log), "x")
    assert isinstance(caught.value.__cause__, ValueError)
    assert system.lookup("user/x") is None
    assert system.lookup("user/x/child") is None
    assert system.groups.names() == []
    assert log == ["pre_start", "post_start", "post_stop: stopped: its parent stops"]


async def test_a_failing_factory_is_a_failed_start(system: ActorSystem) -> None:
    def broken() -> Recorder:
        raise KeyError("k")

    with pytest.raises(SpawnFailed):
        await system.spawn(broken, "x")
    assert system.lookup("user/x") is None


@pytest.mark.parametrize("hook", ["post_start", "handle", "handle_notice", "handle_event"])
async def test_an_exception_in_a_hook_fails_the_actor(system: ActorSystem, hook: str) -> None:
    log: list[Any] = []

    async def broken(self: Any, *args: Any) -> None:
        raise ValueError(hook)

    kind = type("Broken", (Recorder,), {hook: broken})
    ref = await system.spawn(lambda: kind(log))
    if hook == "handle":
        ref.cast(Note("x"))
    elif hook == "handle_notice":
        other = await system.spawn(Recorder)
        other.stop()
        await other.wait()
        ref._cell.life.ctx.monitor(other)  # type: ignore[union-attr]
    elif hook == "handle_event":
        ref.feed(ListSource(["e"]))
    reason = await ref.wait()
    assert isinstance(reason, Failed)
    assert str(reason.error) == hook
    assert log[-1] == f"post_stop: failed: ValueError: {hook}"


async def test_the_caller_of_a_failing_handler_gets_callee_failed(system: ActorSystem) -> None:
    async def broken(ctx: Ctx) -> None:
        raise ValueError("inside")

    ref = await system.spawn(Recorder)
    with pytest.raises(CalleeFailed, match="inside") as caught:
        await ref.call(Do(broken))
    assert isinstance(caught.value.__cause__, ValueError)


async def test_a_failing_post_stop_makes_a_normal_end_a_failure(
    system: ActorSystem, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Recorder):
        async def post_stop(self, reason: Any, ctx: Ctx) -> None:
            raise OSError("late")

    ref = await system.spawn(Broken)
    ref.stop()
    reason = await ref.wait()
    assert isinstance(reason, Failed)
    assert isinstance(reason.error, OSError)
    assert "late" in caplog.text

    caplog.clear()
    ref = await system.spawn(Broken)
    ref.cast(Crash(ValueError("first")))
    reason = await ref.wait()
    assert isinstance(reason, Failed)
    assert isinstance(reason.error, ValueError)
    assert "post_stop of" in caplog.text
    assert "late" in caplog.text


async def test_a_domain_error_goes_back_and_the_actor_lives(system: ActorSystem) -> None:
    class Polite(Actor[Ask]):
        async def handle(self, msg: Ask, ctx: Ctx) -> None:
            ctx.reply_error(msg, LookupError(msg.text))

    ref = await system.spawn(Polite)
    for _ in range(2):
        with pytest.raises(LookupError, match="x"):
            await ref.call(Ask("x"))
    assert ref.is_alive


async def test_an_exception_group_is_one_failure(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder)
    ref.cast(Crash(ExceptionGroup("two", [ValueError(), KeyError()])))
    reason = await ref.wait()
    assert isinstance(reason, Failed)
    assert isinstance(reason.error, ExceptionGroup)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
async def test_an_exit_in_a_hook_closes_the_system_and_comes_out_of_it(
    kind: type[BaseException],
) -> None:
    log: list[Any] = []
    system = ActorSystem()

    async def program() -> None:
        async with system:
            await system.spawn(lambda: Recorder(log))
            other = await system.spawn(Recorder)
            other.cast(Crash(kind(3)))
            await asyncio.Event().wait()

    with pytest.raises(kind):
        await program()
    assert system.leftovers() == []
    assert log[-1].startswith("post_stop")
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


# --- C3: ports ---


async def test_stop_precedes_notices_and_both_precede_messages(system: ActorSystem) -> None:
    log: list[Any] = []
    gate = Gate()
    ref = await system.spawn(lambda: Recorder(log))
    other = await system.spawn(Recorder)

    async def watch(ctx: Ctx) -> None:
        ctx.monitor(other)
        await gate.hold()

    ref.cast(Do(watch))
    await gate.reached.wait()
    ref.cast(Note("message"))
    other.stop()
    await other.wait()
    gate.opened.set()
    await settle(system)
    assert type(log[2]).__name__ == "Down"
    assert log[3] == "message"

    gate2 = Gate()
    ref.cast(gate2.do)
    await gate2.reached.wait()
    ref.cast(Note("never"))
    ref._cell.life.notify(log[2])  # type: ignore[union-attr]
    ref.stop()
    gate2.opened.set()
    await ref.wait()
    assert log[4:] == ["post_stop: stopped"]


# --- C4: stop and kill ---


async def test_stop_finishes_the_running_handler_and_drops_the_queue(system: ActorSystem) -> None:
    log: list[Any] = []
    gate = Gate()
    ref = await system.spawn(lambda: Recorder(log))
    answer = ref.call(gate.do)
    await gate.reached.wait()
    ref.cast(Note("dropped"))
    late = ref.call(Ask("late"))
    ref.stop()
    gate.opened.set()
    assert await answer is None
    with pytest.raises(ActorStopped):
        await late
    assert "dropped" not in log
    assert system.dead_letters.counts[DeadLetterReason.STOPPED] == 1


async def test_stop_during_pre_start_acts_after_it(system: ActorSystem) -> None:
    log: list[Any] = []

    class Hasty(Recorder):
        async def pre_start(self, ctx: Ctx) -> None:
            ctx.stop("changed my mind")
            await asyncio.sleep(0)
            self.log.append("pre_start")

    ref = await system.spawn(lambda: Hasty(log))
    assert await ref.wait() == Stopped("changed my mind")
    assert log == ["pre_start", "post_stop: stopped: changed my mind"]


async def test_the_first_reason_wins(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder)
    ref.stop("one")
    ref.stop("two")
    assert await ref.wait() == Stopped("one")
    ref = await system.spawn(Recorder)
    ref.kill("one")
    ref.kill("two")
    ref.stop("three")
    assert await ref.wait() == Killed("one")


async def test_kill_cancels_the_handler_and_skips_post_stop(system: ActorSystem) -> None:
    log: list[Any] = []
    gate = Gate()
    ref = await system.spawn(lambda: Recorder(log))
    answer = ref.call(gate.do)
    await gate.reached.wait()
    ref.stop("preempted")
    ref.kill("now")
    assert await ref.wait() == Killed("now")
    with pytest.raises(CalleeFailed):
        await answer
    assert log == ["pre_start", "post_start"]


async def test_kill_before_the_first_step_is_a_failed_start(system: ActorSystem) -> None:
    log: list[Any] = []
    start = asyncio.ensure_future(system.spawn(lambda: Recorder(log), "x"))
    await asyncio.sleep(0)
    system.lookup("user/x").kill()  # type: ignore[union-attr]
    with pytest.raises(SpawnFailed):
        await start
    assert system.lookup("user/x") is None


async def test_a_killed_actor_that_swallows_its_cancelling_ends_all_the_same(
    system: ActorSystem,
) -> None:
    """A handler that returns after the cancelling is not followed by another."""
    log: list[Any] = []

    async def swallow(ctx: Ctx) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            log.append("swallowed")

    ref = await system.spawn(lambda: Recorder(log))
    ref.cast(Do(swallow))
    ref.cast(Note("never"))
    await settle_handler(system)
    ref.kill()
    assert await ref.wait() == Killed(None)
    assert log == ["pre_start", "post_start", "swallowed"]


async def settle_handler(system: ActorSystem) -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_hook_that_survives_its_killing_is_left_behind_as_a_zombie(
    system: ActorSystem,
) -> None:
    log: list[Any] = []
    stubborn = Stubborn()
    kept: list[Ctx] = []

    async def hold(ctx: Ctx) -> None:
        kept.append(ctx)
        await stubborn.hold()

    ref = await system.spawn(lambda: Recorder(log))
    answer = ref.call(Do(hold), timeout=None)
    await stubborn.reached.wait()
    ref.kill("now")
    await asyncio.sleep(0)
    assert ref.status is Status.STOPPING
    await advance(system, 1.0)
    assert await ref.wait() == Killed("now")
    with pytest.raises(CalleeFailed):
        await answer
    assert len(system.zombies) == 1
    with pytest.raises(ActorDead):
        _ = kept[0].myself
    stubborn.go.set()
    await until(lambda: not system.zombies)
    assert "post_stop" not in str(log)


async def test_a_zombie_is_reported_and_its_replies_are_revoked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Told:
        def __getattr__(self, what: str) -> Callable[..., None]:
            return lambda *args: told.append(str(args[2])) if what == "failed" else None

    told: list[str] = []
    async with manual_system(observer=Told()) as system:  # type: ignore[arg-type]
        stubborn = Stubborn()
        kept: list[ReplyTo[str]] = []

        class Deferring(Actor[Ask]):
            async def handle(self, msg: Ask, ctx: Ctx) -> None:
                kept.append(ctx.defer(msg))
                await stubborn.hold()

        ref = await system.spawn(Deferring, "x")
        answer = ref.call(Ask("x"), timeout=None)
        await stubborn.reached.wait()
        try:
            ref.kill()
            await advance(system, 1.0)
            with pytest.raises(CalleeFailed):
                await answer
            for use in (lambda: kept[0].reply("late"), lambda: kept[0].caller_gone):
                with pytest.raises(ActorDead):
                    use()
            assert "left behind as a zombie" in caplog.text
            assert told == ["user/x survived its cancelling and is left behind as a zombie"]
        finally:
            stubborn.go.set()
        await until(lambda: not system.zombies)


async def test_a_parent_killed_while_its_child_starts_takes_it_along(
    system: ActorSystem,
) -> None:
    """A child belongs to its parent before its ``pre_start``."""
    gate = Gate()
    children: list[ActorRef[Any]] = []

    class Slow(Recorder):
        async def pre_start(self, ctx: Ctx) -> None:
            children.append(ctx.myself)
            await gate.hold()

    parent = await system.spawn(Recorder)
    parent.cast(Do(lambda ctx: ctx.spawn(Slow)))
    await gate.reached.wait()
    parent.kill()
    await parent.wait()
    [child] = children
    assert child.status is Status.DEAD
    assert await child.wait() == Killed("its parent was killed")


async def test_children_stop_in_reverse_order_before_post_stop(system: ActorSystem) -> None:
    log: list[Any] = []

    class Named(Recorder):
        async def post_stop(self, reason: Any, ctx: Ctx) -> None:
            log.append(ctx.myself.path)

    class Parent(Named):
        async def pre_start(self, ctx: Ctx) -> None:
            for name in "abc":
                await ctx.spawn(lambda: Named([]), name)

    ref = await system.spawn(lambda: Parent([]), "p")
    ref.stop()
    await ref.wait()
    assert log == ["user/p/c", "user/p/b", "user/p/a", "user/p"]


async def test_a_child_that_does_not_stop_in_time_is_killed(system: ActorSystem) -> None:
    log: list[Any] = []
    gate = Gate()
    parent = await system.spawn(lambda: Recorder(log))
    child = await parent.call(Do(lambda ctx: ctx.spawn(Recorder, shutdown=2.0)))
    child.cast(gate.do)
    await gate.reached.wait()
    parent.stop()
    await advance(system, 1.9)
    assert child.status is Status.RUNNING
    await advance(system, 0.2)
    assert await child.wait() == Killed("did not stop within 2 s")
    assert await parent.wait() == Stopped()
    assert log[-1] == "post_stop: stopped"


async def test_a_long_post_stop_is_cut_short(system: ActorSystem) -> None:
    class Slow(Recorder):
        async def post_stop(self, reason: Any, ctx: Ctx) -> None:
            await asyncio.Event().wait()

    ref = await system.spawn(Slow, shutdown=3.0)
    ref.stop()
    await advance(system, 2.9)
    assert ref.status is Status.STOPPING
    await advance(system, 0.2)
    assert await ref.wait() == Killed("post_stop took longer than 3 s")


async def test_killing_a_parent_kills_its_children(system: ActorSystem) -> None:
    log: list[Any] = []
    parent = await system.spawn(Recorder)
    child = await parent.call(Do(lambda ctx: ctx.spawn(lambda: Recorder(log))))
    parent.kill()
    assert await child.wait() == Killed("its parent was killed")
    await parent.wait()
    assert "post_stop" not in str(log)


async def test_a_parent_is_dead_after_its_children_even_if_one_is_stubborn(
    system: ActorSystem,
) -> None:
    stubborn = Stubborn()
    parent = await system.spawn(Recorder)
    child = await parent.call(Do(lambda ctx: ctx.spawn(Recorder)))
    child.cast(stubborn.do)
    await stubborn.reached.wait()
    parent.kill()
    await settle(system)
    assert parent.status is Status.STOPPING
    await advance(system, 1.0)
    assert child.status is Status.DEAD
    assert parent.status is Status.DEAD
    stubborn.go.set()
    await until(lambda: not system.zombies)


async def test_a_failing_child_leaves_its_parent_alive(system: ActorSystem) -> None:
    parent = await system.spawn(Recorder)
    child = await parent.call(Do(lambda ctx: ctx.spawn(Recorder)))
    child.cast(Crash(ValueError()))
    await child.wait()
    assert await parent.call(Ask("alive")) == "alive"


async def test_a_thousand_children_start_at_once_and_end_with_their_parent(
    system: ActorSystem,
) -> None:
    async def many(ctx: Ctx) -> int:
        return len(await asyncio.gather(*(ctx.spawn(Recorder) for _ in range(1000))))

    parent = await system.spawn(Recorder)
    assert await parent.call(Do(many)) == 1000
    assert len(system.actors()) == 1003
    parent.stop()
    await parent.wait()
    assert len(system.actors()) == 2


# --- C6: what a generation's end releases ---


async def test_at_end_callbacks_run_on_every_end_last_first(system: ActorSystem) -> None:
    for end in ("stop", "kill", "crash"):
        log: list[str] = []

        class Holder(Recorder):
            async def pre_start(self, ctx: Ctx) -> None:
                ctx.at_end(lambda: log.append("first"))  # noqa: B023
                ctx.at_end(lambda: 1 / 0)
                ctx.at_end(lambda: log.append("last"))  # noqa: B023

        ref = await system.spawn(Holder)
        match end:
            case "stop":
                ref.stop()
            case "kill":
                ref.kill()
            case _:
                ref.cast(Crash(ValueError()))
        await ref.wait()
        assert log == ["last", "first"]


async def test_the_message_in_hand_is_a_dead_letter_and_never_comes_again(
    system: ActorSystem,
) -> None:
    ref = await system.spawn(Recorder, "x")
    crash = Crash(ValueError("boom"))
    ref.cast(crash)
    await ref.wait()
    (letter,) = system.dead_letters
    assert letter.message is crash
    assert letter.reason is DeadLetterReason.FAILED
    assert letter.target == "user/x"
    assert letter.error is crash.error


async def test_the_context_is_revoked_after_the_end(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder)

    async def self_(ctx: Ctx) -> Ctx:
        return ctx

    ctx = await ref.call(Do(self_))
    ref.stop()
    await ref.wait()
    for use in (
        lambda: ctx.myself,
        lambda: ctx.send_after(1, Note("x")),
        lambda: ctx.monitor(ref),
        lambda: ctx.reply(Ask("x"), "x"),
    ):
        with pytest.raises(ActorDead):
            use()


# --- C15: cancellation ---


async def test_cancelling_the_task_from_outside_is_a_kill(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder, "victim")
    await settle(system)
    (task,) = [t for t in system.tasks if t.get_name() == "user/victim"]
    task.cancel()
    assert await ref.wait() == Killed("cancelled")


async def test_a_cancelled_error_that_nobody_asked_for_is_a_failure(system: ActorSystem) -> None:
    async def await_cancelled(ctx: Ctx) -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    ref = await system.spawn(Recorder)
    ref.cast(Do(await_cancelled))
    reason = await ref.wait()
    assert isinstance(reason, Failed)
    assert isinstance(reason.error, asyncio.CancelledError)


async def test_a_cancelled_spawn_leaves_nothing(system: ActorSystem) -> None:
    gate = Gate()

    class Slow(Recorder):
        async def pre_start(self, ctx: Ctx) -> None:
            await gate.hold()

    start = asyncio.ensure_future(system.spawn(Slow, "x"))
    await gate.reached.wait()
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert system.lookup("user/x") is None
    assert [a.key for a in system.actors()] == ["root", "user"]


# --- giving way ---


async def test_a_self_sending_actor_does_not_hold_off_the_loop(system: ActorSystem) -> None:
    class Busy(Actor[int]):
        handled = 0

        async def handle(self, msg: int, ctx: Ctx) -> None:
            Busy.handled += 1
            if Busy.handled < 100_000:
                ctx.myself.cast(msg)

    ref = await system.spawn(Busy)
    ref.cast(1)
    for _ in range(3):
        await asyncio.sleep(0)
    assert 0 < Busy.handled <= 3 * 256
    ref.kill()
    await ref.wait()


async def test_a_flood_of_notices_does_not_hold_off_the_loop(system: ActorSystem) -> None:
    probe: Probe[Any] = await Probe.spawn(system)
    life = probe.ctx._life
    for _ in range(2000):
        life.notify(Joined("s", "g", probe.ref))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert 0 < len(probe.notices) < 2000
    await probe.noticed(2000)
