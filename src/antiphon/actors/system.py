"""A system of actors: the tree, the registry and what all its actors share.

Nothing is global: two systems in one process know nothing of each other.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from random import Random
from typing import Any, NoReturn, Self, TypeVar
from weakref import WeakValueDictionary

from antiphon.actors.actor import Actor
from antiphon.actors.calls import Call
from antiphon.actors.cell import Cell, Keeper
from antiphon.actors.clock import Clock, RealClock
from antiphon.actors.deadletters import DeadLetter, DeadLetterReason, DeadLetters
from antiphon.actors.deadlines import Deadlines
from antiphon.actors.groups import Groups
from antiphon.actors.life import Life
from antiphon.actors.mailbox import DEFAULT_CAPACITY, Mailbox, Overflow
from antiphon.actors.observer import Observer
from antiphon.actors.offload import THREADS, Offload
from antiphon.actors.reasons import Reason
from antiphon.actors.ref import ActorRef, Key
from antiphon.actors.supervision import Restart
from antiphon.actors.supervisor import Child, Supervisor, SupervisorActor, SupervisorMessage
from antiphon.actors.watchdog import Watchdog
from antiphon.errors import ActorDead, NameTaken, SystemClosed, WrongLoop
from antiphon.messages import ActorInfo

logger = logging.getLogger(__name__)

M = TypeVar("M")


class ActorSystem:
    """The root of a tree of actors, an async context manager that leaves nothing behind.

    Args:
        clock: Given in tests; else the loop's.
        debug: Every sending checks that it is on the right loop (WrongLoop).
        observer: Told of every change, synchronously.
        seed: Makes the jitter of backoffs repeatable.
        kill_grace: Seconds that a killed actor may outlive its cancelling.
        threads: Most threads of ``ctx.offload``.
        watchdog: Seconds that the loop may be blocked before a warning says by whom; None
            for no watchdog.
        dice: Makes actors give way at random places, to try other orders in tests.

    Attributes:
        tasks: Every task of the system; held here because the loop holds them weakly.
        zombies: Tasks that survived their killing.
        bodies: Whose body each actor's task runs.
        offload: The threads for blocking code.
    """

    def __init__(
        self,
        name: str = "antiphon",
        *,
        clock: Clock | None = None,
        observer: Observer | None = None,
        debug: bool = False,
        seed: int | None = None,
        kill_grace: float = 1.0,
        threads: int = THREADS,
        watchdog: float | None = None,
        dice: Random | None = None,
    ) -> None:
        self.name = name
        self.clock: Clock = clock or RealClock()
        self.debug = debug
        self.seed = Random().random() if seed is None else seed
        self.kill_grace = kill_grace
        self.dice = dice
        self.tasks: set[asyncio.Task[Any]] = set()
        self.zombies: set[asyncio.Task[Any]] = set()
        self.bodies: dict[asyncio.Task[Any] | None, Life] = {}
        self.offload = Offload(threads)
        self.watchdog = None if watchdog is None else Watchdog(self, watchdog)
        self.groups = Groups()
        self.dead_letters = DeadLetters(self.clock.now, self._report_letter)
        self.deadlines = Deadlines(self.clock)
        self.told: Counter[str] = Counter()
        self._observer = observer
        self._names: dict[str, Cell] = {}
        self._refs: WeakValueDictionary[str, ActorRef[Any]] = WeakValueDictionary()
        self._flights: dict[str, asyncio.Task[Any]] = {}
        self._slices: dict[type, bool] = {}
        self._numbers = itertools.count(1)
        self._loop: asyncio.AbstractEventLoop | None = None
        self.create_future: Callable[[], asyncio.Future[Any]] = self._not_entered
        self.create_call: Callable[[], Call[Any]] = self._not_entered
        self._host: asyncio.Task[Any] | None = None
        self._root: Cell | None = None
        self._exit: BaseException | None = None
        self._host_cancelled = False
        self._closing = False

    # --- life ---

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self.create_future = self._loop.create_future
        self.create_call = partial(Call, loop=self._loop)
        self._host = asyncio.current_task()
        user = Child(Key[SupervisorMessage]("user"), Supervisor(), restart=Restart.TEMPORARY)
        self._root = self.new_cell(
            None,
            self.ref(Key[SupervisorMessage]("root")),
            Supervisor([user]),
            capacity=1,
            overflow=Overflow.DROP_NEWEST,
            shutdown=float("inf"),
        )
        if self.watchdog is not None:
            self.watchdog.start()
        await self._root.spawn()
        return self

    async def __aexit__(self, *why: object) -> None:
        await self.close()
        if self._exit is not None:
            if self._host_cancelled and self._host is not None:
                self._host.uncancel()
            raise self._exit

    async def close(self) -> None:
        """Stop every actor in order and wait; cancelled, kill them instead."""
        self._closing = True
        root = self._root
        if root is None:
            return
        root.final = True
        root.life.stop("the system closes")
        try:
            await root.wait()
            await self._end_tasks()
        except asyncio.CancelledError:
            root.life.kill("closing was cancelled")
            await root.wait()
            raise
        finally:
            self.deadlines.close()
            self.offload.close()
            if self.watchdog is not None:
                self.watchdog.stop()
                self.watchdog = None

    async def _end_tasks(self) -> None:
        for task in self._flights.values():
            task.cancel()
        rest = self.tasks - self.zombies - {asyncio.current_task()}
        if rest:
            await asyncio.wait(rest, timeout=self.kill_grace)

    async def wait(self) -> Reason:
        """Wait until the root has ended: closed, or given up."""
        assert self._root is not None
        return await self._root.wait()

    def interrupted(self, error: BaseException) -> None:
        """A hook raised SystemExit or KeyboardInterrupt: close, then raise it at the owner."""
        if self._exit is None:
            self._exit = error
            if self._root is not None:
                self._root.life.stop(type(error).__name__)
            if self._host is not None and not self._closing:
                self._host_cancelled = True
                self._host.cancel()

    @cached_property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that the system was entered on."""
        if self._loop is None:
            self._not_entered()
        assert self._loop is not None
        return self._loop

    def _not_entered(self) -> NoReturn:
        raise SystemClosed(f"system {self.name} has not been entered")

    # --- starting actors ---

    async def supervise(
        self, supervisor: Supervisor, name: str | None = None
    ) -> ActorRef[SupervisorMessage]:
        """Start *supervisor*: under the root if it has a name, else under ``user``.

        Raises:
            SpawnFailed: One of its children could not start; the cause is attached.
            NameTaken: The name is in use.
        """
        keeper = self._supervisor("root" if name else "user")
        path = name or f"user/supervisor-{next(self._numbers)}"
        ref = await keeper.start(Child(Key[SupervisorMessage](path), supervisor))
        if name:
            self._move_user_last()
        return ref

    def _move_user_last(self) -> None:
        """Let what the embedding program runs be stopped before what it runs on."""
        user = self._names.get("user")
        if user is not None and user.parent is not None:
            user.parent.children[user] = user.parent.children.pop(user)

    async def spawn(
        self,
        factory: Callable[[], Actor[M]],
        name: str | None = None,
        *,
        capacity: int = DEFAULT_CAPACITY,
        overflow: Overflow = Overflow.DROP_NEWEST,
        shutdown: float = 5.0,
    ) -> ActorRef[M]:
        """Start an unsupervised actor, ``user/NAME``; return when ``pre_start`` is through.

        Raises:
            SpawnFailed: ``pre_start`` raised; the cause is attached.
            NameTaken: The name is in use.
        """
        return await self.spawn_under(
            self._user(), factory, name, capacity=capacity, overflow=overflow, shutdown=shutdown
        )

    async def get_or_spawn(self, key: Key[M], factory: Callable[[], Actor[M]]) -> ActorRef[M]:
        """The ref of *key*; started unsupervised if there is none, once for all who ask."""
        flight = self._flights.get(key.name)
        if flight is None:
            cell = self._names.get(key.name)
            if cell is not None and not cell.ending:
                return self.ref(key)
            flight = self.loop.create_task(self._fly(key, factory))
            self._flights[key.name] = flight
            self.tasks.add(flight)
            flight.add_done_callback(lambda task: self._landed(key.name, task))
        await asyncio.shield(flight)
        return self.ref(key)

    async def _fly(self, key: Key[M], factory: Callable[[], Actor[M]]) -> None:
        ending = self._names.get(key.name)
        while ending is not None:
            if not ending.ending:
                return
            await ending.wait()
            ending = self._names.get(key.name)
        await self.new_cell(
            self._user(),
            self.ref(key),
            factory,
            capacity=DEFAULT_CAPACITY,
            overflow=Overflow.DROP_NEWEST,
            shutdown=5.0,
        ).spawn()

    def _landed(self, name: str, flight: asyncio.Task[Any]) -> None:
        self._flights.pop(name, None)
        self.tasks.discard(flight)
        if not flight.cancelled():
            flight.exception()

    async def spawn_under(
        self,
        parent: Life,
        factory: Callable[[], Actor[M]],
        name: str | None,
        *,
        capacity: int,
        overflow: Overflow,
        shutdown: float,
        link: bool = False,
    ) -> ActorRef[M]:
        """Start a child of *parent* that nobody restarts; for the context and ``spawn``."""
        path = f"{parent.path}/{name or self._make_name(factory)}"
        ref: ActorRef[M] = ActorRef(self, path)
        cell = self.new_cell(
            parent, ref, factory, capacity=capacity, overflow=overflow, shutdown=shutdown
        )
        if link:
            parent.links[cell.life] = None
            cell.life.links[parent] = None
        await cell.spawn()
        return ref

    def new_cell(
        self,
        parent: Life | None,
        ref: ActorRef[Any],
        factory: Callable[[], Actor[Any]],
        *,
        capacity: int,
        overflow: Overflow,
        shutdown: float,
        keeper: Keeper | None = None,
    ) -> Cell:
        """Register and link a new actor; nothing of it has run."""
        if self._closing or self._loop is None:
            raise SystemClosed(f"cannot start {ref.path}: system {self.name} is not open")
        if parent is not None and not parent.takes_children:
            raise ActorDead(f"cannot start {ref.path}: {parent.path} is stopping")
        taken = self._names.get(ref.path)
        if taken is not None:
            raise NameTaken(f"cannot start {ref.path}: the name is in use", taken.ref)
        return Cell(
            self,
            parent,
            ref,
            factory,
            capacity=capacity,
            overflow=overflow,
            shutdown=shutdown,
            keeper=keeper,
        )

    def _make_name(self, factory: Callable[[], Any]) -> str:
        name = getattr(factory, "__name__", "actor")
        return f"{name if name.isidentifier() else 'actor'}-{next(self._numbers)}"

    def _supervisor(self, path: str) -> SupervisorActor:
        cell = self._names.get(path)
        actor = None if cell is None else cell.life.actor
        if self._closing or not isinstance(actor, SupervisorActor):
            raise SystemClosed(f"system {self.name}: {path} has ended or was never started")
        return actor

    def _user(self) -> Life:
        life = self._supervisor("user")._life
        assert life is not None
        return life

    # --- finding actors ---

    def ref(self, key: Key[M]) -> ActorRef[M]:
        """The stable ref of *key*, whether or not somebody is there."""
        ref = self._refs.get(key.name)
        if ref is None:
            ref = self._refs[key.name] = ActorRef(self, key.name)
        return ref

    def lookup(self, path: str) -> ActorRef[Any] | None:
        """The actor at *path*, unless it is ending."""
        cell = self._names.get(path)
        return None if cell is None or cell.ending else cell.ref

    def actors(self) -> list[ActorInfo]:
        """Every actor, each after its parent, siblings in the order of starting."""
        return [] if self._root is None else [cell.info() for cell in self.cells()]

    def cells(self) -> Iterator[Cell]:
        """Walk the tree; for the runtime and its tests."""
        stack = [self._root] if self._root is not None and not self._root.ended else []
        while stack:
            cell = stack.pop()
            yield cell
            stack.extend(reversed(cell.life.children))

    # --- for the runtime ---

    def register(self, cell: Cell) -> None:
        """Reserve the cell's name."""
        self._names[cell.path] = cell

    def unregister(self, cell: Cell) -> None:
        """Free the cell's name and end what its ref held."""
        del self._names[cell.path]
        self.groups.release_all(cell.ref, cell)

    def leftovers(self) -> list[str]:
        """Name what a closed system must not have: tasks, names, groups, waiting calls."""
        return [
            *(f"task {task.get_name()}" for task in self.tasks | self.zombies),
            *(f"name {name}" for name in self._names),
            *(f"group {scope}/{group}" for scope, group in self.groups.names()),
            *([f"{len(self.deadlines)} calls"] if len(self.deadlines) else []),
        ]

    def nobody(self, path: str) -> Mailbox:
        """The mailbox of a ref whose key names nothing."""
        box = Mailbox(path, lambda message, reason: self.bury(path, message, reason), capacity=1)
        box.close(DeadLetterReason.NOPROC)
        return box

    def check_loop(self) -> None:
        """Raise WrongLoop if not called on this system's loop."""
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is not self._loop:
            raise WrongLoop(f"system {self.name} lives on another loop: use ref.threadsafe")

    def takes_slices(self, kind: type[Actor[Any]]) -> bool:
        """Tell whether actors of *kind* define ``handle_events``."""
        known = self._slices.get(kind)
        if known is None:
            known = self._slices[kind] = kind.handle_events is not Actor.handle_events
        return known

    def bury(
        self,
        path: str,
        message: object,
        reason: DeadLetterReason,
        error: BaseException | None = None,
    ) -> None:
        """Make *message* a dead letter of *path*; the sender is the running task, by name."""
        try:
            task = asyncio.current_task()
        except RuntimeError:
            task = None
        sender = None if task is None else task.get_name()
        self.dead_letters.add(DeadLetter(message, reason, path, sender, error))

    def observe(self, what: str, *arguments: object) -> None:
        """Count it, and tell the observer; what that raises stays here."""
        self.told[what] += 1
        if self._observer is None:
            return
        try:
            getattr(self._observer, what)(*arguments)
        except Exception:
            logger.exception("the observer failed at %s", what)

    def _report_letter(self, letter: DeadLetter, count: int) -> None:
        self.observe("dead_letter", letter, count)
