"""Every error that Antiphon raises on purpose.

One class per reaction that a caller might have::

    AntiphonError
    ├ ActorError                 about an actor
    │ ├ SpawnFailed              pre_start raised; the cause is attached
    │ ├ ActorDead                nobody there: never was, or has ended
    │ │ └ ActorStopped           ended before it came to this message
    │ ├ CalleeFailed             the handler raised; the cause is attached
    │ ├ NoReply                  the handler ended without an answer
    │ ├ CallTimeout              no answer in time
    │ ├ CallCycle                the wait would have led back to the caller
    │ ├ MailboxFull              refused, by the policy REJECT or by a timeout of 0
    │ ├ NameTaken                the key is in use
    │ ├ TooManyChildren          a supervisor has as many children as it may
    │ ├ SystemClosed             the system takes no more actors
    │ └ WrongLoop                a ref was used from another loop or thread
    ├ BusError                   carries ``code``, the same on every wire
    │ ├ InvalidTopic, InvalidPattern, InvalidPayload, BadRequest
    │ │                  └ PayloadMisfit, by the topic's schema
    │ ├ InvalidSchema
    │ ├ PayloadTooLarge
    │ ├ Unauthorized, Forbidden
    │ ├ IdConflict               same id, other content
    │ ├ WrongExpectedSeq         the topic went on since; ``last_seq`` says how far
    │ ├ Overloaded               try again in ``retry_after_ms``
    │ ├ StorageUnavailable       try again in ``retry_after_ms``, with the same id
    │ ├ BusClosed                the bus of this process has ended
    │ ├ SubscriptionGap          events were trimmed; go on from ``cursor``
    │ ├ SubscriptionReset        the cursor is of another history; go on from ``cursor``
    │ ├ LeaseHeld                somebody else holds the durable subscription
    │ ├ LeaseLost                attach again; what was in hand comes again
    │ ├ DurableStopped           an event failed too often; ``resume_durable`` goes on
    │ └ NotFound
    └ StartError                 the server can't start; one line says why
"""

from __future__ import annotations

import re
from typing import Any

_SECRET = re.compile(r"\banti_[A-Za-z0-9_-]{8,}")


def cut(value: object, limit: int = 80) -> str:
    """Show *value* in at most *limit* characters, for an error's text."""
    text = value if isinstance(value, str) else repr(value)
    shown = ascii(text[: limit + 1])[1:-1]
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def redacted(text: str) -> str:
    """*text* without any issued token that somebody put where a name, path or reason belongs."""
    return _SECRET.sub("anti_…", text) if "anti_" in text else text


class AntiphonError(Exception):
    """The root of all errors raised on purpose."""


# --- actors ---------------------------------------------------------------------------------


class ActorError(AntiphonError):
    """Something about an actor."""


class SpawnFailed(ActorError):
    """``pre_start`` raised; nothing stayed behind. The cause is in ``__cause__``."""


class ActorDead(ActorError):
    """Nobody is there to take the message."""


class ActorStopped(ActorDead):
    """The actor ended before it came to this message."""


class CalleeFailed(ActorError):
    """The handler of this call raised; the cause is in ``__cause__``."""


class NoReply(ActorError):
    """The handler ended without ``reply`` and without ``defer``."""


class CallTimeout(ActorError, TimeoutError):
    """No answer came in time. The message may still be handled."""


class CallCycle(ActorError):
    """Waiting for this answer would have led back to the waiting actor."""


class MailboxFull(ActorError):
    """The mailbox had no room; the message was not queued."""


class NameTaken(ActorError):
    """The key already names a living actor, given as ``ref``."""

    def __init__(self, message: str, ref: Any) -> None:
        super().__init__(message)
        self.ref = ref


class SystemClosed(ActorError):
    """The system is closing or closed and takes no more actors."""


class WrongLoop(ActorError):
    """A ref was used from another loop or thread; use ``ref.threadsafe``."""


class TooManyChildren(ActorError):
    """A dynamic supervisor has as many children as it may."""


# --- bus ------------------------------------------------------------------------------------


class BusError(AntiphonError):
    """A refusal by the bus.

    Attributes:
        code: A stable word, the same in Python, HTTP and WebSocket.
        value: What was refused, cut short.
        limit: The bound that was hit, where there is one.
        event_id: The id that the refused event gave, if that could be read at all.
    """

    code = "bad_request"
    status = 400
    event_id: str | None = None

    def __init__(self, message: str, *, value: object = None, limit: int | None = None) -> None:
        super().__init__(message)
        self.value = None if value is None else cut(value)
        self.limit = limit


class BadRequest(BusError):
    """The request breaks a rule that has no code of its own."""


class InvalidTopic(BusError):
    """Not a topic."""

    code = "invalid_topic"


class InvalidPattern(BusError):
    """Not a pattern."""

    code = "invalid_pattern"


class InvalidPayload(BusError):
    """A payload or a field of an event that can't be stored as it is."""

    code = "invalid_payload"


class PayloadMisfit(InvalidPayload):
    """A payload that its topic's JSON schema doesn't allow.

    Attributes:
        pattern: Whose schema it is.
        pointer: The JSON pointer (RFC 6901) of what doesn't fit; empty for all of it.
    """

    def __init__(self, topic: str, pattern: str, pointer: str, why: str, found: object) -> None:
        where = f"'{cut(pointer)}'" if pointer else "'' (the whole)"
        super().__init__(
            f"payload for {topic} doesn't fit the schema of {pattern}: at {where},"
            f" {why}, got {cut(found)}",
            value=found,
        )
        self.pattern = pattern
        self.pointer = pointer


class InvalidSchema(BusError):
    """Not a JSON schema, or one that costs too much or uses what Antiphon leaves out."""

    code = "invalid_schema"


class PayloadTooLarge(BusError):
    """An event, a body or a frame over its limit."""

    code = "payload_too_large"
    status = 413


class Unauthorized(BusError):
    """No token, or one that is not known."""

    code = "unauthorized"
    status = 401


class Forbidden(BusError):
    """A known token that doesn't reach this far."""

    code = "forbidden"
    status = 403


class NotFound(BusError):
    """There is no such thing."""

    code = "not_found"
    status = 404


class IdConflict(BusError):
    """The id was given before, on this topic, by this principal, with other content."""

    code = "id_conflict"
    status = 409


class WrongExpectedSeq(BusError):
    """The topic's last event is not the one that the publisher expected; nothing was stored.

    Attributes:
        last_seq: That of the topic; 0 if it never had an event.
    """

    code = "wrong_expected_seq"
    status = 409

    def __init__(self, message: str, *, last_seq: int, value: object = None) -> None:
        super().__init__(message, value=value)
        self.last_seq = last_seq


class Overloaded(BusError):
    """Too much is waiting already; nothing was queued."""

    code = "overloaded"
    status = 429

    def __init__(
        self, message: str, *, retry_after_ms: int = 100, limit: int | None = None
    ) -> None:
        super().__init__(message, limit=limit)
        self.retry_after_ms = retry_after_ms


class StorageUnavailable(BusError):
    """The log can't take events now. If the outcome is unknown, repeat with the same id."""

    code = "storage_unavailable"
    status = 503

    def __init__(self, message: str, *, retry_after_ms: int = 1000) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms


class BusClosed(BusError):
    """The bus of this process has ended; nothing more comes or goes through it."""

    code = "closed"
    status = 503


class SubscriptionGap(BusError):
    """Events that the subscription matches were trimmed before it read them.

    Attributes:
        first, last: The range of seqs in which something is missing.
        cursor: Where to go on.
    """

    code = "gap"
    status = 410

    def __init__(self, first: int, last: int, cursor: str) -> None:
        super().__init__(f"events between {first} and {last} were trimmed; go on from {cursor}")
        self.first = first
        self.last = last
        self.cursor = cursor


class SubscriptionReset(BusError):
    """The cursor belongs to another history of the log.

    Attributes:
        cursor: Where this log's own history goes on.
    """

    code = "reset"
    status = 410

    def __init__(self, message: str, cursor: str) -> None:
        super().__init__(message)
        self.cursor = cursor


class LeaseHeld(BusError):
    """Somebody else holds the durable subscription, and their lease is alive."""

    code = "lease_held"
    status = 409


class LeaseLost(BusError):
    """The token holds no lease any more: it ran out, was released, or lost its right."""

    code = "lease_lost"
    status = 409


class DurableStopped(BusError):
    """A durable subscription stands still at an event that failed too often.

    Attributes:
        seq: That event's.
    """

    code = "durable_stopped"
    status = 409

    def __init__(self, message: str, *, seq: int) -> None:
        super().__init__(message, value=seq)
        self.seq = seq


# --- starting -------------------------------------------------------------------------------


class StartError(AntiphonError):
    """The server can't start. The text is one line for the person who tried."""
