"""The bounded message port: policies when full, waiters in order, closing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.actors.kit import Ask, Ctx, Do, Gate, Note, Recorder, until

from antiphon.actors import (
    ActorRef,
    ActorSystem,
    Child,
    DeadLetterReason,
    Key,
    Overflow,
    Supervisor,
)
from antiphon.actors.mailbox import Mailbox
from antiphon.errors import ActorDead, ActorStopped, CallTimeout, MailboxFull
from antiphon.testing import ManualClock, settle


class Held:
    """An actor that is held in a handler, with a small mailbox."""

    def __init__(self, log: list[Any], gate: Gate, ref: ActorRef[Any]) -> None:
        self.log = log
        self.gate = gate
        self.ref = ref

    @classmethod
    async def spawn(cls, system: ActorSystem, capacity: int, overflow: Overflow) -> Held:
        log: list[Any] = []
        gate = Gate()
        ref = await system.spawn(lambda: Recorder(log), capacity=capacity, overflow=overflow)
        ref.cast(gate.do)
        await gate.reached.wait()
        return cls(log, gate, ref)

    async def release(self, system: ActorSystem) -> list[Any]:
        self.gate.opened.set()
        await settle(system)
        return self.log[2:]


async def full(
    system: ActorSystem, overflow: Overflow = Overflow.DROP_NEWEST, capacity: int = 2
) -> Held:
    held = await Held.spawn(system, capacity, overflow)
    for n in range(capacity):
        held.ref.cast(Note(str(n)))
    return held


@pytest.mark.parametrize("capacity", [0, -1])
def test_a_capacity_below_one_is_invalid(capacity: int) -> None:
    with pytest.raises(ValueError, match=f"capacity must be at least 1, got {capacity}"):
        Mailbox("x", lambda message, reason: None, capacity=capacity)


async def test_the_default_bound_is_1024_messages(system: ActorSystem) -> None:
    child: Child[Any] = Child(Key("kept"), Recorder)
    await system.supervise(Supervisor([child]), "sup")
    gate = Gate()
    for ref in (await system.spawn(Recorder), system.ref(child.key)):
        ref.cast(gate.do)
        await gate.reached.wait()
        gate.reached.clear()
        await settle_held(ref)
        before = len(system.dead_letters)
        for n in range(1024):
            assert ref.try_cast(Note(str(n)))
        assert not ref.try_cast(Note("one too many"))
        assert len(system.dead_letters) == before
    gate.opened.set()
    await settle(system)


async def settle_held(ref: ActorRef[Any]) -> None:
    """Wait until a held actor has nothing but what holds it."""
    await until(lambda: not ref._box.queue)


async def test_drop_newest_buries_the_cast_and_the_sender_goes_on(system: ActorSystem) -> None:
    held = await full(system)
    held.ref.cast(Note("extra"))
    (letter,) = system.dead_letters
    assert letter.message == Note("extra")
    assert letter.reason is DeadLetterReason.OVERFLOW
    assert letter.target == held.ref.path
    assert letter.sender is not None
    assert await held.release(system) == ["0", "1"]


async def test_drop_oldest_makes_room(system: ActorSystem) -> None:
    held = await full(system, Overflow.DROP_OLDEST)
    held.ref.cast(Note("extra"))
    assert [letter.message for letter in system.dead_letters] == [Note("0")]
    assert await held.release(system) == ["1", "extra"]


async def test_an_evicted_call_fails_its_caller(system: ActorSystem) -> None:
    held = await Held.spawn(system, 1, Overflow.DROP_OLDEST)
    answer = held.ref.call(Ask("evicted"))
    held.ref.cast(Note("in"))
    with pytest.raises(MailboxFull):
        await answer
    assert await held.release(system) == ["in"]


async def test_reject_raises_and_queues_nothing(system: ActorSystem) -> None:
    held = await full(system, Overflow.REJECT)
    with pytest.raises(MailboxFull, match="2 messages waiting"):
        held.ref.cast(Note("extra"))
    assert await held.release(system) == ["0", "1"]
    assert len(system.dead_letters) == 0


@pytest.mark.parametrize("overflow", Overflow)
async def test_try_cast_to_a_full_mailbox_is_false_under_every_policy(
    system: ActorSystem, overflow: Overflow
) -> None:
    held = await full(system, overflow)
    assert held.ref.try_cast(Note("extra")) is False
    assert len(system.dead_letters) == 0
    assert await held.release(system) == ["0", "1"]


async def test_senders_and_callers_wait_for_room_in_order(system: ActorSystem) -> None:
    held = await full(system)
    first = asyncio.ensure_future(held.ref.send(Note("first")))
    await asyncio.sleep(0)
    second = held.ref.call(Ask("second"))
    third = asyncio.ensure_future(held.ref.send(Note("third")))
    await asyncio.sleep(0)
    assert not first.done()
    assert await held.release(system) == ["0", "1", "first", "second", "third"]
    assert await second == "second"
    await asyncio.gather(first, third)


async def test_a_cast_does_not_overtake_those_who_wait(system: ActorSystem) -> None:
    """While anyone waits, a cast meets a full mailbox."""
    held = await full(system)
    waiting = asyncio.ensure_future(held.ref.send(Note("waits")))
    await asyncio.sleep(0)
    assert held.ref.try_cast(Note("sly")) is False
    assert await held.release(system) == ["0", "1", "waits"]
    await waiting
    assert held.ref.try_cast(Note("later")) is True


async def test_waiting_for_room_ends_in_time(system: ActorSystem) -> None:
    held = await full(system)
    sending = asyncio.ensure_future(held.ref.send(Note("late"), timeout=1.0))
    await asyncio.sleep(0)
    calling = held.ref.call(Ask("late"), timeout=1.0)
    clock_moves = asyncio.ensure_future(_move(system, 1.0))
    with pytest.raises(CallTimeout, match="no room at"):
        await sending
    with pytest.raises(CallTimeout):
        await calling
    await clock_moves
    assert await held.release(system) == ["0", "1"]


async def _move(system: ActorSystem, seconds: float) -> None:
    """Move the clock although a held actor is not quiet."""
    assert isinstance(system.clock, ManualClock)
    until = system.clock.now() + seconds
    while system.clock.fire_next(until):
        await asyncio.sleep(0)
    system.clock.set(until)


async def test_send_waits_five_seconds_and_for_ever_only_if_told_so(system: ActorSystem) -> None:
    held = await full(system)
    default = asyncio.ensure_future(held.ref.send(Note("default")))
    endless = asyncio.ensure_future(held.ref.send(Note("endless"), timeout=None))
    await until(lambda: len(held.ref._box.waiters) == 2)
    await _move(system, 4.99)
    assert not default.done()
    await _move(system, 0.01)
    with pytest.raises(CallTimeout, match="within 5 s"):
        await default
    await _move(system, 1e6)
    assert not endless.done()
    assert await held.release(system) == ["0", "1", "endless"]
    await endless


async def test_a_timeout_of_zero_is_refused_at_once(system: ActorSystem) -> None:
    held = await full(system)
    with pytest.raises(MailboxFull):
        await held.ref.send(Note("now"), timeout=0)
    await held.release(system)


async def test_a_cancelled_wait_leaves_nothing_and_frees_the_way(system: ActorSystem) -> None:
    held = await full(system, capacity=1)
    sending = asyncio.ensure_future(held.ref.send(Note("cancelled")))
    await asyncio.sleep(0)
    calling = held.ref.call(Ask("cancelled"))
    sending.cancel()
    calling.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await held.release(system) == ["0"]
    held.ref.cast(Note("next"))
    await settle(system)
    assert held.log[-1] == "next"


async def test_the_end_fails_those_who_wait_and_buries_what_is_queued(
    system: ActorSystem,
) -> None:
    held = await full(system, capacity=1)
    sending = asyncio.ensure_future(held.ref.send(Note("waits")))
    await asyncio.sleep(0)
    calling = held.ref.call(Ask("waits"))
    held.ref.stop()
    held.gate.opened.set()
    with pytest.raises(ActorStopped):
        await sending
    with pytest.raises(ActorStopped):
        await calling
    assert [letter.message for letter in system.dead_letters] == [Note("0")]


async def test_to_the_dead_a_cast_is_a_dead_letter_and_the_rest_raises(
    system: ActorSystem,
) -> None:
    ref = await system.spawn(Recorder)
    ref.stop()
    await ref.wait()
    ref.cast(Note("x"))
    assert ref.try_cast(Note("x")) is False
    with pytest.raises(ActorDead):
        await ref.send(Note("x"))
    with pytest.raises(ActorDead):
        await ref.call(Ask("x"))
    assert [letter.reason for letter in system.dead_letters] == [DeadLetterReason.NOPROC]


async def test_ticks_pass_a_full_mailbox(system: ActorSystem) -> None:
    """An actor's own timers are as many as it made, and are never dropped for others."""

    async def arm(ctx: Ctx) -> None:
        ctx.send_after(1.0, Note("tick"))

    held = await Held.spawn(system, 1, Overflow.DROP_OLDEST)
    held.gate.opened.set()
    await held.ref.call(Do(arm))
    gate = Gate()
    held.ref.cast(gate.do)
    await gate.reached.wait()
    held.ref.cast(Note("full"))
    await _move(system, 1.0)
    held.ref.cast(Note("newer"))
    gate.opened.set()
    await settle(system)
    assert held.log[2:] == ["tick", "newer"]
