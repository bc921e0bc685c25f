"""``pipe_to_self``: await something beside the hooks, get the result as a message."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from antiphon.actors.request import Envelope
from antiphon.actors.trace import current_trace

if TYPE_CHECKING:
    from antiphon.actors.life import Life


async def pipe(
    life: Life,
    awaitable: Awaitable[Any],
    to_message: Callable[[Any], Any],
    on_error: Callable[[BaseException], Any] | None,
) -> None:
    """Wait for *awaitable*, then send *life*'s actor the message made of what came.

    Without *on_error* an exception fails the actor, as does one of the two callables.
    """
    try:
        message = await _message(life, awaitable, to_message, on_error)
        life.cell.box.check(message)
    except Exception as error:
        life.fail(error)
        return
    if not life.over:
        envelope = Envelope(message, None, current_trace())
        envelope.life = life
        life.cell.box.put_own(envelope)


async def _message(
    life: Life,
    awaitable: Awaitable[Any],
    to_message: Callable[[Any], Any],
    on_error: Callable[[BaseException], Any] | None,
) -> Any:
    try:
        value = await awaitable
    except (Exception, asyncio.CancelledError) as error:
        if life.over:
            raise
        if on_error is not None:
            return on_error(error)
        if isinstance(error, asyncio.CancelledError):
            raise RuntimeError("what was piped was cancelled") from error
        raise
    return to_message(value)
