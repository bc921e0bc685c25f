"""From the ``code`` on the wire back to the error class that Python code catches."""

from __future__ import annotations

from antiphon import errors
from antiphon.errors import BusError

_PLAIN: dict[str, type[BusError]] = {
    kind.code: kind
    for kind in (
        errors.BadRequest,
        errors.InvalidTopic,
        errors.InvalidPattern,
        errors.InvalidPayload,
        errors.InvalidSchema,
        errors.PayloadTooLarge,
        errors.Unauthorized,
        errors.Forbidden,
        errors.NotFound,
        errors.IdConflict,
        errors.LeaseHeld,
        errors.LeaseLost,
    )
}


def error_from(
    code: str,
    message: str,
    *,
    value: str | None = None,
    limit: int | None = None,
    retry_after_ms: int | None = None,
    last_seq: int | None = None,
    first: int | None = None,
    last: int | None = None,
    cursor: str | None = None,
) -> BusError:
    """Make the error that the server meant; a ``BusError`` with that code if it is a new one."""
    if code == errors.Overloaded.code:
        return errors.Overloaded(message, retry_after_ms=retry_after_ms or 100, limit=limit)
    if code == errors.StorageUnavailable.code:
        return errors.StorageUnavailable(message, retry_after_ms=retry_after_ms or 1000)
    if code == errors.WrongExpectedSeq.code and last_seq is not None:
        return errors.WrongExpectedSeq(message, last_seq=last_seq, value=value)
    if code == errors.SubscriptionGap.code and cursor is not None:
        return errors.SubscriptionGap(first or 0, last or 0, cursor)
    if code == errors.SubscriptionReset.code and cursor is not None:
        return errors.SubscriptionReset(message, cursor)
    error = _PLAIN.get(code, BusError)(message, value=value, limit=limit)
    error.code = code
    return error
