"""Requests: messages that have an answer, and the ways to give it.

The checker infers both the reply's type and membership in the protocol from
``Request[R]``; how, is in ``tests/typing``.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from msgspec import Struct

from antiphon.errors import ActorDead, CalleeFailed

if TYPE_CHECKING:
    from antiphon.actors.life import Life
    from antiphon.actors.timers import Timer
    from antiphon.actors.trace import Trace

R = TypeVar("R")
M_co = TypeVar("M_co", covariant=True)
R_co = TypeVar("R_co", covariant=True)


class Request(Generic[R]):
    """The base of messages that are answered with an *R*."""

    __slots__ = ()

    def __as_message__(self) -> Self:
        return self

    def __reply_type__(self) -> R:
        raise NotImplementedError("this method is for type checkers only")


class RequestOf(Protocol[M_co, R_co]):
    """A request that belongs to the protocol *M* and is answered with an *R*."""

    def __as_message__(self) -> M_co: ...

    def __reply_type__(self) -> R_co: ...


class Envelope(Struct, eq=False):
    """What a mailbox holds for anything that is not a plain cast.

    Attributes:
        future: The caller's; None for a traced cast, and for a timer's tick or a pipe's
            result, which carry the *life* they belong to, and the *timer* that may still
            cancel them.
        trace: What it belongs to, if its sender did.
        deferred: The answer comes later, by a ``ReplyTo``.

    A Struct because every call makes one: half the time of a class with ``__init__``.
    """

    message: Any
    future: asyncio.Future[Any] | None
    trace: Trace | None = None
    life: Life | None = None
    timer: Timer | None = None
    deferred: bool = False

    def unanswered(self) -> asyncio.Future[Any] | None:
        """The caller's future, if no answer was given or promised and somebody waits."""
        future = self.future
        return None if future is None or self.deferred or future.done() else future


def message_of(item: Any) -> Any:
    """The message that a mailbox's *item* is or carries."""
    return item.message if type(item) is Envelope else item


def answer(future: asyncio.Future[Any], value: object) -> bool:
    """Give *value* to the caller; False if it no longer waits."""
    if future.done():
        return False
    future.set_result(value)
    return True


def refuse(future: asyncio.Future[Any], error: BaseException) -> bool:
    """Give *error* to the caller; False if it no longer waits."""
    if future.done():
        return False
    if isinstance(error, StopIteration):  # a future refuses to carry it
        error = callee_failed("the handler", error)
    future.set_exception(error)
    return True


def callee_failed(who: str, cause: BaseException) -> CalleeFailed:
    """Make the error that a caller sees when the handler of its call raised *cause*."""
    error = CalleeFailed(f"{who} failed: {type(cause).__name__}: {cause}")
    error.__cause__ = cause
    return error


class ReplyTo(Generic[R]):
    """The right to answer one request later, once, from anywhere on the loop.

    It ends with the generation that deferred it: the caller is then told at once.

    Raises:
        ActorDead: By any use after that end.
    """

    __slots__ = ("_envelope", "_future", "_life")

    def __init__(
        self, life: Life, envelope: Envelope | None, future: asyncio.Future[Any] | None
    ) -> None:
        self._life = life
        self._envelope = envelope
        self._future = future

    def reply(self, value: R) -> bool:
        """Answer; False if nobody waits for it any more."""
        future = self._settle()
        return future is not None and answer(future, value)

    def reply_error(self, error: BaseException) -> bool:
        """Answer with an error; False if nobody waits for it any more."""
        future = self._settle()
        return future is not None and refuse(future, error)

    @property
    def caller_gone(self) -> bool:
        """Nobody waits any more: cancelled, timed out, answered, or it was a cast."""
        self._check()
        return self._future is None or self._future.done()

    def _settle(self) -> asyncio.Future[Any] | None:
        self._check()
        if self._envelope is not None:
            self._life.own.deferred.discard(self._envelope)
        return self._future

    def _check(self) -> None:
        if self._life.over:
            raise ActorDead(f"{self._life.path} has ended; its replies went with it")
