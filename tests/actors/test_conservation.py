"""No message is lost without a trace, whatever crashes, stops and kills come between."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeAlias

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.actors import (
    Actor,
    ActorContext,
    ActorRef,
    Backoff,
    Child,
    Key,
    Overflow,
    Request,
    Restart,
    Supervisor,
)
from antiphon.errors import ActorError, CallTimeout, MailboxFull
from antiphon.testing import ManualClock, manual_system


@dataclass(frozen=True)
class Item(Request[int]):
    number: int
    crash: bool = False
    pauses: int = 0


Msg: TypeAlias = Item


class Sink(Actor[Msg]):
    skip_abandoned = True

    def __init__(self, handled: Counter[int]) -> None:
        self.handled = handled

    async def handle(self, msg: Msg, ctx: ActorContext[Msg]) -> None:
        for _ in range(msg.pauses):
            await asyncio.sleep(0)
        if msg.crash:
            raise ValueError(msg.number)
        self.handled[msg.number] += 1
        ctx.reply(msg, msg.number)


@dataclass
class Books:
    """What became of each message, by its number; futures are the callers' and senders'."""

    sent: int = 0
    handled: Counter[int] = field(default_factory=Counter)
    refused: Counter[int] = field(default_factory=Counter)
    waiting: list[tuple[int, asyncio.Future[Any]]] = field(default_factory=list)

    def check(self, buried: Counter[int]) -> None:
        """Each number must stand in exactly one account."""
        accounts = self.handled + buried + self.refused
        accounts += self._told(accounts)
        cancelled = {number for number, future in self.waiting if future.cancelled()}
        for number in range(self.sent):
            if number in cancelled:  # withdrawn before it was queued, or one of the above
                assert accounts[number] <= 1, number
            else:
                assert accounts[number] == 1, number

    def _told(self, accounts: Counter[int]) -> Counter[int]:
        """Whose failure the caller was told; after a timeout it may be handled all the same."""
        told: Counter[int] = Counter()
        for number, future in self.waiting:
            assert future.done()
            error = None if future.cancelled() else future.exception()
            if error is not None:
                assert isinstance(error, ActorError)
                told[number] += not (isinstance(error, CallTimeout) and accounts[number])
        return told


targets = st.integers(0, 2)
sends = st.tuples(
    st.sampled_from(["cast", "cast", "try_cast", "send", "call", "call_and_cancel"]),
    targets,
    st.booleans() | st.just(False),
    st.integers(0, 3),
)
ends = st.tuples(st.sampled_from(["stop", "kill"]), targets)
pauses = st.tuples(st.sampled_from(["yield", "advance"]), st.integers(1, 5))
steps = st.lists(sends | sends | sends | ends | pauses, max_size=60)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=steps,
    seed=st.integers(0, 1000),
    overflow=st.sampled_from(Overflow),
    capacity=st.integers(1, 4),
)
def test_every_message_is_handled_or_accounted_for_once(
    steps: list[Any], seed: int, overflow: Overflow, capacity: int
) -> None:
    """sent = handled + dead letters + refused + failures told to the sender, each once."""
    asyncio.run(scene(steps, seed, overflow, capacity))


async def scene(steps: list[Any], seed: int, overflow: Overflow, capacity: int) -> None:
    books = Books()
    async with manual_system(seed=seed, dice=Random(seed)) as system:
        refs = []
        for n, restart in enumerate(Restart):
            key: Key[Msg] = Key(f"sink/{n}")
            child = Child(
                key,
                lambda: Sink(books.handled),
                restart=restart,
                overflow=overflow,
                capacity=capacity,
                backoff=Backoff(base=0.5),
            )
            await system.supervise(Supervisor([child], intensity=1000), f"sink-{n}")
            refs.append(system.ref(key))
        for step in steps:
            await take(step, books, refs, system.clock)
    buried = Counter(letter.message.number for letter in system.dead_letters)
    assert len(system.dead_letters) == buried.total()
    books.check(buried)


async def take(
    step: tuple[Any, ...],
    books: Books,
    refs: list[ActorRef[Msg]],
    clock: Any,
) -> None:
    match step:
        case ("stop", target):
            refs[target].stop()
        case ("kill", target):
            refs[target].kill()
        case ("yield", times):
            for _ in range(times):
                await asyncio.sleep(0)
        case ("advance", times):
            assert isinstance(clock, ManualClock)
            until = clock.now() + times / 5
            while clock.fire_next(until):
                await asyncio.sleep(0)
            clock.set(until)
        case (kind, target, crash, pauses):
            number = books.sent
            books.sent += 1
            post(kind, refs[target], Item(number, crash, pauses), books)


def post(
    kind: str,
    ref: ActorRef[Msg],
    item: Item,
    books: Books,
) -> None:
    match kind:
        case "cast":
            try:
                ref.cast(item)
            except MailboxFull:
                books.refused[item.number] += 1
        case "try_cast":
            if not ref.try_cast(item):
                books.refused[item.number] += 1
        case "send":
            sending = asyncio.ensure_future(ref.send(item, timeout=2.0))
            books.waiting.append((item.number, sending))
        case _:
            calling = ref.call(item, timeout=2.0)
            books.waiting.append((item.number, calling))
            if kind == "call_and_cancel":
                calling.cancel()
