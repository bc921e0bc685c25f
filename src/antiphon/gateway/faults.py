"""One refusal in its three shapes: a result, an ``err`` frame, a problem+json body."""

from __future__ import annotations

from antiphon.errors import (
    BusError,
    Overloaded,
    StorageUnavailable,
    SubscriptionGap,
    SubscriptionReset,
    WrongExpectedSeq,
    cut,
    redacted,
)
from antiphon.messages import Err, Problem, Refused
from antiphon.messages.event import Fault

TITLES = {
    "bad_request": "The request breaks a rule",
    "invalid_topic": "Not a topic",
    "invalid_pattern": "Not a pattern",
    "invalid_payload": "An event that can't be stored as it is",
    "invalid_schema": "Not a JSON schema",
    "payload_too_large": "Too large",
    "unauthorized": "No valid token",
    "forbidden": "Not allowed",
    "not_found": "Not found",
    "id_conflict": "The id is taken by another event",
    "wrong_expected_seq": "The topic went on meanwhile",
    "overloaded": "Too much is waiting",
    "storage_unavailable": "The log takes no events now",
    "gap": "Events were trimmed",
    "reset": "The cursor is of another history",
    "lease_held": "Somebody else holds it",
    "lease_lost": "The lease has ended",
    "durable_stopped": "It stands still at an event that failed too often",
    "internal": "A fault of the server",
}


def retry_after_ms(error: BusError) -> int | None:
    """When to try again, where that is known."""
    if isinstance(error, Overloaded | StorageUnavailable):
        return error.retry_after_ms
    return None


def last_seq(error: BusError) -> int | None:
    """How far the topic is, where the publisher expected something else."""
    return error.last_seq if isinstance(error, WrongExpectedSeq) else None


def refused(event_id: str | None, error: BusError) -> Refused:
    """The result of one event among several."""
    return Refused(
        id=None if event_id is None else cut(event_id),
        error=Fault(
            code=error.code,
            message=redacted(str(error)),
            value=None if error.value is None else redacted(error.value),
            limit=error.limit,
            retry_after_ms=retry_after_ms(error),
            last_seq=last_seq(error),
        ),
    )


def err(request: int | None, error: BusError) -> Err:
    """The answer to a WebSocket request."""
    return Err(
        id=request,
        code=error.code,
        message=redacted(str(error)),
        value=None if error.value is None else redacted(error.value),
        limit=error.limit,
        retry_after_ms=retry_after_ms(error),
        last_seq=last_seq(error),
    )


def problem(error: BusError, *, status: int | None = None) -> Problem:
    """The body of an HTTP answer."""
    gap = error if isinstance(error, SubscriptionGap) else None
    lost = error if isinstance(error, SubscriptionGap | SubscriptionReset) else None
    return Problem(
        type=f"urn:antiphon:problem:{error.code}",
        title=TITLES.get(error.code, error.code),
        status=error.status if status is None else status,
        code=error.code,
        detail=redacted(str(error)),
        value=None if error.value is None else redacted(error.value),
        limit=error.limit,
        retry_after_ms=retry_after_ms(error),
        last_seq=last_seq(error),
        first=None if gap is None else gap.first,
        last=None if gap is None else gap.last,
        cursor=None if lost is None else lost.cursor,
    )
