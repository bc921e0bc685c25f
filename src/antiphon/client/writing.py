"""Events on their way out: as JSON that reads back equal, or refused before anything is sent."""

from __future__ import annotations

import msgspec

from antiphon.client.outbox import MOST_EVENT_BYTES
from antiphon.errors import BusError, InvalidPayload
from antiphon.messages import EventIn, Refused
from antiphon.messages.event import Fault
from antiphon.messages.payload import check_payload

_encode = msgspec.json.Encoder().encode


def written(event: EventIn) -> bytes:
    """*event* as the wire has it. A ``msgspec.Raw`` goes out as it is, for the server to check.

    Raises:
        InvalidPayload: Its payload is not exactly JSON, or another field can't be written.
        PayloadTooLarge: It fits into no frame.
    """
    if type(event.payload) is not msgspec.Raw:
        words = check_payload(event.payload, limit=MOST_EVENT_BYTES)
        event = msgspec.structs.replace(event, payload=msgspec.Raw(words))
    try:
        return _encode(event)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidPayload(f"the event can't be written as JSON: {error}") from error


def written_or_refused(event: EventIn) -> bytes | Refused:
    """The same for one of several, with the refusal in its place."""
    try:
        return written(event)
    except BusError as error:
        fault = Fault(code=error.code, message=str(error), value=error.value, limit=error.limit)
        return Refused(id=event.id, error=fault)
