"""The way to an actor from another thread or another loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from antiphon.actors.deadletters import DeadLetterReason
from antiphon.actors.request import RequestOf
from antiphon.errors import MailboxFull, SystemClosed

if TYPE_CHECKING:
    from antiphon.actors.ref import ActorRef

M_contra = TypeVar("M_contra", contravariant=True)
R = TypeVar("R")

CALL_TIMEOUT = 5.0


class ThreadsafeRef(Generic[M_contra]):
    """Sends to one actor from outside its loop.

    Raises:
        SystemClosed: Its loop is closed.
    """

    __slots__ = ("_loop", "_ref")

    def __init__(self, ref: ActorRef[M_contra], loop: asyncio.AbstractEventLoop) -> None:
        self._ref = ref
        self._loop = loop

    def cast(self, msg: M_contra) -> None:
        """Send and forget; what a full mailbox rejects becomes a dead letter."""
        try:
            self._loop.call_soon_threadsafe(self._cast, msg)
        except RuntimeError:
            raise self._closed() from None

    def call(
        self, msg: RequestOf[M_contra, R], timeout: float | None = CALL_TIMEOUT
    ) -> concurrent.futures.Future[R]:
        """Send a request; the answer, or an error as of ``ActorRef.call``, comes by the future."""

        async def ask() -> R:
            return await self._ref.call(msg, timeout)

        coroutine = ask()
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:
            coroutine.close()
            raise self._closed() from None

    def _cast(self, msg: Any) -> None:
        box = self._ref._box
        try:
            box.cast(msg)
        except MailboxFull:
            box.bury(msg, DeadLetterReason.OVERFLOW)
        except TypeError:
            box.bury(msg, DeadLetterReason.UNHANDLED)

    def _closed(self) -> SystemClosed:
        return SystemClosed(f"cannot reach {self._ref.path}: its loop is closed")
