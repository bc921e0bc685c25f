"""What the two actors of the bus are asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from antiphon.actors import ActorRef, Key, Request
from antiphon.bus.access import Principal
from antiphon.bus.ephemeral import EphemeralPolicy


@dataclass(frozen=True, slots=True)
class Subscribe(Request[str]):
    """Attach the events of *patterns*, already checked, to *ref*; answers with the sid."""

    ref: ActorRef[Any]
    sid: str
    patterns: tuple[str, ...]
    start: str | int
    principal: Principal
    ephemeral: EphemeralPolicy = "drop_oldest"


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
