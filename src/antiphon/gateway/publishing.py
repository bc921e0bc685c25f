"""Events from outside on their way into the bus, each with a result of its own.

A list is no transaction: one refused event stops no other. Events are put into the bus
in the order they came, before anything is awaited, so a publisher's order is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from antiphon.bus import Bus, Principal
from antiphon.errors import AntiphonError, BusError, StorageUnavailable
from antiphon.gateway.faults import refused
from antiphon.messages import EventIn, Level, Published, Refused


class Submitted(NamedTuple):
    """One event that was handed to the bus, or refused at once."""

    id: str | None
    outcome: asyncio.Future[Published] | BusError


def submit(
    bus: Bus,
    events: Iterable[EventIn | BusError],
    principal: Principal,
    level: Level,
    *,
    refused: Callable[[BusError], None] | None = None,
) -> list[Submitted]:
    """Hand *events* to the bus, in order; an error in the place of an event is its result.

    Args:
        refused: Told of those that were refused at once.
    """
    submitted = [_submit_one(bus, event, principal, level) for event in events]
    if refused is not None:
        for one in submitted:
            if isinstance(one.outcome, BusError):
                refused(one.outcome)
    return submitted


def _submit_one(
    bus: Bus, event: EventIn | BusError, principal: Principal, level: Level
) -> Submitted:
    if isinstance(event, BusError):
        return Submitted(event.event_id, event)
    try:
        future = bus.publish(event, principal=principal, level=level, remote=True)
    except BusError as error:
        return Submitted(event.id, error)
    return Submitted(event.id, future)


class Patience:
    """Waits for the log, until the server can wait no longer."""

    def __init__(self) -> None:
        self._waits: set[asyncio.Timeout] = set()
        self._over = False

    def end(self) -> None:
        """From now on, what the log has not answered has an unknown outcome. Idempotent."""
        if self._over:
            return
        self._over = True
        for wait in self._waits:
            wait.reschedule(asyncio.get_running_loop().time())

    async def settle(self, submitted: Sequence[Submitted]) -> None:
        """Wait until each has its outcome; one that comes too late is cancelled."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0 if self._over else None) as wait:
                self._waits.add(wait)
                try:
                    await _all(submitted)
                finally:
                    self._waits.discard(wait)


async def results(
    submitted: Sequence[Submitted], patience: Patience | None = None
) -> list[Published | Refused]:
    """Wait for the result of each, in the same order."""
    await (_all(submitted) if patience is None else patience.settle(submitted))
    return [_result(one) for one in submitted]


async def result(one: Submitted, patience: Patience) -> Published:
    """Wait for the result of the only one.

    Raises:
        BusError: It was refused.
    """
    await patience.settle([one])
    found = _outcome(one)
    if isinstance(found, BusError):
        raise found
    return found


async def _all(submitted: Sequence[Submitted]) -> None:
    pending = [one.outcome for one in submitted if isinstance(one.outcome, asyncio.Future)]
    await asyncio.gather(*pending, return_exceptions=True)


def _result(one: Submitted) -> Published | Refused:
    found = _outcome(one)
    return refused(one.id, found) if isinstance(found, BusError) else found


def _outcome(one: Submitted) -> Published | BusError:
    """What a publisher is told; an error that isn't the bus's leaves the outcome open.

    Raises:
        Exception: A fault of the program.
    """
    if isinstance(one.outcome, BusError):
        return one.outcome
    try:
        return one.outcome.result()
    except BusError as error:
        return error
    except (AntiphonError, asyncio.CancelledError):
        return StorageUnavailable("outcome unknown, repeat with the same id")
