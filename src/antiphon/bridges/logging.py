"""Log records as events: a handler for the standard ``logging``.

A record becomes an event on ``log.LOGGER.NAME``, its payload said in ``payload_of``. The
handler never blocks whoever logs, and never hears itself: records of Antiphon's own
loggers, and records made while one is being published, go past it.

Promises: docs/semantics/bridges.md#logging.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import re
import threading
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

from antiphon.bus import SYSTEM, Bus, Principal
from antiphon.bus.topics import TOKEN_BYTES, TOKENS, TOPIC_BYTES, check_topic
from antiphon.errors import BusError
from antiphon.messages import Published
from antiphon.messages.payload import MAX_INT

CAPACITY = 1000
IN_FLIGHT = 256
"""Most records handed to the bus and not stored yet, so that logs never fill the intake."""
TEXT_CHARS = 16_000
EXTRAS = 16
EXTRA_CHARS = 500
TYPE = "custom.log"
EXCLUDED = ("antiphon", "asyncio", "uvicorn", "websockets")
"""Loggers, with those below, that speak while an event is stored and handed on."""

_NOT_TOKEN = re.compile("[^A-Za-z0-9_-]")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_formatter = logging.Formatter()
_handlers: weakref.WeakSet[BusHandler] = weakref.WeakSet()


class _Inside(threading.local):
    """Whether this thread is at work in a handler of this module."""

    on = False


_inside = _Inside()


class _Entry(NamedTuple):
    """One record, fixed, with the context that it was logged in."""

    topic: str
    payload: dict[str, Any]
    time: datetime
    context: contextvars.Context


class BusHandler(logging.Handler):
    """Publishes log records, from any thread, to the bus that it is attached to.

    It can be made before there is a bus, as by ``dictConfig``; see ``publishing_logs``.
    Without a bus, and once its loop has closed, records are dropped and counted.

    Args:
        topic: What the topics begin with.
        capacity: Most records that wait for the loop; then the oldest is dropped. The next
            event's payload says how many were: ``dropped``.
        exclude: Loggers to leave out, with all below; ``antiphon`` is always left out.

    Attributes:
        published: Records stored, in all.
        dropped: Records lost: no bus, no room, or refused by the bus, in all.

    Raises:
        InvalidTopic: *topic* is none.
        ValueError: *capacity* is below 1.
    """

    def __init__(
        self,
        level: int | str = logging.NOTSET,
        *,
        topic: str = "log",
        capacity: int = CAPACITY,
        exclude: Sequence[str] = EXCLUDED,
    ) -> None:
        super().__init__(level)
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        self.topic = str(check_topic(topic))
        self.capacity = capacity
        self.published = 0
        self.dropped = 0
        self._exclude = ("antiphon", *exclude)
        self._told = 0  # of ``dropped``
        self._lock = threading.Lock()  # of the queue; never held while formatting or publishing
        self._queue: deque[_Entry] = deque()
        self._draining = False
        self._in_flight = 0
        self._bus: Bus | None = None
        self._principal = SYSTEM
        _handlers.add(self)

    # --- from any thread ----------------------------------------------------------------

    def emit(self, record: logging.LogRecord) -> None:
        """Queue *record*; what goes wrong with it is ``handleError``'s."""
        if self._is_own(record.name):
            return
        if _inside.on:
            self._drop(1)
            return
        _inside.on = True
        try:
            self._put(self._entry(record))
        except Exception:
            self.handleError(record)
        finally:
            _inside.on = False

    def close(self) -> None:
        """Let go of the bus; what waits is dropped. Called by ``logging`` at exit."""
        self._forget()
        super().close()

    def _is_own(self, name: str) -> bool:
        return any(name == own or name.startswith(f"{own}.") for own in self._exclude)

    def _entry(self, record: logging.LogRecord) -> _Entry:
        payload = payload_of(record, None if self.formatter is None else self.format(record))
        time = datetime.fromtimestamp(record.created, UTC)
        return _Entry(topic_of(self.topic, record.name), payload, time, contextvars.copy_context())

    def _put(self, entry: _Entry) -> None:
        with self._lock:
            bus = self._bus
            if bus is None:
                self.dropped += 1
                return
            if len(self._queue) >= self.capacity:
                self._queue.popleft()
                self.dropped += 1
            self._queue.append(entry)
            if self._draining:
                return
            self._draining = True
        try:
            bus.log.loop.call_soon_threadsafe(self._drain)
        except RuntimeError:  # the loop is closed, and nobody detached this handler
            self._forget()

    def _forget(self) -> None:
        with self._lock:
            self._bus = None
            self._draining = False
            self.dropped += len(self._queue)
            self._queue.clear()

    def _drop(self, count: int) -> None:
        with self._lock:
            self.dropped += count

    # --- in the loop --------------------------------------------------------------------

    def attach(self, bus: Bus, *, principal: Principal = SYSTEM) -> None:
        """Publish to *bus* from now on. In its loop, as ``detach``."""
        self.detach()
        with self._lock:
            self._bus = bus
            self._principal = principal
            self._draining = False

    def detach(self) -> None:
        """Hand what waits to the bus, and publish no more. Idempotent."""
        bus = self._bus
        if bus is not None:
            self._publish(bus, self._take(self.capacity))
            self._forget()

    def _drain(self) -> None:
        """Hand over what waits, as far as there is room."""
        bus = self._bus
        if bus is None:
            return
        self._publish(bus, self._take(IN_FLIGHT - self._in_flight))
        with self._lock:
            self._draining = bool(self._queue)
        if self._draining and self._in_flight < IN_FLIGHT:  # else an answer goes on
            bus.log.loop.call_soon(self._drain)

    def _take(self, most: int) -> list[_Entry]:
        with self._lock:
            return [self._queue.popleft() for _ in range(min(most, len(self._queue)))]

    def _publish(self, bus: Bus, entries: list[_Entry]) -> None:
        _inside.on = True
        try:
            for entry in entries:
                self._publish_one(bus, entry)
        finally:
            _inside.on = False

    def _publish_one(self, bus: Bus, entry: _Entry) -> None:
        lost = self.dropped - self._told
        if lost:
            entry.payload["dropped"] = lost
        try:
            stored = entry.context.run(
                bus.publish_event,
                entry.topic,
                entry.payload,
                type=TYPE,
                time=entry.time,
                principal=self._principal,
            )
        except BusError:
            self._drop(1)
            return
        self._told += lost
        self._in_flight += 1
        stored.add_done_callback(self._answered)

    def _answered(self, stored: asyncio.Future[Published]) -> None:
        self._in_flight -= 1
        if stored.cancelled() or stored.exception() is not None:
            self._drop(1)
        else:
            self.published += 1
        if self._draining:
            self._drain()


@contextmanager
def publishing_logs(bus: Bus, *, principal: Principal = SYSTEM) -> Iterator[list[BusHandler]]:
    """Attach every ``BusHandler`` there is to *bus* while the block runs, in the bus's loop.

    What was logged in the block is in the bus's intake when it ends.
    """
    handlers = list(_handlers)
    for handler in handlers:
        handler.attach(bus, principal=principal)
    try:
        yield handlers
    finally:
        for handler in handlers:
            handler.detach()


def topic_of(prefix: str, name: str) -> str:
    """The topic of the logger *name*: what a token can't hold becomes ``_``, too much is cut."""
    tokens = [_NOT_TOKEN.sub("_", token)[:TOKEN_BYTES] or "_" for token in name.split(".")]
    topic = ".".join([*prefix.split("."), *tokens][:TOKENS])
    return topic[:TOPIC_BYTES].rstrip(".")


def payload_of(record: logging.LogRecord, formatted: str | None = None) -> dict[str, Any]:
    """What an event says of *record*: level, logger, message, where, and what was added.

    Args:
        formatted: What a formatter made of it, in the message's place.

    Raises:
        Exception: The message can't be made of its parts.
    """
    payload: dict[str, Any] = {
        "level": record.levelname,
        "logger": _text(record.name),
        "message": _text(record.getMessage() if formatted is None else formatted),
        "function": _text(record.funcName or ""),
        "line": record.lineno,
        "thread": _text(record.threadName or ""),
    }
    if formatted is None and record.exc_info:
        payload["exception"] = _text(_formatter.formatException(record.exc_info))
    added = (
        (_text(name, EXTRA_CHARS), _scalar(value))
        for name, value in vars(record).items()
        if name not in _STANDARD and isinstance(value, str | int | float | bool | None)
    )
    extra = dict(pair for pair, _ in zip(added, range(EXTRAS), strict=False))
    if extra:
        payload["extra"] = extra
    return payload


def _scalar(value: str | float | bool | None) -> str | float | bool | None:
    """A value that JSON can hold, else its text."""
    if value is None or type(value) is bool:
        return value
    if type(value) is int and -MAX_INT <= value <= MAX_INT:
        return value
    if type(value) is float and value - value == 0:  # neither infinite nor no number
        return value
    return _text(str(value), EXTRA_CHARS)


def _text(text: str, limit: int = TEXT_CHARS) -> str:
    """*text*, cut, without halves of characters."""
    shown = text if len(text) <= limit else text[: limit - 1] + "…"
    return shown.encode("utf-8", "replace").decode()
