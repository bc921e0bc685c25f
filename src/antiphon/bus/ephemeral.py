"""What waits of the ephemeral events of one subscription. Pure, bounded.

Two policies: ``drop_oldest`` keeps the newest events, ``conflate`` only the newest of each
topic. Events without a place are dropped and counted, never waited for.

Promises: docs/semantics/bus.md#subscribing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

from antiphon.bus.batch import View
from antiphon.errors import BadRequest, cut

EphemeralPolicy: TypeAlias = Literal["drop_oldest", "conflate"]
POLICIES: tuple[EphemeralPolicy, ...] = get_args(EphemeralPolicy)
EPHEMERAL_QUEUE = 256


class EphemeralQueue:
    """Holds views of one event each, in order; of one topic in its publisher's order.

    Under ``conflate`` a newer event takes the place of its topic's older one, so a busy
    topic neither waits longer for that nor pushes others out.

    Attributes:
        dropped: For want of room, in all.
        replaced: By a newer one of the same topic, in all.

    Raises:
        BadRequest: *policy* is none.
    """

    def __init__(
        self, policy: EphemeralPolicy = "drop_oldest", capacity: int = EPHEMERAL_QUEUE
    ) -> None:
        if policy not in POLICIES:
            known = " or ".join(POLICIES)
            raise BadRequest(
                f"ephemeral events are treated by {known}, not by {cut(policy)}", value=policy
            )
        self.policy = policy
        self.capacity = capacity
        self.dropped = 0
        self.replaced = 0
        self._waiting: dict[object, View] = {}
        self._count = 0
        self._lag = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, topic: str, view: View) -> None:
        """Add the newest event; the oldest makes room if need be."""
        key: object = topic
        if self.policy == "drop_oldest":
            self._count += 1
            key = self._count
        elif topic in self._waiting:
            self.replaced += 1
        if key not in self._waiting and len(self._waiting) >= self.capacity:
            del self._waiting[next(iter(self._waiting))]
            self.dropped += 1
            self._lag += 1
        self._waiting[key] = view

    def take(self) -> View:
        """Remove the oldest and return it."""
        return self._waiting.pop(next(iter(self._waiting)))

    def look_again(self, see: Callable[[View], View | None]) -> None:
        """Put what *see* makes of each in its place; None takes it out."""
        seen = {key: see(view) for key, view in self._waiting.items()}
        self._waiting = {key: view for key, view in seen.items() if view is not None}

    def take_lag(self) -> int:
        """How many were dropped since this was last asked."""
        lag, self._lag = self._lag, 0
        return lag

    def clear(self) -> None:
        """Let go of everything."""
        self._waiting.clear()
