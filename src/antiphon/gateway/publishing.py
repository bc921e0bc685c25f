"""Events from outside on their way into the bus, each with a result of its own.

A list is no transaction: one refused event stops no other. Events are put into the bus
in the order they came, before anything is awaited, so a publisher's order is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
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
    bus: Bus, events: Iterable[EventIn | BusError], principal: Principal, level: Level
) -> list[Submitted]:
    """Hand *events* to the bus, in order; an error in the place of an event is its result."""
    return [_submit_one(bus, event, principal, level) for event in events]


def _submit_one(
    bus: Bus, event: EventIn | BusError, principal: Principal, level: Level
) -> Submitted:
    if isinstance(event, BusError):
        return Submitted(None, event)
    try:
        future = bus.publish(event, principal=principal, level=level, remote=True)
    except BusError as error:
        return Submitted(event.id, error)
    return Submitted(event.id, future)


async def results(submitted: Sequence[Submitted]) -> list[Published | Refused]:
    """Wait for the result of each, in the same order."""
    pending = [one.outcome for one in submitted if isinstance(one.outcome, asyncio.Future)]
    await asyncio.gather(*pending, return_exceptions=True)
    return [_result(one) for one in submitted]


def _result(one: Submitted) -> Published | Refused:
    if isinstance(one.outcome, BusError):
        return refused(one.id, one.outcome)
    error = one.outcome.exception()
    if error is None:
        return one.outcome.result()
    return refused(one.id, as_bus_error(error))


def as_bus_error(error: BaseException) -> BusError:
    """What a publisher is told of *error*; one that isn't the bus's leaves the outcome open.

    Raises:
        BaseException: *error*, if it is a fault of the program.
    """
    if isinstance(error, BusError):
        return error
    if isinstance(error, AntiphonError):
        return StorageUnavailable("outcome unknown, repeat with the same id")
    raise error
