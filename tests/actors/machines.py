"""Random lives of actors, checked against what is promised; used by the tests and the proofs.

``Lives`` mixes everything that can happen to actors and keeps books on every message,
handler, monitor and group. ``Families`` compares supervisors with a model of them.
Both count how often each rule ran and which changes of status were seen.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from antiphon.actors import (
    Actor,
    ActorContext,
    ActorRef,
    ActorSystem,
    Backoff,
    Child,
    Down,
    Failed,
    Key,
    Killed,
    MonitorRef,
    Notice,
    Overflow,
    Reason,
    Request,
    Restart,
    Stopped,
    Strategy,
    Supervisor,
)
from antiphon.errors import ActorError, MailboxFull
from antiphon.testing import advance, manual_system, settle

AT_ONCE = Backoff(base=0.0, cap=0.0)


@dataclass(frozen=True, slots=True)
class Item(Request[int]):
    """A numbered message; *how* says what its handler does."""

    number: int
    how: str


@dataclass(frozen=True, slots=True)
class Act(Request[None]):
    """Something for the actor to do by its own context."""

    what: str
    to: Any = None


class Books:
    """What was sent, and what became of it."""

    def __init__(self) -> None:
        self.sent = 0
        self.handled: Counter[int] = Counter()
        self.failed_in_hand: Counter[int] = Counter()
        self.refused: Counter[int] = Counter()
        self.waiting: list[tuple[int, asyncio.Future[Any]]] = []
        self.in_handler: dict[str, int] = {}
        self.most_at_once = 0
        self.post_stops: Counter[tuple[str, int, int]] = Counter()
        self.downs: Counter[MonitorRef] = Counter()
        self.late: list[str] = []


class Player(Actor[Item | Act]):
    """Handles items as they say, and keeps the books."""

    def __init__(self, path: str, books: Books) -> None:
        self.path = path
        self.books = books

    async def handle(self, msg: Item | Act, ctx: ActorContext[Item | Act]) -> None:
        books = self.books
        books.in_handler[self.path] = books.in_handler.get(self.path, 0) + 1
        books.most_at_once = max(books.most_at_once, books.in_handler[self.path])
        try:
            if isinstance(msg, Act):
                self.act(msg, ctx)
            else:
                await self.item(msg, ctx)
        finally:
            books.in_handler[self.path] -= 1

    async def item(self, msg: Item, ctx: ActorContext[Any]) -> None:
        match msg.how:
            case "crash":
                raise ValueError(f"crash {msg.number}")
            case "slow":
                for _ in range(3):
                    await asyncio.sleep(0)
            case "stop":
                ctx.stop()
        self.books.handled[msg.number] += 1
        ctx.reply(msg, msg.number)

    def act(self, msg: Act, ctx: ActorContext[Any]) -> None:
        match msg.what:
            case "join":
                if ctx._life.takes_children:
                    ctx.join("machine", msg.to)
            case "leave":
                ctx.leave("machine", msg.to)
            case "monitor":
                ctx.monitor(msg.to)
            case "link":
                ctx.link(msg.to)
            case "trap":
                ctx.trap_exits()
            case "timer":
                ctx.send_after(0.5, Act("nothing"))
            case "interval":
                ctx.send_interval(0.3, Act("nothing"))
        ctx.reply(msg, None)

    async def handle_notice(self, notice: Notice, ctx: ActorContext[Any]) -> None:
        if isinstance(notice, Down):
            self.books.downs[notice.monitor] += 1

    async def post_stop(self, reason: Reason, ctx: ActorContext[Any]) -> None:
        self.books.post_stops[(self.path, id(ctx), ctx.generation)] += 1


class Changes:
    """An observer that counts what it is told."""

    def __init__(self, counts: Counter[str]) -> None:
        self.counts = counts

    def __getattr__(self, what: str) -> Any:
        return lambda *_: self.counts.update([what])


class Machine(RuleBasedStateMachine):
    """A system with a manual clock, in a loop of its own."""

    ran: ClassVar[Counter[str]]
    changes: ClassVar[Counter[str]]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.system: ActorSystem = self.run(
            self.stack.enter_async_context(manual_system(observer=Changes(type(self).changes)))
        )

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def note(self, name: str) -> None:
        type(self).ran[name] += 1

    def teardown(self) -> None:
        try:
            self.run(self.close())
        finally:
            self.runner.close()

    async def close(self) -> None:
        await settle(self.system)
        await self.stack.aclose()  # fails if a task, a name, a group or a timer is left


ACTORS = st.integers(0, 3)
KINDS = (Restart.PERMANENT, Restart.TRANSIENT, Restart.TEMPORARY)


class Lives(Machine):
    """Four slots: three supervised actors, one of each restart type, and one spawned."""

    ran: ClassVar[Counter[str]] = Counter()
    changes: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.books = Books()
        self.spawned = 0
        self.run(self.begin())

    async def begin(self) -> None:
        keys = [Key[Any](f"kept-{kind.value}") for kind in KINDS]
        children = [
            Child(
                key,
                lambda key=key: Player(key.name, self.books),  # type: ignore[misc]
                restart=kind,
                backoff=AT_ONCE,
                capacity=4,
                overflow=overflow,
            )
            for key, kind, overflow in zip(keys, KINDS, Overflow, strict=True)
        ]
        spec = Supervisor(children, intensity=10_000)
        kept = Child(Key[Any]("sup"), spec, backoff=AT_ONCE)
        await self.system.supervise(Supervisor([kept], intensity=10_000))
        self.refs: list[ActorRef[Any]] = [self.system.ref(key) for key in keys]
        await self.spawn()

    async def spawn(self) -> None:
        self.spawned += 1
        path = f"spawned-{self.spawned}"
        ref = await self.system.spawn(lambda: Player(path, self.books), path, capacity=4)
        self.refs[3:] = [ref]

    async def post(self, way: str, at: int, how: str) -> None:
        ref, number = self.refs[at], self.books.sent
        self.books.sent += 1
        item = Item(number, how)
        match way:
            case "cast":
                try:
                    ref.cast(item)
                except MailboxFull:
                    self.books.refused[number] += 1
            case "try_cast":
                if not ref.try_cast(item):
                    self.books.refused[number] += 1
            case "send":
                self.books.waiting.append((number, asyncio.ensure_future(ref.send(item))))
            case "call":
                self.books.waiting.append((number, ref.call(item)))
            case "forget":
                calling = ref.call(item)
                calling.cancel()
                self.books.waiting.append((number, calling))
        await asyncio.sleep(0)

    # --- rules: messages

    @rule(ats=st.lists(ACTORS, min_size=5, max_size=5))
    def say(self, ats: list[int]) -> None:
        """One message by each way."""
        self.note("say")
        for way, at in zip(("cast", "try_cast", "send", "call", "forget"), ats, strict=True):
            self.run(self.post(way, at, "ok"))

    @rule(at=ACTORS, how=st.sampled_from(["slow", "stop"]))
    def order(self, at: int, how: str) -> None:
        self.note(f"handle: {how}")
        self.run(self.post("cast", at, how))

    @rule(at=ACTORS, way=st.sampled_from(["cast", "call"]))
    def crash(self, at: int, way: str) -> None:
        self.note("crash")
        self.run(self.post(way, at, "crash"))

    @rule(at=ACTORS, count=st.integers(3, 8))
    def flood(self, at: int, count: int) -> None:
        self.note("flood")

        async def post() -> None:
            for _ in range(count):
                self.books.sent += 1
                item = Item(self.books.sent - 1, "ok")
                try:
                    self.refs[at].cast(item)
                except MailboxFull:
                    self.books.refused[item.number] += 1

        self.run(post())

    # --- rules: life

    @rule(at=ACTORS)
    def stop(self, at: int) -> None:
        self.end("stop", at)

    @rule(at=ACTORS)
    def kill(self, at: int) -> None:
        self.end("kill", at)

    @rule(at=ACTORS)
    def drain(self, at: int) -> None:
        self.end("drain", at)

    def end(self, how: str, at: int) -> None:
        self.note(how)

        async def act() -> None:
            getattr(self.refs[at], how)()
            await asyncio.sleep(0)

        self.run(act())

    @rule()
    def replace(self) -> None:
        self.note("spawn")
        self.run(self.spawn())

    @rule()
    def restart_supervisor(self) -> None:
        self.note("stop the supervisor")

        async def act() -> None:
            self.system.ref(Key[Any]("sup")).stop()
            await asyncio.sleep(0)

        self.run(act())

    # --- rules: relations

    @rule(at=ACTORS, to=ACTORS)
    def monitor(self, at: int, to: int) -> None:
        self.tell(at, Act("monitor", self.refs[to]))

    @rule(at=ACTORS, to=ACTORS)
    def link(self, at: int, to: int) -> None:
        self.tell(at, Act("link", self.refs[to]))

    @rule(at=ACTORS, group=st.sampled_from("xy"))
    def join(self, at: int, group: str) -> None:
        self.tell(at, Act("join", group))

    @rule(at=ACTORS, group=st.sampled_from("xy"))
    def leave(self, at: int, group: str) -> None:
        self.tell(at, Act("leave", group))

    @rule(at=ACTORS)
    def timer(self, at: int) -> None:
        self.tell(at, Act("timer"))

    @rule(at=ACTORS)
    def interval(self, at: int) -> None:
        self.tell(at, Act("interval"))

    @rule(at=ACTORS)
    def trap(self, at: int) -> None:
        self.tell(at, Act("trap"))

    def tell(self, at: int, act: Act) -> None:
        self.note(act.what)

        async def ask() -> None:
            asked = self.refs[at].call(act)
            asked.add_done_callback(lambda f: f.cancelled() or f.exception())
            await asyncio.sleep(0)

        self.run(ask())

    # --- rules: time

    @rule(turns=st.integers(1, 6))
    def turn(self, turns: int) -> None:
        self.note("turn the loop")

        async def act() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        self.run(act())

    @rule(seconds=st.sampled_from([0.1, 0.5, 6.0]))
    def wait(self, seconds: float) -> None:
        self.note("wait")
        self.run(advance(self.system, seconds))

    # --- what must hold

    @invariant()
    def one_handler_at_a_time(self) -> None:
        assert self.books.most_at_once <= 1

    @invariant()
    def at_most_one_post_stop(self) -> None:
        assert max(self.books.post_stops.values(), default=0) <= 1

    @invariant()
    def at_most_one_down_for_each_monitor(self) -> None:
        assert max(self.books.downs.values(), default=0) <= 1

    async def close(self) -> None:
        await advance(self.system, 10.0)  # every call has been answered or has timed out
        await super().close()
        buried = Counter(
            letter.message.number
            for letter in self.system.dead_letters
            if isinstance(letter.message, Item)
        )
        told: Counter[int] = Counter()
        for number, waiting in self.books.waiting:
            assert waiting.done(), f"message {number} waits for ever"
            if waiting.cancelled():
                continue
            error = waiting.exception()
            assert error is None or isinstance(error, ActorError), error
            told[number] += error is not None
        for number in range(self.books.sent):
            fates = (self.books.handled, buried, self.books.refused, told)
            count = sum(fate[number] for fate in fates)
            assert count >= 1 or number in self._forgotten(), f"message {number} is lost"
            assert self.books.handled[number] <= 1, f"message {number} was handled twice"
            if self.books.handled[number]:
                assert not buried[number], f"message {number} was handled and buried"
        assert len(self.system.dead_letters) >= buried.total()

    def _forgotten(self) -> set[int]:
        return {number for number, waiting in self.books.waiting if waiting.cancelled()}


class Model:
    """What a supervisor should do; backoff aside, everything happens at once.

    A child is its generation, or None when its ref has ended.
    """

    def __init__(self, strategy: Strategy, restarts: list[Restart], most: int, period: float):
        self.strategy = strategy
        self.restarts = restarts
        self.most = most
        self.period = period
        self.children: list[int | None] = [1] * len(restarts)
        self.times: deque[float] = deque()
        self.tripped = False

    def ended(self, at: int, reason: type, now: float) -> None:
        """Child *at* ended by *reason*."""
        wanted = {
            Restart.PERMANENT: True,
            Restart.TRANSIENT: reason is not Stopped,
            Restart.TEMPORARY: False,
        }
        if not wanted[self.restarts[at]]:
            self.children[at] = None
            return
        while self.times and self.times[0] <= now - self.period:
            self.times.popleft()
        self.times.append(now)
        if len(self.times) > self.most:
            self.tripped = True
            return
        alive = [n for n, child in enumerate(self.children) if child is not None]
        for n in self.strategy.group(alive, at):
            if self.restarts[n] is Restart.TEMPORARY:
                self.children[n] = None
            else:
                self.children[n] = (self.children[n] or 0) + 1


FAMILIES = st.tuples(
    st.sampled_from(Strategy),
    st.lists(st.sampled_from(Restart), min_size=2, max_size=4),
    st.integers(0, 6),
    st.sampled_from([1.0, 5.0]),
)


class Families(Machine):
    """One supervisor after another, each compared with its model after each event."""

    ran: ClassVar[Counter[str]] = Counter()
    changes: ClassVar[Counter[str]] = Counter()

    @initialize(family=FAMILIES)
    def begin(self, family: tuple[Strategy, list[Restart], int, float]) -> None:
        strategy, restarts, most, period = family
        self.number = getattr(self, "number", 0) + 1
        self.note(f"begin {strategy.value}")
        self.model = Model(strategy, restarts, most, period)
        self.books = Books()
        keys = [Key[Any](f"child-{self.number}.{n}") for n in range(len(restarts))]
        children = [
            Child(
                key,
                lambda key=key: Player(key.name, self.books),  # type: ignore[misc]
                restart=restart,
                backoff=AT_ONCE,
            )
            for key, restart in zip(keys, restarts, strict=True)
        ]
        spec = Supervisor(children, strategy=strategy, intensity=most, period=period)
        self.top = self.system.ref(Key[Any](f"sup-{self.number}"))
        top = Child(Key[Any](self.top.path), spec, restart=Restart.TEMPORARY)
        self.run(self.system.supervise(Supervisor([top])))
        self.refs = [self.system.ref(key) for key in keys]
        self.base = [ref.generation for ref in self.refs]

    @rule(
        at=st.integers(0, 3),
        how=st.sampled_from(["crash", "stop", "kill", "drain"]),
        family=FAMILIES,
    )
    def end(self, at: int, how: str, family: tuple[Strategy, list[Restart], int, float]) -> None:
        alive = [n for n, child in enumerate(self.model.children) if child is not None]
        if self.model.tripped or not alive:
            self.begin(family)
            return
        at = alive[at % len(alive)]
        self.note(how)
        self.run(self.do(at, how))
        reasons = {"crash": Failed, "stop": Stopped, "kill": Killed, "drain": Stopped}
        self.model.ended(at, reasons[how], self.system.clock.now())
        if self.model.tripped:
            self.note("trip")
        self.compare()

    async def do(self, at: int, how: str) -> None:
        ref = self.refs[at]
        if how == "crash":
            ref.cast(Item(0, "crash"))
        else:
            getattr(ref, how)()
        await settle(self.system)

    @rule(seconds=st.sampled_from([0.3, 1.0, 3.0]))
    def wait(self, seconds: float) -> None:
        self.note("wait")
        self.run(advance(self.system, seconds))
        self.compare()

    def compare(self) -> None:
        if self.model.tripped:
            assert not any(ref.is_alive for ref in self.refs)
            assert not self.top.is_alive
            return
        for ref, base, expected in zip(self.refs, self.base, self.model.children, strict=True):
            assert ref.is_alive is (expected is not None), (ref, expected)
            if expected is not None:
                assert ref.generation == base + expected - 1, (ref, expected)


def explore(machine: type[Machine], examples: int, *, same: bool = False) -> None:
    """Run *examples* random lives, the *same* ones each time or others; count anew."""
    machine.ran.clear()
    machine.changes.clear()
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            derandomize=same,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def shares(counts: Counter[str]) -> dict[str, float]:
    """Percent of all, by name."""
    return {name: round(100 * n / counts.total(), 2) for name, n in sorted(counts.items())}
