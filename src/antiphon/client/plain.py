"""The client for plain threads: ``remote.py``'s, on a loop of its own in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from antiphon.client.fields import EventFields, HoldFields
from antiphon.client.http import PAGE_EVENTS
from antiphon.client.remote import (
    CLOSE_S,
    LinkState,
    Page,
    RemoteBus,
    connect,
    onward,
)
from antiphon.client.subscription import RemoteSubscription
from antiphon.errors import AntiphonError, BusClosed
from antiphon.messages import Event, EventIn, Level, Published, StartWord, TopicInfo

T = TypeVar("T")


class PlainBus:
    """A server's bus for plain threads, any number of them; a context manager.

    Every method is ``RemoteBus``'s, and blocks until it is done.

    Args:
        make: Makes the client, in the thread of its loop.

    Raises:
        NoServer, Unauthorized: As ``RemoteBus``.
    """

    def __init__(self, make: Callable[[], RemoteBus]) -> None:
        self._make = make
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._bus: RemoteBus | None = None

    def __enter__(self) -> Self:
        started = threading.Event()
        # A daemon, so that a program that forgets to close it can end.
        self._thread = threading.Thread(
            target=self._serve, args=(started,), name="antiphon client", daemon=True
        )
        self._thread.start()
        started.wait()
        try:
            self._call(self._enter())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._loop is None:
            return
        try:
            if self._bus is not None:
                self._call(self._bus.__aexit__(kind, error, trace))
        finally:
            self._end()

    def close(self, timeout: float = CLOSE_S) -> None:
        """Wait until everything is published, then let go. Idempotent; see ``RemoteBus.aclose``."""
        if self._loop is None or self._bus is None:
            return
        try:
            self._call(self._bus.aclose(timeout))
        finally:
            self._end()

    def _serve(self, started: threading.Event) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            self._over = asyncio.Event()
            self._loop.call_soon(started.set)
            runner.run(self._until_over())

    async def _until_over(self) -> None:
        await self._over.wait()

    async def _enter(self) -> None:
        self._bus = await self._make().__aenter__()

    def _end(self) -> None:
        loop, self._loop, self._bus = self._loop, None, None
        if loop is not None and self._thread is not None:
            loop.call_soon_threadsafe(self._over.set)
            self._thread.join()

    def _start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        if self._loop is None:
            work.close()
            raise BusClosed("this client is closed, or was not entered by with")
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:
            work.close()
            raise BusClosed("this client is closed") from None

    def _call(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Do *work* in the loop; if the waiting is interrupted or too long, it is cancelled."""
        future = self._start(work)
        try:
            return future.result(timeout)
        except CancelledError:
            raise BusClosed("this client was closed meanwhile") from None
        except BaseException:
            future.cancel()
            raise

    @property
    def _remote(self) -> RemoteBus:
        if self._bus is None:
            raise BusClosed("this client is closed, or was not entered by with")
        return self._bus

    # --- what a bus does --------------------------------------------------------------------

    def publish(
        self,
        topic: str,
        payload: Any = None,
        *,
        level: Level = "synced",
        timeout: float = 30.0,
        **fields: Unpack[EventFields],
    ) -> Published:
        """See ``RemoteBus.publish``."""
        work = self._remote.publish(topic, payload, level=level, timeout=timeout, **fields)
        return self._call(work)

    def publish_nowait(
        self,
        topic: str,
        payload: Any = None,
        *,
        level: Level = "synced",
        **fields: Unpack[EventFields],
    ) -> Future[Published]:
        """Queue one event; the future is its answer. See ``RemoteBus.publish_nowait``."""
        remote = self._remote

        async def put() -> asyncio.Future[Published]:
            return remote.publish_nowait(topic, payload, level=level, **fields)

        answered = self._call(put())
        return self._start(_answer(answered))

    def publish_many(
        self, events: Iterable[EventIn], *, level: Level = "synced", timeout: float = 30.0
    ) -> list[Published | AntiphonError]:
        """See ``RemoteBus.publish_many``."""
        return self._call(self._remote.publish_many(list(events), level=level, timeout=timeout))

    def flush(self) -> None:
        """Wait until every publish is answered."""
        self._call(self._remote.flush())

    def subscribe(
        self,
        *patterns: str,
        start: StartWord = "now",
        after: str | int | None = None,
        narrow: bool = False,
        window: int = 1000,
        auto_ack: bool = True,
        timeout: float | None = None,
        **hold: Unpack[HoldFields],
    ) -> PlainSubscription:
        """Follow events: ``for event in bus.subscribe("worker.*"):``. See ``RemoteBus.subscribe``.

        Args:
            timeout: Seconds to wait for each event; then ``TimeoutError`` is raised, and
                iterating may go on. None: for ever.
        """
        remote = self._remote

        async def open_it() -> RemoteSubscription:
            return remote.subscribe(
                *patterns,
                start=start,
                after=after,
                narrow=narrow,
                window=window,
                auto_ack=auto_ack,
                **hold,
            )

        return PlainSubscription(self, self._call(open_it()), timeout)

    def query(self, *patterns: str, **wanted: Any) -> Page:
        """See ``RemoteBus.query``."""
        return self._call(self._remote.query(*patterns, **wanted))

    def history(self, *patterns: str, **wanted: Any) -> Iterator[Event]:
        """See ``RemoteBus.history``."""
        wanted.setdefault("limit", PAGE_EVENTS)
        while True:
            page = self.query(*patterns, **wanted)
            yield from page.events
            if page.next is None:
                return
            wanted[onward(wanted)] = page.next

    def event(self, seq: int) -> Event:
        """See ``RemoteBus.event``."""
        return self._call(self._remote.event(seq))

    def topics(self, *patterns: str) -> list[TopicInfo]:
        """See ``RemoteBus.topics``."""
        return self._call(self._remote.topics(*patterns))

    def refresh(self, token: str) -> None:
        """See ``RemoteBus.refresh``."""
        self._call(self._remote.refresh(token))


class PlainSubscription:
    """Events of a server, as an iterator for one thread; see ``RemoteSubscription``."""

    def __init__(self, bus: PlainBus, remote: RemoteSubscription, timeout: float | None) -> None:
        self._bus = bus
        self._remote = remote
        self._timeout = timeout
        self._taken: Event | None = None

    @property
    def cursor(self) -> str | None:
        """The position after the last event that was handed out."""
        return self._remote.cursor

    @property
    def attempt(self) -> int:
        """Which try the last event that was handed out is: its failures, and one."""
        return self._remote.attempt

    def __iter__(self) -> PlainSubscription:
        return self

    def __next__(self) -> Event:
        try:
            self._bus._call(self._take())
        except (StopAsyncIteration, BusClosed):
            raise StopIteration from None
        event, self._taken = self._taken, None
        assert event is not None
        return event

    async def _take(self) -> None:
        """Wait for an event and lay it down: one that came while Ctrl-C did is the next one's."""
        if self._taken is None:
            async with asyncio.timeout(self._timeout):
                self._taken = await self._remote.__anext__()

    def ack(self, event: Event | None = None) -> None:
        """See ``RemoteSubscription.ack``."""
        self._do(lambda: self._remote.ack(event))

    def nack(
        self, event: Event | None = None, *, delay: float | None = None, reason: str = "refused"
    ) -> None:
        """See ``RemoteSubscription.nack``."""
        self._do(lambda: self._remote.nack(event, delay=delay, reason=reason))

    def close(self) -> None:
        """End it. Idempotent."""
        if self._bus._loop is not None:
            self._do(self._remote.close)

    def _do(self, call: Callable[[], None]) -> None:
        async def do() -> None:
            call()

        self._bus._call(do())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bus._loop is not None:
            self._bus._call(self._remote.__aexit__(kind, error, trace))


async def _answer(answered: asyncio.Future[Published]) -> Published:
    return await answered


def connect_sync(
    url: str | None = None,
    token: str | None = None,
    *,
    most_events: int | None = None,
    most_bytes: int | None = None,
    on_link: Callable[[LinkState, str], None] | None = None,
) -> PlainBus:
    """``connect`` for plain threads: ``with antiphon.connect_sync() as bus:``.

    *on_link* is called in the client's own thread.
    """

    def make() -> RemoteBus:
        return connect(url, token, most_events=most_events, most_bytes=most_bytes, on_link=on_link)

    return PlainBus(make)
