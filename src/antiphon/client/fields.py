"""What may be said beside topic and payload, for type checkers."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypedDict


class EventFields(TypedDict, total=False):
    """More fields of an event; see ``EventIn``."""

    id: str
    type: str
    source: str
    time: datetime
    correlation_id: str
    causation_id: str
    key: str
    headers: dict[str, str]
    expect_last_seq: int


class HoldFields(TypedDict, total=False):
    """How a durable subscription is held; see ``Sub``."""

    durable: str
    group: str
    member: str
    tries: int
    on_exhausted: Literal["park", "stop"]
