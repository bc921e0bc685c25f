"""Pools: one ref, several workers, and every job accounted for once."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.actors.kit import Ask, Crash, Ctx, Do, Gate, Note, Recorder, until
from tests.actors.test_conservation import Books, Item, Sink, post

from antiphon.actors import (
    Actor,
    ActorContext,
    ActorRef,
    ActorSystem,
    Backoff,
    Child,
    DeadLetterReason,
    Key,
    Overflow,
    Pool,
    PoolInfo,
    PoolStatus,
    Request,
    Resize,
    Routing,
    Status,
    Supervisor,
    current_trace,
    tracing,
)
from antiphon.errors import (
    ActorStopped,
    CalleeFailed,
    CallTimeout,
    MailboxFull,
    NoReply,
    SpawnFailed,
)
from antiphon.testing import ManualClock, advance, manual_system, settle

POOL: Key[Any] = Key("pool")
KEYED = {"routing": Routing.BY_KEY, "key": lambda msg: msg.text}


async def start(
    system: ActorSystem,
    factory: Any = Recorder,
    size: int = 2,
    *,
    capacity: int = 100,
    overflow: Overflow = Overflow.DROP_NEWEST,
    **options: Any,
) -> ActorRef[Any]:
    child = Child(POOL, Pool(factory, size, **options), capacity=capacity, overflow=overflow)
    await system.supervise(Supervisor([child], intensity=100), "sup")
    return system.ref(POOL)


async def hold(ref: ActorRef[Any], count: int) -> list[Gate]:
    """Keep *count* workers busy until their gates are opened."""
    gates = [Gate() for _ in range(count)]
    for gate in gates:
        ref.cast(gate.do)
        await gate.reached.wait()
    return gates


async def info(ref: ActorRef[Any]) -> PoolInfo:
    return await Pool.control(ref).call(PoolStatus())


async def resize(ref: ActorRef[Any], size: int) -> int:
    return await Pool.control(ref).call(Resize(size))


def workers(system: ActorSystem) -> dict[str, int]:
    return {a.key: a.generation for a in system.actors() if a.parent == POOL.name}


async def whoami(ctx: Ctx) -> str:
    return str(ctx.myself.path)


class Silent(Request[None]):
    """Gets no answer."""


class Refused(Request[None]):
    """Gets a domain error."""


class Picky(Recorder):
    accepts = (*Recorder._accepts.classes, Silent, Refused)

    async def handle(self, msg: Any, ctx: Ctx) -> None:
        if isinstance(msg, Refused):
            ctx.reply_error(msg, KeyError("x"))
        elif not isinstance(msg, Silent):
            await super().handle(msg, ctx)


# --- one ref ----------------------------------------------------------------------------


async def test_a_call_gets_the_workers_reply_and_a_free_worker_takes_it(
    system: ActorSystem,
) -> None:
    ref = await start(system, size=3)
    held = await hold(ref, 2)
    assert await ref.call(Ask("hello")) == "hello"
    for gate in held:
        gate.opened.set()


async def test_calls_end_as_direct_ones_do(system: ActorSystem) -> None:
    """Failure, no answer, a domain error, a timeout, the end of a caller."""
    ref = await start(system, Picky, size=1)

    async def domain(ctx: Ctx) -> None:
        raise LookupError("none")

    with pytest.raises(CalleeFailed) as failed:
        await ref.call(Do(domain))
    assert isinstance(failed.value.__cause__, LookupError)
    with pytest.raises(NoReply):
        await ref.call(Silent())
    with pytest.raises(KeyError):
        await ref.call(Refused())
    (gate,) = await hold(ref, 1)
    late, gone = ref.call(Ask("late"), timeout=1.0), ref.call(Ask("gone"))
    gone.cancel()
    await advance(system, 1.0)
    with pytest.raises(CallTimeout):
        await late
    gate.opened.set()
    await settle(system)
    expired = [letter.message for letter in system.dead_letters if letter.reason == "expired"]
    assert expired == [Ask("late"), Ask("gone")]


async def test_a_deferred_answer_comes_through(system: ActorSystem) -> None:
    class Later(Actor[Ask]):
        async def handle(self, msg: Ask, ctx: ActorContext[Ask]) -> None:
            reply = ctx.defer(msg)
            asyncio.get_running_loop().call_soon(reply.reply, msg.text)

    ref = await start(system, Later, size=1)
    assert await ref.call(Ask("late")) == "late"


async def test_the_pool_answers_while_all_its_workers_are_busy(system: ActorSystem) -> None:
    ref = await start(system)
    held = await hold(ref, 2)
    ref.cast(Note("waits"))
    assert await info(ref) == PoolInfo(size=2, draining=0, waiting=1, capacity=100, shed=0)
    for gate in held:
        gate.opened.set()


async def test_a_message_that_no_worker_takes_raises_at_the_sender(system: ActorSystem) -> None:
    ref = await start(system, lambda: Recorder())
    with pytest.raises(TypeError, match=r"takes Do \| Note .*Resize \| PoolStatus"):
        ref.cast("foreign")
    lone = await system.spawn(Recorder)
    with pytest.raises(TypeError, match="cannot send Resize"):
        await Pool.control(lone).call(Resize(3))


async def test_its_workers_stand_below_it_in_the_tree(system: ActorSystem) -> None:
    await start(system, size=3)
    assert list(workers(system)) == ["pool/0", "pool/1", "pool/2"]


async def test_its_workers_end_all_at_once_each_in_its_own_time(system: ActorSystem) -> None:
    """Three that take all of their eight seconds end in eight, and the pool waits for them."""
    ref = await start(system, size=3, shutdown=8.0)
    await hold(ref, 3)
    system.ref(Key[Any]("sup")).stop()
    await advance(system, 7.0)
    assert ref.status is Status.STOPPING
    await advance(system, 1.0)
    assert [letter.reason for letter in system.dead_letters] == [DeadLetterReason.FAILED] * 3
    assert ref.generation == 2


async def test_a_worker_with_many_quick_jobs_does_not_hold_off_the_loop(
    system: ActorSystem,
) -> None:
    log: list[Any] = []
    ref = await start(system, lambda: Recorder(log), size=1, capacity=3000)
    for n in range(3000):
        ref.cast(Note(str(n)))
    turns = 0
    while len(log) < 3000:
        await asyncio.sleep(0)
        turns += 1
    assert turns > 3000 / 257


async def test_a_trace_reaches_the_worker(system: ActorSystem) -> None:
    ref = await start(system)

    async def which(ctx: Ctx) -> str:
        trace = current_trace()
        assert trace is not None
        return trace.trace_id

    with tracing() as trace:
        assert await ref.call(Do(which)) == trace.trace_id


async def test_a_pool_can_be_spawned_too(system: ActorSystem) -> None:
    ref = await system.spawn(Pool(Recorder, 2), "pool", capacity=3)
    assert await ref.call(Ask("hi")) == "hi"
    assert (await info(ref)).capacity == 3
    with pytest.raises(SpawnFailed):
        await system.spawn(lambda: Pool(Recorder, 2)())


async def test_a_worker_that_cannot_start_is_a_failed_start_of_the_pool(
    system: ActorSystem,
) -> None:
    class Broken(Recorder):
        async def pre_start(self, ctx: Ctx) -> None:
            raise ValueError("broken")

    with pytest.raises(SpawnFailed):
        await start(system, Broken)
    assert workers(system) == {}


def test_a_pool_without_workers_or_of_supervisors_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 worker, got 0"):
        Pool(Recorder, 0)
    with pytest.raises(ValueError, match="at least 1 worker, got -1"):
        Resize(-1)
    with pytest.raises(TypeError, match="Supervisor"):
        Pool(Supervisor(), 2)
    with pytest.raises(ValueError, match="by_key"):
        Pool(Recorder, 2, routing=Routing.BY_KEY)


# --- routing ----------------------------------------------------------------------------


async def test_no_job_waits_while_a_worker_is_free(plain_system: ActorSystem) -> None:
    """However the others are occupied; of the free ones, who has been so longest."""
    ref = await start(plain_system, size=3)
    first = [await ref.call(Do(whoami)) for _ in range(6)]
    assert first == ["pool/0", "pool/1", "pool/2"] * 2
    held = await hold(ref, 2)
    assert [await ref.call(Do(whoami)) for _ in range(3)] == ["pool/2"] * 3
    for gate in held:
        gate.opened.set()


async def test_round_robin_goes_in_turn_whoever_is_free(system: ActorSystem) -> None:
    ref = await start(system, size=2, routing=Routing.ROUND_ROBIN)
    (gate,) = await hold(ref, 1)
    answers = [ref.call(Do(whoami)) for _ in range(4)]
    await until(lambda: answers[0].done() and answers[2].done())
    assert not answers[1].done()
    gate.opened.set()
    assert await asyncio.gather(*answers) == ["pool/1", "pool/0"] * 2


@dataclass(frozen=True)
class Keyed:
    key: str
    number: int
    pauses: int


@settings(deadline=None, max_examples=60)
@given(
    jobs=st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 4)), max_size=40),
    size=st.integers(1, 4),
    seed=st.integers(0, 1000),
    kills=st.integers(0, 3),
)
def test_a_keys_jobs_are_handled_one_after_the_other_by_one_worker(
    jobs: list[tuple[str, int]], size: int, seed: int, kills: int
) -> None:
    """In the order of sending, also when workers are killed."""
    asyncio.run(keyed_scene(jobs, size, Random(seed), kills))


async def keyed_scene(jobs: list[tuple[str, int]], size: int, random: Random, kills: int) -> None:
    busy: set[str] = set()
    done: list[tuple[str, str, int]] = []

    class Worker(Actor[Keyed]):
        async def handle(self, msg: Keyed, ctx: ActorContext[Keyed]) -> None:
            assert msg.key not in busy
            busy.add(msg.key)
            try:
                done.append((msg.key, ctx.myself.path, msg.number))
                for _ in range(msg.pauses):
                    await asyncio.sleep(0)
            finally:
                busy.discard(msg.key)

    async with manual_system(dice=random) as system:
        pool = Pool(Worker, size, routing=Routing.BY_KEY, key=lambda msg: msg.key, intensity=1000)
        ref = await system.spawn(pool, "pool")
        for number, (key, pauses) in enumerate(jobs):
            ref.cast(Keyed(key, number, pauses))
            await asyncio.sleep(0)
            if kills and random.random() < 0.2:
                kills -= 1
                victim = system.lookup(f"user/pool/{random.randrange(size)}")
                assert victim is not None
                victim.kill()
        await advance(system, 100.0)
    assert sorted(number for _, _, number in done) == list(range(len(jobs)))
    for key in "abcdef":
        numbers = [number for k, _, number in done if k == key]
        assert numbers == sorted(numbers)
        assert len({path for k, path, _ in done if k == key}) <= 1


async def test_a_key_function_that_raises_does_so_at_the_sender(system: ActorSystem) -> None:
    ref = await start(system, **KEYED)
    with pytest.raises(AttributeError):
        ref.cast(Crash(ValueError()))
    with pytest.raises(AttributeError):
        await ref.call(Do(whoami))
    assert await ref.call(Ask("alive")) == "alive"


async def test_a_key_function_that_raises_does_so_at_who_would_wait_for_room(
    system: ActorSystem,
) -> None:
    ref = await start(system, size=1, capacity=1, routing=Routing.BY_KEY, key=key_of)
    (gate,) = await hold(ref, 1)
    ref.cast(Note("fills it"))
    with pytest.raises(LookupError):
        await ref.send(Crash(ValueError()))
    gate.opened.set()


def key_of(msg: Any) -> str:
    if isinstance(msg, Crash):
        raise LookupError("no key")
    return "one"


# --- when full --------------------------------------------------------------------------


def overflows(system: ActorSystem) -> list[Any]:
    return [
        letter.message
        for letter in system.dead_letters
        if letter.reason is DeadLetterReason.OVERFLOW
    ]


async def full(system: ActorSystem, overflow: Overflow) -> tuple[ActorRef[Any], list[Gate]]:
    """A pool with two busy workers and two jobs waiting, no room for more."""
    ref = await start(system, capacity=2, overflow=overflow)
    held = await hold(ref, 2)
    ref.cast(Note("first"))
    ref.cast(Note("second"))
    return ref, held


async def test_a_burst_for_free_workers_is_not_too_much(system: ActorSystem) -> None:
    """Capacity is for those that wait."""
    ref = await start(system, size=3, capacity=1)
    answers = await asyncio.gather(*(ref.call(Ask(str(n))) for n in range(4)))
    assert answers == ["0", "1", "2", "3"]


async def test_full_it_drops_the_newest_cast_and_fails_the_newest_call(
    system: ActorSystem,
) -> None:
    ref, held = await full(system, Overflow.DROP_NEWEST)
    ref.cast(Note("too much"))
    with pytest.raises(MailboxFull, match="2 jobs waiting"):
        await ref.call(Ask("too much"))
    assert ref.try_cast(Note("refused")) is False
    assert overflows(system) == [Note("too much")]
    assert (await info(ref)).shed == 2
    assert (await info(ref)).waiting == 2
    for gate in held:
        gate.opened.set()


async def test_full_it_drops_the_oldest_for_casts_and_calls(system: ActorSystem) -> None:
    ref, held = await full(system, Overflow.DROP_OLDEST)
    evicted, kept = ref.call(Ask("evicted")), ref.call(Ask("kept"))
    assert overflows(system) == [Note("first"), Note("second")]
    ref.cast(Note("third"))
    with pytest.raises(MailboxFull):
        await evicted
    for gate in held:
        gate.opened.set()
    assert await kept == "kept"
    assert (await info(ref)).shed == 3


async def test_full_it_rejects_casts_and_calls(system: ActorSystem) -> None:
    ref, held = await full(system, Overflow.REJECT)
    with pytest.raises(MailboxFull):
        ref.cast(Note("too much"))
    with pytest.raises(MailboxFull):
        await ref.call(Ask("too much"))
    assert overflows(system) == []
    for gate in held:
        gate.opened.set()
    await settle(system)
    assert await ref.call(Ask("room again")) == "room again"


async def test_send_waits_for_room_first_come_first_served(system: ActorSystem) -> None:
    log: list[Any] = []
    ref = await start(system, lambda: Recorder(log), size=1, capacity=1)
    (gate,) = await hold(ref, 1)
    ref.cast(Note("0"))
    sending = [asyncio.ensure_future(ref.send(Note(str(n)))) for n in (1, 2)]
    await asyncio.sleep(0)
    ref.cast(Note("does not overtake"))
    assert await resize(ref, 1) == 1  # control passes those who wait
    await Pool.control(ref).send(Resize(1))
    gate.opened.set()
    await asyncio.gather(*sending)
    await settle(system)
    assert log[2:] == ["0", "1", "2"]


# --- crashes ----------------------------------------------------------------------------


async def test_a_crash_fails_its_job_once_and_the_queue_goes_on(system: ActorSystem) -> None:
    log: list[Any] = []
    ref = await start(system, lambda: Recorder(log), size=1)
    (gate,) = await hold(ref, 1)
    ref.cast(Crash(ValueError("cast")))
    failing = ref.call(Do(boom))
    ref.cast(Note("after"))
    gate.opened.set()
    with pytest.raises(CalleeFailed):
        await failing
    await advance(system, 1.0)
    assert log[-1] == "after"
    assert [letter.reason for letter in system.dead_letters] == [DeadLetterReason.FAILED]
    assert workers(system) == {"pool/0": 3}


async def boom(ctx: Ctx) -> None:
    raise ValueError("call")


async def test_while_a_worker_waits_to_be_restarted_the_others_take_the_jobs(
    system: ActorSystem,
) -> None:
    slow = Backoff(base=60.0, cap=60.0)
    ref = await start(system, size=2, backoff=slow)
    victim = system.lookup("pool/0")
    assert victim is not None
    for _ in range(2):
        victim.kill()
        await settle(system)
    assert [await ref.call(Do(whoami)) for _ in range(3)] == ["pool/1"] * 3


async def test_a_job_whose_worker_was_woken_and_killed_goes_to_another(
    plain_system: ActorSystem,
) -> None:
    """Killed before it could take the job that it was woken for."""
    system = plain_system
    slow = Backoff(base=60.0, cap=60.0)
    ref = await start(system, size=2, backoff=slow)
    assert await ref.call(Do(whoami)) == "pool/0"
    sleepers = [system.lookup("pool/0"), system.lookup("pool/1")]
    assert sleepers[1] is not None
    sleepers[1].kill()
    await settle(system)
    await ref.call(Do(whoami))
    answer = ref.call(Do(whoami))  # wakes pool/1, which has waited longer
    sleepers[1].kill()
    assert await answer == "pool/0"
    assert workers(system)["pool/1"] == 3


async def test_too_many_crashes_end_the_pool_and_its_queue_stays(system: ActorSystem) -> None:
    log: list[Any] = []
    ref = await start(system, lambda: Recorder(log), size=1, intensity=1)
    (gate,) = await hold(ref, 1)
    for n in range(2):
        ref.cast(Crash(ValueError(n)))
    ref.cast(Note("after"))
    gate.opened.set()
    await advance(system, 1.0)
    assert ref.generation == 2
    assert log[-1] == "after"


async def test_killing_the_pool_fails_the_jobs_in_hand_and_keeps_those_that_wait(
    system: ActorSystem,
) -> None:
    ref = await start(system)
    in_hand = [ref.call(Do(Gate().hold)) for _ in range(2)]
    waiting = ref.call(Ask("still there"))
    await until(lambda: all(a.current == "Do" for a in system.actors() if a.parent == "pool"))
    assert not waiting.done()
    ref.kill()
    assert await waiting == "still there"
    for call in in_hand:
        with pytest.raises(CalleeFailed):
            await call
    assert ref.generation == 2


async def test_a_drained_pool_handles_all_that_waits_and_refuses_more(
    system: ActorSystem,
) -> None:
    log: list[Any] = []
    ref = await system.spawn(Pool(lambda: Recorder(log), 2), "pool")
    held = await hold(ref, 2)
    for n in range(5):
        ref.cast(Note(str(n)))
    ref.drain()
    await asyncio.sleep(0)
    ref.cast(Note("late"))
    for gate in held:
        gate.opened.set()
    await ref.wait()
    assert sorted(text for text in log if len(text) == 1) == list("01234")
    assert [letter.message for letter in system.dead_letters] == [Note("late")]


async def test_a_stopped_pool_finishes_the_jobs_in_hand_only(system: ActorSystem) -> None:
    ref = await system.spawn(Pool(Recorder, 2), "pool")
    held = await hold(ref, 1)
    in_hand = ref.call(Do(held[0].hold))
    await until(lambda: sum(a.current == "Do" for a in system.actors()) == 2)
    ref.cast(Note("waits"))
    waiting = ref.call(Ask("waits too"))
    ref.stop()
    await asyncio.sleep(0)
    held[0].opened.set()
    assert await in_hand is None
    with pytest.raises(ActorStopped):
        await waiting
    await ref.wait()
    assert [letter.reason for letter in system.dead_letters] == [DeadLetterReason.STOPPED]


# --- resizing ---------------------------------------------------------------------------


async def test_a_grown_pool_has_more_hands_for_what_waits(system: ActorSystem) -> None:
    ref = await start(system, size=1)
    held = await hold(ref, 1)
    waiting = ref.call(Ask("waits"))
    assert await resize(ref, 3) == 1
    assert await waiting == "waits"
    assert len(workers(system)) == (await info(ref)).size == 3
    held[0].opened.set()


@pytest.mark.parametrize("routing", Routing)
async def test_a_shrunk_pool_loses_nothing(system: ActorSystem, routing: Routing) -> None:
    """The surplus finish what they have in hand; what waited for them goes to the others."""
    key = (lambda msg: getattr(msg, "text", "")) if routing is Routing.BY_KEY else None
    ref = await start(system, size=4, routing=routing, key=key)
    gates = [Gate() for _ in range(4)]
    in_hand = [ref.call(gate.do) for gate in gates]
    if routing is not Routing.BY_KEY:
        await asyncio.gather(*(gate.reached.wait() for gate in gates))
    waiting = [ref.call(Ask(str(n))) for n in range(20)]
    assert await resize(ref, 1) == 4
    now = await info(ref)
    assert (now.size, now.draining) == (1, 3 if routing is not Routing.BY_KEY else now.draining)
    for gate in gates:
        gate.opened.set()
    assert await asyncio.gather(*waiting) == [str(n) for n in range(20)]
    assert await asyncio.gather(*in_hand) == [None] * 4
    await settle(system)
    assert len(workers(system)) == 1
    assert (await info(ref)).draining == 0


async def test_a_surplus_worker_that_crashes_at_its_last_job_is_not_restarted(
    system: ActorSystem,
) -> None:
    ref = await start(system, size=2)
    gates = [Gate(), Gate()]

    async def hold_and_fail(ctx: Ctx) -> None:
        await gates[1].hold()
        raise ValueError("last")

    ref.cast(gates[0].do)
    failing = ref.call(Do(hold_and_fail))
    await gates[1].reached.wait()
    await resize(ref, 1)
    gates[1].opened.set()
    with pytest.raises(CalleeFailed):
        await failing
    gates[0].opened.set()
    await settle(system)
    assert workers(system) == {"pool/0": 1}


async def test_growing_stops_at_a_worker_that_cannot_start(system: ActorSystem) -> None:
    made = 0

    class Third(Recorder):
        async def pre_start(self, ctx: Ctx) -> None:
            nonlocal made
            made += 1
            if made == 4:
                raise ValueError("no more")

    ref = await start(system, Third, size=2)
    with pytest.raises(SpawnFailed):
        await resize(ref, 5)
    assert (await info(ref)).size == 3
    assert await resize(ref, 4) == 3


async def test_a_pool_grows_while_its_surplus_still_drains(system: ActorSystem) -> None:
    ref = await start(system, size=2)
    held = await hold(ref, 2)
    await resize(ref, 1)
    await resize(ref, 2)
    assert (await info(ref)).draining == 1
    assert await ref.call(Do(whoami)) == "pool/2"
    for gate in held:
        gate.opened.set()


# --- conservation -----------------------------------------------------------------------

sends = st.tuples(
    st.sampled_from(["cast", "cast", "try_cast", "send", "call", "call_and_cancel"]),
    st.just(0),
    st.booleans() | st.just(False),
    st.integers(0, 3),
)
others = st.tuples(st.sampled_from(["resize", "kill", "stop"]), st.integers(1, 4)) | st.tuples(
    st.sampled_from(["yield", "advance", "kill_pool", "stop_pool", "drain_pool"]),
    st.integers(1, 5),
)
steps = st.lists(sends | sends | sends | others, max_size=60)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=steps,
    seed=st.integers(0, 1000),
    routing=st.sampled_from(Routing),
    overflow=st.sampled_from(Overflow),
    capacity=st.integers(1, 4),
)
def test_every_job_is_handled_or_accounted_for_once(
    steps: list[Any], seed: int, routing: Routing, overflow: Overflow, capacity: int
) -> None:
    """Under kills of workers and pool, and resizes."""
    asyncio.run(scene(steps, seed, routing, overflow, capacity))


async def scene(
    steps: list[Any], seed: int, routing: Routing, overflow: Overflow, capacity: int
) -> None:
    books = Books()
    key = (lambda msg: msg.number % 5) if routing is Routing.BY_KEY else None
    async with manual_system(seed=seed, dice=Random(seed)) as system:
        ref = await start(
            system,
            lambda: Sink(books.handled),
            capacity=capacity,
            overflow=overflow,
            routing=routing,
            key=key,
            intensity=20,
            backoff=Backoff(base=0.5),
        )
        for step in steps:
            await take(step, books, ref, system)
        await settle_all(system)
        assert ref._box.held == 0
    letters = [letter.message for letter in system.dead_letters]
    buried = Counter(message.number for message in letters if isinstance(message, Item))
    books.check(buried)


async def let_pass(clock: Any, seconds: float) -> None:
    """Move the clock in the middle of things."""
    assert isinstance(clock, ManualClock)
    end = clock.now() + seconds
    while clock.fire_next(end):
        await asyncio.sleep(0)
    clock.set(end)


async def settle_all(system: ActorSystem) -> None:
    """Let every backoff pass: nothing may be left waiting for nobody."""
    await advance(system, 200.0)


async def take(
    step: tuple[Any, ...], books: Books, ref: ActorRef[Any], system: ActorSystem
) -> None:
    match step:
        case ("resize", size):
            Pool.control(ref).cast(Resize(size))
        case ("kill" | "stop" as how, which):
            paths = list(workers(system))
            worker = system.lookup(paths[which % len(paths)]) if paths else None
            if worker is not None:
                getattr(worker, how)()
        case ("kill_pool" | "stop_pool" | "drain_pool" as how, _):
            getattr(ref, how.removesuffix("_pool"))()
        case ("yield", times):
            for _ in range(times):
                await asyncio.sleep(0)
        case ("advance", times):
            await let_pass(system.clock, times / 5)
        case (kind, _, crash, pauses):
            number = books.sent
            books.sent += 1
            post(kind, ref, Item(number, crash, pauses), books)
