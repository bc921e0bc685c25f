"""What ``bench actors`` measures the runtime against.

Each contender does the same two things: a burst of casts to one receiver, over when
the last one is handled, and one call after the other. Plain references are written here;
peers are other actor libraries, imported only if they are installed (the dependency
group ``bench``). All run in one process and, except pykka's threads, on one loop.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

BURST = 1000
"""Casts between two acknowledgements; fits into a mailbox of the default size."""
STUCK_S = 30.0


class Contender(Protocol):
    """One way to hand messages to a receiver."""

    async def casts(self) -> None:
        """Send ``BURST`` messages; return when all are handled."""
        ...

    async def calls(self, count: int) -> None:
        """Ask *count* times, one after the other."""
        ...


Opener = Callable[[], AbstractAsyncContextManager[Contender]]


class Tally:
    """How many messages a receiver has handled."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    async def reach(self, count: int) -> None:
        """Let others run until *count* is reached.

        Raises:
            RuntimeError: It was not within ``STUCK_S``: messages were lost.
        """
        limit = time.perf_counter() + STUCK_S
        while self.count < count:
            if time.perf_counter() > limit:
                raise RuntimeError(f"only {self.count} of {count} messages were handled")
            await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class Job:
    """The message that is cast."""

    number: int


@dataclass(frozen=True, slots=True)
class Question:
    """The message that is answered, by a peer."""

    number: int


JOB = Job(1)
QUESTION = Question(1)


# --- plain references ---


class AsyncioQueue:
    """``asyncio.Queue`` as fast as it goes: no waiting at ``put``, no handler at ``get``."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Job] = asyncio.Queue(1024)
        self.tally = Tally()

    async def receive(self) -> None:
        get, tally = self.queue.get, self.tally
        while True:
            await get()
            tally.count += 1

    async def casts(self) -> None:
        put, job = self.queue.put_nowait, JOB
        target = self.tally.count + BURST
        for _ in range(BURST):
            put(job)
        await self.tally.reach(target)

    async def calls(self, count: int) -> None:
        raise NotImplementedError("a queue has no answers")


class Plain:
    """The limit of plain Python: a deque, one future to wake up, an async handler.

    No bound, no types, nobody to supervise it, nothing to see, nowhere for what is lost.
    """

    def __init__(self) -> None:
        self.queue: deque[Any] = deque()
        self.waker: asyncio.Future[None] | None = None
        self.tally = Tally()

    def put(self, message: Any) -> None:
        self.queue.append(message)
        waker = self.waker
        if waker is not None:
            self.waker = None
            waker.set_result(None)

    async def handle(self, message: Any) -> None:
        self.tally.count += 1

    async def receive(self) -> None:
        create_future = asyncio.get_running_loop().create_future
        queue, handle = self.queue, self.handle
        while True:
            while queue:
                await handle(queue.popleft())
            self.waker = waker = create_future()
            await waker

    async def casts(self) -> None:
        put, job = self.put, JOB
        target = self.tally.count + BURST
        for _ in range(BURST):
            put(job)
        await self.tally.reach(target)

    async def calls(self, count: int) -> None:
        raise NotImplementedError("see PlainCalls")


class PlainCalls(Plain):
    """The same for calls: each message is a future."""

    async def handle(self, message: Any) -> None:
        message.set_result(1)

    async def calls(self, count: int) -> None:
        create_future = asyncio.get_running_loop().create_future
        for _ in range(count):
            future = create_future()
            self.put(future)
            await future


@asynccontextmanager
async def _served(contender: AsyncioQueue | Plain) -> AsyncIterator[Contender]:
    task = asyncio.create_task(contender.receive())
    await asyncio.sleep(0)
    try:
        yield contender
    finally:
        task.cancel()
        await asyncio.wait([task])


def asyncio_queue() -> AbstractAsyncContextManager[Contender]:
    """Open the reference for casts."""
    return _served(AsyncioQueue())


def plain() -> AbstractAsyncContextManager[Contender]:
    """Open the limit of casts."""
    return _served(Plain())


def plain_calls() -> AbstractAsyncContextManager[Contender]:
    """Open the limit of calls."""
    return _served(PlainCalls())


# --- peers ---


class Pykka:
    """Threads; its calls block the caller's thread.

    Bursts suit it: sent to without a pause, its two threads contend and pass half as many.
    """

    def __init__(self, receiver: Any) -> None:
        self.receiver = receiver

    async def casts(self) -> None:
        tell = self.receiver.tell
        for _ in range(BURST):
            tell(JOB)
        self.receiver.ask(QUESTION)

    async def calls(self, count: int) -> None:
        for _ in range(count):
            self.receiver.ask(QUESTION)


@asynccontextmanager
async def _pykka() -> AsyncIterator[Contender]:
    import pykka  # type: ignore[import-not-found,unused-ignore]

    tally = Tally()

    class Receiver(pykka.ThreadingActor):  # type: ignore[misc,unused-ignore]
        def on_receive(self, message: Any) -> Any:
            tally.count += 1
            return message

    receiver = Receiver.start()
    try:
        yield Pykka(receiver)
    finally:
        receiver.stop()


class Awaited:
    """A peer whose sending is awaited."""

    def __init__(
        self, tally: Tally, cast: Callable[[Any], Any], call: Callable[[Any], Any]
    ) -> None:
        self.tally = tally
        self.cast = cast
        self.call = call

    async def casts(self) -> None:
        cast, target = self.cast, self.tally.count + BURST
        for _ in range(BURST):
            await cast(JOB)
        await self.tally.reach(target)

    async def calls(self, count: int) -> None:
        for _ in range(count):
            await self.call(QUESTION)


@asynccontextmanager
async def _xoscar() -> AsyncIterator[Contender]:
    import xoscar  # type: ignore[import-not-found,unused-ignore]

    tally = Tally()

    class Receiver(xoscar.Actor):  # type: ignore[misc,unused-ignore]
        async def job(self, message: Job) -> None:
            tally.count += 1

        async def question(self, message: Question) -> Question:
            return message

    pool = await xoscar.create_actor_pool("127.0.0.1", n_process=0)
    async with pool:
        ref = await xoscar.create_actor(Receiver, address=pool.external_address, uid="receiver")
        yield Awaited(tally, ref.job.tell, ref.question)


@asynccontextmanager
async def _lapinbeam() -> AsyncIterator[Contender]:
    import lapinbeam  # type: ignore[import-not-found,unused-ignore]

    tally = Tally()

    @lapinbeam.actor(name="receiver")  # type: ignore[untyped-decorator,unused-ignore]
    class Receiver:
        async def receive(self, message: Job) -> None:
            tally.count += 1

    @lapinbeam.actor(name="answerer")  # type: ignore[untyped-decorator,unused-ignore]
    class Answerer:
        async def receive(self, message: Question) -> None:
            await lapinbeam.current_message().reply(message)

    async with lapinbeam.Node("bench@127.0.0.1:0") as node:
        supervisor = lapinbeam.Supervisor(node=node)
        receiver, answerer = supervisor.spawn(Receiver), supervisor.spawn(Answerer)
        yield Awaited(tally, receiver.send, answerer.ask)
        await supervisor.shutdown()


@dataclass
class _Publication:
    """As autogen-core wants it: a plain dataclass at module level."""

    number: int


@dataclass
class _Inquiry:
    number: int


@asynccontextmanager
async def _autogen() -> AsyncIterator[Contender]:
    import autogen_core as autogen  # type: ignore[import-not-found,unused-ignore]

    tally = Tally()
    noisy = logging.getLogger(autogen.EVENT_LOGGER_NAME), logging.getLogger("autogen_core")
    for logger in noisy:
        logger.setLevel(logging.ERROR)

    class Receiver(autogen.BaseAgent):  # type: ignore[misc,unused-ignore]
        async def on_message_impl(self, message: Any, ctx: Any) -> Any:
            tally.count += 1
            return message

    runtime = autogen.SingleThreadedAgentRuntime()
    for kind in (_Publication, _Inquiry):
        runtime.add_message_serializer(autogen.try_get_known_serializers_for_type(kind))
    await Receiver.register(
        runtime, "receiver", lambda: Receiver("receives"), skip_direct_message_subscription=True
    )
    await runtime.add_subscription(autogen.TypeSubscription("jobs", "receiver"))
    topic, agent = autogen.TopicId("jobs", "bench"), autogen.AgentId("receiver", "bench")
    publication, inquiry = _Publication(1), _Inquiry(1)
    runtime.start()
    try:
        yield Awaited(
            tally,
            lambda _: runtime.publish_message(publication, topic),
            lambda _: runtime.send_message(inquiry, agent),
        )
    finally:
        await runtime.stop()


PEERS: dict[str, tuple[str, Opener]] = {
    "lapinbeam": ("lapinbeam", _lapinbeam),
    "pykka": ("pykka", _pykka),
    "xoscar": ("xoscar", _xoscar),
    "autogen-core": ("autogen_core", _autogen),
}
"""By their names on the index: the module, and what opens them."""


def installed_peers() -> dict[str, Opener]:
    """The peers that are there, not yet imported."""
    return {
        name: opener
        for name, (module, opener) in PEERS.items()
        if importlib.util.find_spec(module) is not None
    }
