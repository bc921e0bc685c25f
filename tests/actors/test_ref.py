"""Calls and their outcomes, stable refs, keys. On both loops."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.actors.kit import Ask, Crash, Ctx, Do, Gate, Note, Recorder

from antiphon.actors import (
    Actor,
    ActorSystem,
    Backoff,
    Child,
    DeadLetterReason,
    Key,
    NoProc,
    ReplyTo,
    Restart,
    Status,
    Stopped,
    Supervisor,
)
from antiphon.errors import (
    ActorDead,
    ActorStopped,
    CalleeFailed,
    CallTimeout,
    NoReply,
)
from antiphon.testing import advance, settle

KEY: Key[Any] = Key("thing")


class Later(Actor[Ask | Note]):
    """Defers its answers until a Note comes."""

    def __init__(self, held: list[ReplyTo[str]]) -> None:
        self.held = held

    async def handle(self, msg: Ask | Note, ctx: Ctx) -> None:
        if isinstance(msg, Ask):
            self.held.append(ctx.defer(msg))
        elif msg.text == "crash":
            raise ValueError("later")
        else:
            self.held[-1].reply(msg.text)


async def test_a_call_returns_the_reply(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder)
    assert await ref.call(Ask("x")) == "x"


async def test_a_call_times_out_after_its_own_timeout(system: ActorSystem) -> None:
    ref = await system.spawn(lambda: Later([]))
    short = ref.call(Ask("x"), timeout=1.0)
    default = ref.call(Ask("x"))
    endless = ref.call(Ask("x"), timeout=None)
    await advance(system, 0.99)
    assert not short.done()
    await advance(system, 0.01)
    with pytest.raises(CallTimeout, match="1 s"):
        await short
    await advance(system, 4.0)
    with pytest.raises(TimeoutError):
        await default
    await advance(system, 1e6)
    assert not endless.done()
    endless.cancel()


async def test_a_late_and_a_second_reply_return_false(system: ActorSystem) -> None:
    held: list[ReplyTo[str]] = []
    ref = await system.spawn(lambda: Later(held))
    late = ref.call(Ask("x"), timeout=1.0)
    await advance(system, 1.0)
    assert held[0].caller_gone
    assert held[0].reply("late") is False
    with pytest.raises(CallTimeout):
        await late
    twice = ref.call(Ask("x"))
    await settle(system)
    assert not held[1].caller_gone
    assert held[1].reply("first") is True
    assert held[1].reply("second") is False
    assert held[1].reply_error(ValueError()) is False
    assert await twice == "first"


async def test_a_handler_without_an_answer_is_no_reply(system: ActorSystem) -> None:
    class Mute(Actor[Ask]):
        async def handle(self, msg: Ask, ctx: Ctx) -> None:
            pass

    ref = await system.spawn(Mute)
    with pytest.raises(NoReply):
        await ref.call(Ask("x"))


async def test_an_actor_without_a_handler_makes_dead_letters(system: ActorSystem) -> None:
    class Deaf(Actor[Ask]):
        pass

    ref = await system.spawn(Deaf)
    ref.cast(Ask("x"))
    with pytest.raises(NoReply):
        await ref.call(Ask("x"))
    assert system.dead_letters.counts[DeadLetterReason.UNHANDLED] == 2


async def test_only_the_message_in_hand_can_be_answered(system: ActorSystem) -> None:
    async def answer_another(ctx: Ctx) -> str:
        with pytest.raises(ValueError, match="not the message being handled"):
            ctx.reply(Ask("x"), "x")
        return "ok"

    ref = await system.spawn(Recorder)
    assert await ref.call(Do(answer_another)) == "ok"


async def test_a_request_that_was_cast_has_no_caller(system: ActorSystem) -> None:
    seen: list[Any] = []

    class Asked(Actor[Ask]):
        async def handle(self, msg: Ask, ctx: Ctx) -> None:
            seen.append((ctx.caller_gone, ctx.reply(msg, "x"), ctx.defer(msg).reply("x")))

    ref = await system.spawn(Asked)
    ref.cast(Ask("x"))
    await settle(system)
    assert seen == [(True, False, False)]


async def test_after_defer_the_context_answers_no_more(system: ActorSystem) -> None:
    class Both(Actor[Ask]):
        async def handle(self, msg: Ask, ctx: Ctx) -> None:
            later = ctx.defer(msg)
            assert ctx.reply(msg, "now") is False
            assert ctx.defer(msg).reply("again") is False
            later.reply("later")

    ref = await system.spawn(Both)
    assert await ref.call(Ask("x")) == "later"


async def test_a_deferred_answer_ends_with_its_generation(system: ActorSystem) -> None:
    held: list[ReplyTo[str]] = []
    ref = await system.spawn(lambda: Later(held))
    answer = ref.call(Ask("x"))
    ref.cast(Note("crash"))
    with pytest.raises(CalleeFailed, match="later"):
        await answer
    with pytest.raises(ActorDead):
        held[0].reply("x")
    ref = await system.spawn(lambda: Later(held))
    answer = ref.call(Ask("x"))
    await settle(system)
    ref.stop()
    with pytest.raises(ActorStopped):
        await answer


async def test_cancelling_a_caller_does_not_cancel_the_callee(system: ActorSystem) -> None:
    gate = Gate()
    seen: list[bool] = []

    async def work(ctx: Ctx) -> None:
        await gate.hold()
        seen.append(ctx.caller_gone)

    ref = await system.spawn(Recorder)
    caller = asyncio.ensure_future(ref.call(Do(work)))
    await gate.reached.wait()
    caller.cancel()
    gate.opened.set()
    await settle(system)
    assert seen == [True]
    assert ref.is_alive


@pytest.mark.parametrize("skip", [True, False])
async def test_a_request_whose_caller_is_gone_is_skipped_unless_opted_out(
    system: ActorSystem, skip: bool
) -> None:
    log: list[Any] = []

    class Choosy(Recorder):
        skip_abandoned = skip

    gate = Gate()
    ref = await system.spawn(lambda: Choosy(log))
    ref.cast(gate.do)
    abandoned = ref.call(Ask("abandoned"))
    abandoned.cancel()
    gate.opened.set()
    await settle(system)
    assert ("abandoned" in log) is not skip
    assert system.dead_letters.counts[DeadLetterReason.EXPIRED] == int(skip)


async def test_a_stop_iteration_comes_back_as_callee_failed(system: ActorSystem) -> None:
    """A future can't carry it, on any version of Python."""

    class Polite(Actor[Ask]):
        async def handle(self, msg: Ask, ctx: Ctx) -> None:
            ctx.reply_error(msg, StopIteration(1))

    ref = await system.spawn(Polite)
    with pytest.raises(CalleeFailed) as caught:
        await ref.call(Ask("x"))
    assert isinstance(caught.value.__cause__, StopIteration)


# --- C6: identity ---


async def test_a_key_that_names_nothing_is_noproc(system: ActorSystem) -> None:
    ref = system.ref(KEY)
    assert ref.status is Status.DEAD
    assert not ref.is_alive
    assert ref.generation == 0
    ref.cast(Note("x"))
    assert [letter.reason for letter in system.dead_letters] == [DeadLetterReason.NOPROC]
    with pytest.raises(ActorDead):
        await ref.call(Ask("x"))
    assert await ref.wait() == NoProc()
    assert await ref.wait_generation() == NoProc()
    ref.stop()
    ref.kill()


async def test_one_ref_follows_its_key_over_restarts(system: ActorSystem) -> None:
    ref = system.ref(KEY)
    await system.supervise(Supervisor([Child(KEY, Recorder)]), "sup")
    assert system.ref(KEY) is ref
    assert ref.generation == 1
    ref.cast(Crash(ValueError()))
    await ref.wait_generation()
    assert ref.is_alive
    assert await ref.call(Ask("x")) == "x"
    assert ref.generation == 2


async def test_one_ref_follows_its_key_over_its_supervisors_restart(system: ActorSystem) -> None:
    supervisor = await system.supervise(Supervisor([Child(KEY, Recorder)]), "sup")
    ref = system.ref(KEY)
    ended = asyncio.ensure_future(ref.wait())
    supervisor.kill()
    await settle(system)
    assert ended.done()
    assert await ref.call(Ask("x")) == "x"
    assert ref.generation == 2
    assert supervisor.generation == 2


async def test_the_queue_outlives_a_generation(system: ActorSystem) -> None:
    """Casts, waiting senders and calls go to the next generation; the crasher is not repeated."""
    log: list[Any] = []
    child = Child(KEY, lambda: Recorder(log), capacity=2)
    await system.supervise(Supervisor([child]), "sup")
    ref = system.ref(KEY)
    gate = Gate()

    async def hold_and_crash(ctx: Ctx) -> None:
        await gate.hold()
        raise ValueError

    crashing = ref.call(Do(hold_and_crash))
    await gate.reached.wait()
    ref.cast(Note("queued"))
    answer = ref.call(Ask("asked"))
    sending = asyncio.ensure_future(ref.send(Note("waited")))
    await asyncio.sleep(0)
    gate.opened.set()
    with pytest.raises(CalleeFailed):
        await crashing
    assert await answer == "asked"
    await sending
    await settle(system)
    assert log[3:] == ["pre_start", "post_start", "queued", "asked", "waited"]
    assert len(system.dead_letters) == 0


async def test_what_a_generation_sent_itself_is_discarded_with_it(system: ActorSystem) -> None:
    log: list[Any] = []
    await system.supervise(Supervisor([Child(KEY, lambda: Recorder(log))]), "sup")
    ref = system.ref(KEY)

    async def arm(ctx: Ctx) -> None:
        async def value() -> str:
            return "piped"

        ctx.send_after(1.0, Note("unfired"))
        ctx.send_after(0.0, Note("fired"))
        ctx.pipe_to_self(value(), Note)
        for _ in range(5):
            await asyncio.sleep(0)
        raise ValueError

    ref.cast(Do(arm))
    await settle(system)
    await advance(system, 2.0)
    assert ref.generation == 2
    assert not {"unfired", "fired", "piped"} & {x for x in log if isinstance(x, str)}


async def test_a_stop_and_notices_do_not_outlive_their_generation(system: ActorSystem) -> None:
    """What waits at the control ports is dropped; only messages are kept."""
    log: list[Any] = []
    child = Child(KEY, lambda: Recorder(log), restart=Restart.TRANSIENT)
    await system.supervise(Supervisor([child]), "sup")
    ref = system.ref(KEY)
    other = await system.spawn(Recorder)
    gate = Gate()

    async def watch_and_crash(ctx: Ctx) -> None:
        ctx.monitor(other)
        await gate.hold()
        raise ValueError

    ref.cast(Do(watch_and_crash))
    await gate.reached.wait()
    other.stop()
    await other.wait()
    ref.stop("too late: it has failed by then")
    ref.cast(Note("kept"))
    gate.opened.set()
    await settle(system)
    assert ref.generation == 2
    assert ref.status is Status.RUNNING
    assert log[-3:] == ["pre_start", "post_start", "kept"]


async def test_a_call_keeps_its_own_timeout_through_a_restart(system: ActorSystem) -> None:
    backoff = Backoff(base=3.0, jitter=0.0)
    await system.supervise(Supervisor([Child(KEY, Recorder, backoff=backoff)]), "sup")
    ref = system.ref(KEY)
    for _ in range(2):
        ref.cast(Crash(ValueError()))
    short, long = ref.call(Ask("short"), timeout=2.0), ref.call(Ask("long"), timeout=4.0)
    await settle(system, patience=0.5)
    assert ref.status is Status.NEW
    await advance(system, 2.0)
    with pytest.raises(CallTimeout):
        await short
    assert not long.done()
    await advance(system, 1.0)
    assert await long == "long"
    assert system.dead_letters.counts[DeadLetterReason.EXPIRED] == 1


async def test_stopping_a_permanent_child_ends_only_its_generation(system: ActorSystem) -> None:
    await system.supervise(Supervisor([Child(KEY, Recorder)]), "sup")
    ref = system.ref(KEY)
    ended = asyncio.ensure_future(ref.wait())
    generation = asyncio.ensure_future(ref.wait_generation())
    await asyncio.sleep(0)
    ref.stop("again")
    assert await generation == Stopped("again")
    await settle(system)
    assert not ended.done()
    assert ref.generation == 2
    ended.cancel()


async def test_a_restart_that_nobody_expected_opens_the_mailbox_again(
    system: ActorSystem,
) -> None:
    """A transient child that stops takes nothing more, unless its post_stop fails."""

    class Broken(Recorder):
        async def post_stop(self, reason: Any, ctx: Ctx) -> None:
            raise OSError

    await system.supervise(Supervisor([Child(KEY, Broken, restart=Restart.TRANSIENT)]), "sup")
    ref = system.ref(KEY)
    ref.stop()
    await settle(system)
    assert ref.generation == 2
    assert await ref.call(Ask("x")) == "x"


async def test_a_ref_from_spawn_ends_with_its_actor(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder, "x")
    ref.stop()
    await ref.wait()
    again = await system.spawn(Recorder, "x")
    assert again is not ref
    assert not ref.is_alive
    assert again.is_alive


async def test_a_transient_child_that_ends_normally_frees_its_key(system: ActorSystem) -> None:
    await system.supervise(Supervisor([Child(KEY, Recorder, restart=Restart.TRANSIENT)]), "sup")
    ref = system.ref(KEY)
    ref.stop()
    assert await ref.wait() == Stopped()
    assert system.lookup("thing") is None
    assert await system.get_or_spawn(KEY, Recorder) is ref
    assert await ref.call(Ask("x")) == "x"


def test_a_key_needs_a_name_and_may_be_written_with_its_type() -> None:
    with pytest.raises(ValueError, match="name"):
        Key[Any]("")
    assert Key[Note]("x") == Key("x")
