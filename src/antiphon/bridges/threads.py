"""The bus for plain threads: they block, and the loop that runs the bus never does.

Everything happens in the bus's loop; a thread only waits for it. Leaves out what an actor
is sent from a thread: ``ref.threadsafe``.

Promises: docs/semantics/bridges.md#threads.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self

import msgspec

from antiphon.bus import SYSTEM, Bus, Gap, Principal, Reset, Subscription
from antiphon.bus.batch import Slice
from antiphon.bus.ephemeral import EphemeralPolicy
from antiphon.bus.event_rules import EVENT_BYTES
from antiphon.errors import (
    BusClosed,
    Overloaded,
    SubscriptionGap,
    SubscriptionReset,
    WrongLoop,
)
from antiphon.messages import Event, Published
from antiphon.messages.payload import check_payload

WAITING = 1024
TIMEOUT_S = 30.0

Answer = concurrent.futures.Future[Published]

_decode = msgspec.json.decode


class _Wanted(NamedTuple):
    """One event on its way into the loop, with the context that it was published in."""

    topic: str
    payload: Any
    fields: dict[str, Any]
    context: contextvars.Context
    answer: Answer


class ThreadBus:
    """Publishes and reads events in plain threads, as many as you like.

    What one thread publishes is stored in its order. Close it, or use ``with``; it ends by
    itself when the log does.

    Args:
        bus: The bus; its loop must run in another thread.
        principal: On whose behalf.
        waiting: Most events of all threads together that wait to be stored; more block.

    Raises:
        WrongLoop: By every method in the bus's own loop, which would wait for itself.
        BusClosed: By every method once this bridge or the log has ended.
    """

    def __init__(self, bus: Bus, *, principal: Principal = SYSTEM, waiting: int = WAITING) -> None:
        self._bus = bus
        self._principal = principal
        self._loop = bus.log.loop
        self._most = waiting
        self._room = threading.BoundedSemaphore(waiting)
        self._lock = threading.Lock()
        self._wanted: deque[_Wanted] = deque()
        self._pumping = False
        self._pump_task: asyncio.Task[None] | None = None
        self._readers: dict[ThreadEvents, None] = {}
        self._ended = False
        self._undo = bus.log.at_end(self._end)

    # --- publishing ---------------------------------------------------------------------

    def publish(
        self, topic: str, payload: Any = None, *, timeout: float | None = TIMEOUT_S, **fields: Any
    ) -> Published:
        """Publish one event and wait until it is stored.

        Args:
            timeout: Seconds; None waits as long as it takes.
            fields: As of ``Bus.publish_event``: ``type``, ``id``, ``key`` and so on.

        Raises:
            TimeoutError: No answer in time; the text says whether the event may be stored.
            BusError: It was refused.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        answer = self.publish_soon(topic, payload, timeout=timeout, **fields)
        try:
            return answer.result(None if deadline is None else deadline - time.monotonic())
        except TimeoutError:
            gone = "it was not handed in" if answer.cancel() else "its outcome is unknown"
            raise TimeoutError(
                f"no answer for an event on {topic} in {timeout} s; {gone}"
            ) from None

    def publish_soon(
        self, topic: str, payload: Any = None, *, timeout: float | None = TIMEOUT_S, **fields: Any
    ) -> Answer:
        """Publish one event and go on; the answer comes by the future.

        The event is fixed here: changing *payload* afterwards changes nothing. Blocks only
        while too many events wait, up to *timeout* seconds.

        Raises:
            InvalidPayload, PayloadTooLarge: At once. Other refusals come by the future.
            Overloaded: There was no room in time; nothing was queued.
        """
        self._check()
        fixed = _decode(check_payload(payload, limit=EVENT_BYTES))
        if not self._room.acquire(timeout=-1 if timeout is None else timeout):
            raise Overloaded(
                f"{self._most} events of threads wait to be stored, after {timeout} s still",
                limit=self._most,
            )
        answer: Answer = concurrent.futures.Future()
        wanted = _Wanted(topic, fixed, fields, contextvars.copy_context(), answer)
        with self._lock:
            ended = self._ended
            start = not (ended or self._pumping)
            if not ended:
                self._wanted.append(wanted)
                self._pumping = True
        if ended:
            self._room.release()
            raise _closed()
        if start:
            self._call(self._start_pump)
        return answer

    def _start_pump(self) -> None:
        self._pump_task = self._loop.create_task(self._pump(), name="antiphon-threads")

    async def _pump(self) -> None:
        """Hand over what waits, in order, as fast as the intake takes it."""
        while True:
            await self._bus.room()
            with self._lock:
                if not self._wanted:
                    self._pumping = False
                    return
                wanted = self._wanted.popleft()
            if self._begin(wanted.answer):
                self._hand_over(wanted)

    def _begin(self, answer: Answer) -> bool:
        """Whether it is still wanted; its room is free again when it is answered, or now."""
        if answer.set_running_or_notify_cancel():
            answer.add_done_callback(lambda _: self._room.release())
            return True
        self._room.release()
        return False

    def _hand_over(self, wanted: _Wanted) -> None:
        try:
            stored = wanted.context.run(
                self._bus.publish_event,
                wanted.topic,
                wanted.payload,
                principal=self._principal,
                **wanted.fields,
            )
        except Exception as error:
            wanted.answer.set_exception(error)
            return
        stored.add_done_callback(lambda stored: _settle(wanted.answer, stored))

    # --- reading ------------------------------------------------------------------------

    def events(
        self,
        *patterns: str,
        start: str | int = "now",
        timeout: float | None = None,
        ephemeral: EphemeralPolicy = "drop_oldest",
    ) -> ThreadEvents:
        """Iterate over events in one thread; see ``Bus.events``. Close it, or use ``with``.

        Args:
            timeout: Seconds to wait for the next event; None waits for ever.

        Raises:
            InvalidPattern, Forbidden, BadRequest: As by ``Bus.events``.
        """
        self._check()
        reader = ThreadEvents(self, patterns, timeout)
        opened: concurrent.futures.Future[None] = concurrent.futures.Future()

        def open_it() -> None:
            try:
                if self._ended:
                    raise _closed()
                reader._open(self._bus, start, self._principal, ephemeral)
                self._readers[reader] = None
            except Exception as error:
                opened.set_exception(error)
            else:
                opened.set_result(None)

        self._call(open_it)
        opened.result(TIMEOUT_S)
        return reader

    # --- life ---------------------------------------------------------------------------

    def close(self) -> None:
        """End the bridge, from any thread; what waits is not published any more. Idempotent."""
        try:
            self._loop.call_soon_threadsafe(self._end)
        except RuntimeError:
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *why: object) -> None:
        self.close()

    def _end(self) -> None:
        """Answer all who wait. In the loop, or when there is none any more."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
            waiting = list(self._wanted)
            self._wanted.clear()
        self._undo()
        if self._pump_task is not None:
            self._pump_task.cancel()
        for wanted in waiting:
            if self._begin(wanted.answer):
                wanted.answer.set_exception(_closed())
        for reader in list(self._readers):
            reader._end(_closed())

    def _check(self) -> None:
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self._loop:
            raise WrongLoop("a ThreadBus is for other threads: in the bus's own loop, use the bus")
        if self._ended:
            raise _closed()

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            self._end()
            raise _closed() from None


class ThreadEvents(Iterator[Event]):
    """Events for one thread, pulled slice by slice: a slow reader only falls behind.

    After ``SubscriptionGap``, ``SubscriptionReset`` or ``TimeoutError`` the iteration may go
    on, and nothing is missing. It stops after ``close``.

    Attributes:
        cursor: The position after the last event that was yielded.

    Raises:
        BusClosed: By ``next``: the bus has ended.
    """

    def __init__(self, bridge: ThreadBus, patterns: tuple[str, ...], timeout: float | None) -> None:
        self._bridge = bridge
        self._patterns = patterns
        self._timeout = timeout
        self._events: deque[Event] = deque()
        self._asked: concurrent.futures.Future[list[Event] | None] | None = None
        self._ended: BaseException | None = None
        self._closed = False
        self._bus: Bus
        self._subscription: Subscription
        self.cursor = ""

    def __next__(self) -> Event:
        if not self._events:
            self._events.extend(self._next_slice())
        event = self._events.popleft()
        if event.seq is not None:
            self.cursor = self._bus.cursor(event.seq)
        return event

    def _next_slice(self) -> list[Event]:
        """Wait for events; an answer that came too late is the next one's."""
        if self._closed:
            raise StopIteration
        if self._asked is None:
            self._bridge._check()
            asked = self._asked = concurrent.futures.Future()
            self._bridge._call(self._pull)
        else:
            asked = self._asked
        if not concurrent.futures.wait([asked], self._timeout).done:
            patterns = ", ".join(self._patterns)
            raise TimeoutError(f"no event of {patterns} within {self._timeout} s")
        self._asked = None
        events = asked.result()
        if events is None:
            raise StopIteration
        return events

    def close(self) -> None:
        """End the iteration, from any thread; whoever waits for the next event stops."""
        if not self._closed:
            self._closed = True
            try:
                self._bridge._loop.call_soon_threadsafe(self._end, None)
            except RuntimeError:
                self._end(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *why: object) -> None:
        self.close()

    # --- in the loop --------------------------------------------------------------------

    def _open(
        self, bus: Bus, start: str | int, principal: Principal, ephemeral: EphemeralPolicy
    ) -> None:
        self._bus = bus
        self._subscription = bus.open_subscription(
            self._patterns,
            start=start,
            principal=principal,
            on_ready=self._pull,
            ephemeral=ephemeral,
        )
        self.cursor = self._subscription.cursor

    def _pull(self) -> None:
        """Answer the thread, if it asks and there is something."""
        asked = self._asked
        while asked is not None and not asked.done():
            if self._subscription.closed:
                self._answer_end(asked)
                return
            taken = self._subscription.take()
            if taken is None:
                return
            if isinstance(taken, Slice):
                asked.set_result(list(taken.events))
            elif isinstance(taken, Gap):
                asked.set_exception(SubscriptionGap(taken.first, taken.last, taken.cursor))
            elif isinstance(taken, Reset):
                asked.set_exception(SubscriptionReset(taken.message, taken.cursor))

    def _end(self, why: BaseException | None) -> None:
        self._ended = why
        self._subscription.close()
        self._bridge._readers.pop(self, None)
        if self._asked is not None and not self._asked.done():
            self._answer_end(self._asked)

    def _answer_end(self, asked: concurrent.futures.Future[list[Event] | None]) -> None:
        if self._ended is None:
            asked.set_result(None)
        else:
            asked.set_exception(self._ended)


def _settle(answer: Answer, stored: asyncio.Future[Published]) -> None:
    if stored.cancelled():
        answer.set_exception(_closed())
    elif (error := stored.exception()) is not None:
        answer.set_exception(error)
    else:
        answer.set_result(stored.result())


def _closed() -> BusClosed:
    return BusClosed("the bus has ended; nothing more goes through this bridge")
