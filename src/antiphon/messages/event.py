"""The event, as it is stored and as it crosses every wire, and what publishing answers.

CloudEvents 1.0 names map one to one: id, type, time, data=payload,
subject=topic, sequence=seq.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, TypeAlias

import msgspec


class EventType(StrEnum):
    """The names of types that Antiphon itself uses; any other text is allowed too."""

    WORKER_SPAWNED = "worker_spawned"
    WORKER_PROGRESS = "worker_progress"
    WORKER_COMPLETE = "worker_complete"
    WORKER_FAILED = "worker_failed"
    WORKER_CANCELLED = "worker_cancelled"
    FINDING_NEW = "finding_new"
    FINDING_UPDATED = "finding_updated"
    CHAT_MESSAGE = "chat_message"
    CHAT_TYPING = "chat_typing"
    FILE_CHANGED = "file_changed"
    FILE_CREATED = "file_created"
    FILE_DELETED = "file_deleted"
    USER_INPUT = "user_input"
    USER_COMMAND = "user_command"
    SYSTEM_HEARTBEAT = "system_heartbeat"
    SYSTEM_ERROR = "system_error"
    CUSTOM_EVENT = "custom.event"

    @staticmethod
    def custom(name: str) -> str:
        """Make the type of somebody's own events: ``custom.NAME``."""
        return f"custom.{name}"


Level: TypeAlias = Literal["synced", "committed", "none"]
"""What a publisher waits for. ``synced`` and ``committed`` both mean: on disk, fsynced."""


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One event.

    Attributes:
        seq: Position in the log, from 1; None for an ephemeral event.
        id: 1 to 64 printable ASCII characters.
        topic: Where it was published.
        type: What kind it is.
        source: Who says so, a URI reference.
        principal: Who published it, as the server knows them.
        time: When it happened, by the publisher's clock, UTC.
        recorded: When it was stored, by the log's clock, UTC; never goes back.
        payload: Any JSON.
        correlation_id: The piece of work it belongs to.
        causation_id: The id of the event that led to it.
        key: What it is about, for compaction and partitioning.
        headers: Short texts for tools along the way.

    The garbage collector doesn't follow events (``gc=False``): they hold JSON, which has no
    cycles, and a ring full of them would make each full collection a pause of 50 ms.
    """

    seq: int | None = None
    id: str
    topic: str
    type: str
    source: str
    principal: str
    time: datetime
    recorded: datetime | None = None
    payload: Any
    correlation_id: str | None = None
    causation_id: str | None = None
    key: str | None = None
    headers: dict[str, str] | None = None


class EventIn(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """An event as a publisher hands it in; ``topic`` alone is enough.

    Attributes:
        id: Given: the publish is idempotent. Absent: the server makes one.
        expect_last_seq: Store it only if the topic's last seq is this; 0: if the topic
            never had an event.
    """

    topic: str
    payload: Any = None
    id: str | None = None
    type: str = "custom.event"
    source: str | None = None
    time: datetime | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    key: str | None = None
    headers: dict[str, str] | None = None
    expect_last_seq: int | None = None


class Published(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event was taken.

    Attributes:
        seq, cursor: Its position; None at level ``none`` and for ephemeral events.
        duplicate: The same event had been taken before; seq is that one's.
        level: What was reached.
    """

    id: str
    seq: int | None
    cursor: str | None = None
    duplicate: bool = False
    level: Level = "synced"


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why one event was refused.

    Attributes:
        last_seq: Of the topic, for ``wrong_expected_seq``.
    """

    code: str
    message: str
    value: str | None = None
    limit: int | None = None
    retry_after_ms: int | None = None
    last_seq: int | None = None


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """One event of several was refused; the others were not touched by that."""

    id: str | None
    error: Fault
