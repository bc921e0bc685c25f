"""``antiphon bench actors``: messages between actors, beside plain Python and other libraries.

One process and one loop, the one that ``serve`` uses. The machine is never quiet, so
what is compared alternates in short rounds: each figure is the median of the rounds, each
ratio the median of the ratios within a round. The receiver is a supervised actor with
a protocol and a mailbox of the default size; every burst is acknowledged, so that
nothing is dropped. What it is compared with is in ``bench_peers.py``.
"""

from __future__ import annotations

import asyncio
import gc
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import psutil

from antiphon.actors import (
    Actor,
    ActorContext,
    ActorRef,
    ActorSystem,
    Child,
    Key,
    Request,
    Supervisor,
)
from antiphon.cli.bench_peers import (
    BURST,
    JOB,
    Contender,
    Job,
    Opener,
    Tally,
    asyncio_queue,
    installed_peers,
    plain,
    plain_calls,
)

FANOUT = 100
PERIOD_S = 0.005
"""Of the timer that another actor's work must not hold up."""
ASKED_AT_ONCE = 200
"""Calls, or actors, between two looks at the clock."""

T = TypeVar("T")
Loop = Literal["uvloop", "asyncio"]
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        seconds: Of one figure in one round.
        idle: Actors alive at once, for their memory.
    """

    rounds: int
    seconds: float
    idle: int


FULL = Plan(45, 0.12, 100_000)
QUICK = Plan(5, 0.1, 10_000)


@dataclass(frozen=True, slots=True)
class Ask(Request[int]):
    """A question; its answer is its number."""

    number: int


class Receiver(Actor[Job]):
    """Counts."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally

    async def handle(self, msg: Job, ctx: ActorContext[Job]) -> None:
        self.tally.count += 1


class Answerer(Actor[Ask]):
    """Answers."""

    async def handle(self, msg: Ask, ctx: ActorContext[Ask]) -> None:
        ctx.reply(msg, msg.number)


class Idle(Actor[Job]):
    """Waits."""


class Antiphon:
    """The contender that this is about."""

    def __init__(self, receiver: ActorRef[Job], answerer: ActorRef[Ask], tally: Tally) -> None:
        self.receiver = receiver
        self.answerer = answerer
        self.tally = tally

    async def casts(self) -> None:
        cast, job = self.receiver.cast, JOB
        target = self.tally.count + BURST
        for _ in range(BURST):
            cast(job)
        await self.tally.reach(target)

    async def calls(self, count: int) -> None:
        call, ask = self.answerer.call, Ask(1)
        for _ in range(count):
            await call(ask)


@asynccontextmanager
async def antiphon() -> AsyncIterator[Antiphon]:
    """Open a system with a supervised actor for casts and one for calls.

    Raises:
        RuntimeError: At the end: messages became dead letters.
    """
    tally = Tally()
    async with ActorSystem("bench") as system:
        receiver, answerer = Key[Job]("bench/receiver"), Key[Ask]("bench/answerer")
        children: list[Child[Any]] = [
            Child(receiver, lambda: Receiver(tally)),
            Child(answerer, Answerer),
        ]
        await system.supervise(Supervisor(children), name="bench")
        yield Antiphon(system.ref(receiver), system.ref(answerer), tally)
        _nothing_lost(system)


def _nothing_lost(system: ActorSystem) -> None:
    if len(system.dead_letters):
        raise RuntimeError(f"{len(system.dead_letters)} messages became dead letters")


async def _rate(work: Callable[[], Awaitable[None]], each: int, seconds: float) -> float:
    """Repeat *work*, which does *each* things, for *seconds*; things per second."""
    done = 0
    started = now = time.perf_counter()
    while now - started < seconds:
        await work()
        done += each
        now = time.perf_counter()
    return done / (now - started)


async def _casts(contender: Contender, seconds: float) -> float:
    return await _rate(contender.casts, BURST, seconds)


async def _calls(contender: Contender, seconds: float) -> float:
    return await _rate(lambda: contender.calls(ASKED_AT_ONCE), ASKED_AT_ONCE, seconds)


Measure = Callable[[], Coroutine[Any, Any, float]]


async def _in_turns(rounds: int, measures: dict[str, Measure]) -> dict[str, list[float]]:
    """Take every measure once in each round, after one round that doesn't count."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds + 1):
        for name, measure in measures.items():
            value = await measure()
            if number:
                found[name].append(value)
    return found


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


async def _against_plain(plan: Plan) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(antiphon())
        queue = await stack.enter_async_context(asyncio_queue())
        limit = await stack.enter_async_context(plain())
        limit_of_calls = await stack.enter_async_context(plain_calls())
        found = await _in_turns(
            plan.rounds,
            {
                "casts": lambda: _casts(ours, plan.seconds),
                "queue": lambda: _casts(queue, plan.seconds),
                "plain_casts": lambda: _casts(limit, plan.seconds),
                "calls": lambda: _calls(ours, plan.seconds),
                "plain_calls": lambda: _calls(limit_of_calls, plan.seconds),
            },
        )
    return {
        "casts_per_s": _median(found["casts"]),
        "calls_per_s": _median(found["calls"]),
        "asyncio_queue_per_s": _median(found["queue"]),
        "plain_casts_per_s": _median(found["plain_casts"]),
        "plain_calls_per_s": _median(found["plain_calls"]),
        "ratio_casts_to_asyncio_queue": round(_ratio(found["casts"], found["queue"]), 3),
        "ratio_calls_to_plain": round(_ratio(found["calls"], found["plain_calls"]), 3),
    }


def _median(values: list[float]) -> int:
    return round(statistics.median(values))


async def _against_peer(plan: Plan, opener: Opener) -> tuple[dict[str, int], float]:
    """A peer's figures, and how many casts there are for one of its."""
    async with antiphon() as ours, opener() as peer:
        found = await _in_turns(
            plan.rounds,
            {
                "ours": lambda: _casts(ours, plan.seconds),
                "casts": lambda: _casts(peer, plan.seconds),
                "calls": lambda: _calls(peer, plan.seconds),
            },
        )
    figures = {"casts_per_s": _median(found["casts"]), "calls_per_s": _median(found["calls"])}
    return figures, _ratio(found["ours"], found["casts"])


async def _spawns(plan: Plan) -> int:
    """Actors started and stopped again, one after the other, each waited for: per second."""
    async with ActorSystem("bench") as system:

        async def some() -> None:
            for _ in range(ASKED_AT_ONCE):
                ref = await system.spawn(Idle)
                ref.stop()
                await ref.wait()

        found = await _in_turns(
            plan.rounds, {"spawns": lambda: _rate(some, ASKED_AT_ONCE, plan.seconds)}
        )
    return _median(found["spawns"])


async def _fanout(plan: Plan) -> int:
    """Each message cast to 100 actors: deliveries per second."""
    tally = Tally()
    async with ActorSystem("bench") as system:
        refs = [await system.spawn(lambda: Receiver(tally)) for _ in range(FANOUT)]

        async def burst() -> None:
            target = tally.count + BURST
            for _ in range(BURST // FANOUT):
                for ref in refs:
                    ref.cast(JOB)
            await tally.reach(target)

        found = await _in_turns(
            plan.rounds, {"deliveries": lambda: _rate(burst, BURST, plan.seconds)}
        )
        _nothing_lost(system)
    return _median(found["deliveries"])


class Busy(Actor[Job]):
    """Its mailbox is never empty while the other works."""

    def __init__(self, other: Punctual) -> None:
        self.other = other

    async def post_start(self, ctx: ActorContext[Job]) -> None:
        ctx.myself.cast(JOB)

    async def handle(self, msg: Job, ctx: ActorContext[Job]) -> None:
        if self.other.works:
            ctx.myself.cast(msg)


class Punctual(Actor[Job]):
    """Sets a timer again and again; notes by how many seconds the latest tick came late."""

    def __init__(self) -> None:
        self.due = 0.0
        self.latest = 0.0
        self.works = True

    async def post_start(self, ctx: ActorContext[Job]) -> None:
        self._set(ctx)

    async def handle(self, msg: Job, ctx: ActorContext[Job]) -> None:
        self.latest = max(self.latest, time.monotonic() - self.due)
        self._set(ctx)

    def _set(self, ctx: ActorContext[Job]) -> None:
        self.due = time.monotonic() + PERIOD_S
        ctx.send_after(PERIOD_S, JOB)


async def _timer_late_ms(plan: Plan) -> float:
    """The latest tick beside a busy actor: the median of the rounds' maxima."""

    async def late() -> float:
        punctual = Punctual()
        async with ActorSystem("bench") as system:
            await system.spawn(lambda: punctual)
            await system.spawn(lambda: Busy(punctual))
            await asyncio.sleep(4 * plan.seconds)
            punctual.works = False
        return punctual.latest * 1000

    found = await _in_turns(max(1, plan.rounds // 4), {"late": late})
    return round(statistics.median(found["late"]), 2)


async def _grown_by(count: int) -> int:
    """Bytes by which the process grew for *count* idle actors."""
    process = psutil.Process()
    async with ActorSystem("bench") as system:
        await system.spawn(Idle)
        gc.collect()
        before: int = process.memory_info().rss
        refs = [await system.spawn(Idle) for _ in range(count)]
        gc.collect()
        after: int = process.memory_info().rss
        for ref in refs:
            ref.stop()
            await ref.wait()
    return after - before


def _measure_memory(plan: Plan, loop: Loop) -> int:
    """Bytes of one idle actor, in a process of their own: this module as a program."""
    command = [sys.executable, "-m", "antiphon.cli.bench_actors", str(plan.idle), loop]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return round(int(done.stdout) / plan.idle)


async def _all(plan: Plan, loop: Loop, progress: Progress) -> dict[str, Any]:
    progress("casts and calls, beside asyncio.Queue and plain Python")
    figures = await _against_plain(plan)
    progress("actors started and stopped")
    figures["spawns_per_s"] = await _spawns(plan)
    progress(f"casts to {FANOUT} actors")
    figures["fanout_deliveries_per_s"] = await _fanout(plan)
    progress("a timer beside a busy actor")
    figures["timer_late_ms"] = await _timer_late_ms(plan)
    progress(f"memory of {plan.idle:,} idle actors")
    figures["bytes_per_idle_actor"] = await asyncio.to_thread(_measure_memory, plan, loop)
    peers, ratios = {}, []
    for name, opener in installed_peers().items():
        progress(f"casts and calls of {name}")
        peers[name], ratio = await _against_peer(plan, opener)
        ratios.append(ratio)
    figures["peers"] = peers
    figures["ratio_casts_to_fastest_peer"] = round(min(ratios), 2) if ratios else None
    return figures


def _run(work: Coroutine[Any, Any, T], loop: Loop) -> T:
    if loop == "asyncio":
        return asyncio.run(work)
    import uvloop

    return uvloop.run(work)


def bench_actors(
    *, quick: bool, progress: Progress, asyncio_loop: bool = False, plan: Plan | None = None
) -> dict[str, Any]:
    """Run the whole bench and return its figures.

    Args:
        quick: A tenth of the workload.
        asyncio_loop: Run on asyncio's own loop, whichever ``serve`` uses.
        plan: Overrides how much is measured.
    """
    loop: Loop = "asyncio" if asyncio_loop or sys.platform == "win32" else "uvloop"
    figures = _run(_all(plan or (QUICK if quick else FULL), loop, progress), loop)
    return {"quick": quick, **figures, "python": platform.python_version(), "loop": loop}


if __name__ == "__main__":
    print(_run(_grown_by(int(sys.argv[1])), "asyncio" if sys.argv[2] == "asyncio" else "uvloop"))
