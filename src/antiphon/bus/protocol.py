"""What the two actors of the bus are asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from antiphon.actors import ActorRef, Key, Request
from antiphon.bus.access import Principal
from antiphon.bus.ephemeral import EphemeralPolicy
from antiphon.bus.terms import Terms, check_terms


@dataclass(frozen=True, slots=True)
class Subscribe(Request[str]):
    """Attach the events of *patterns*, already checked, to *ref*; answers with the sid.

    Attributes:
        durable: The name of a durable subscription to hold; None: an ordinary one.
        terms: What is wanted of that one's terms, from what they are.
    """

    ref: ActorRef[Any]
    sid: str
    patterns: tuple[str, ...]
    start: str | int
    principal: Principal
    ephemeral: EphemeralPolicy = "drop_oldest"
    durable: str | None = None
    terms: Callable[[Terms], Terms] = check_terms


@dataclass(frozen=True, slots=True)
class Unsubscribe(Request[bool]):
    """Detach one subscription of *ref*; answers whether it was there."""

    ref: ActorRef[Any]
    sid: str


BusMessage: TypeAlias = Subscribe | Unsubscribe
BUS: Key[BusMessage] = Key("log/bus")


@dataclass(frozen=True, slots=True)
class WriterCrashed:
    """A bug ended the writer's work; the store's owner fails with it and is restarted."""

    bug: BaseException


StoreMessage: TypeAlias = WriterCrashed
STORE: Key[StoreMessage] = Key("log/store")
