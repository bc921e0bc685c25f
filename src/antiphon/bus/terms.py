"""What is agreed about a durable subscription, and what is kept of it. Pure.

What is kept is a position and the few events before it that are not settled yet; all
others before it are. The same facts as "the lowest unsettled event, and those settled
above it", in less room, and they tell which events were lost if some were trimmed.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias, TypedDict

import msgspec

from antiphon.errors import BadRequest, cut

OnExhausted: TypeAlias = Literal["park", "stop"]

MEMBERS = 256
"""Most members of a group at once."""
WINDOW_EVENTS = 10_000
WINDOW_BYTES = 16 * 1024 * 1024
TRIES = 1000

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class TermsAsked(TypedDict, total=False):
    """What a caller may ask of the terms; see ``check_terms``."""

    members: int
    window: int
    window_bytes: int
    tries: int
    on_exhausted: OnExhausted


class Terms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a durable subscription works.

    Attributes:
        members: Most holders at once; 1 makes it exclusive.
        window_events, window_bytes: Most events and bytes that one holder has in hand.
        tries: After so many failures an event is exhausted.
        on_exhausted: Then it goes to ``_sys.dlq.NAME``, or the subscription stops there.
    """

    members: int = 1
    window_events: int = 1000
    window_bytes: int = 1024 * 1024
    tries: int = 5
    on_exhausted: OnExhausted = "park"


class Stop(msgspec.Struct, frozen=True):
    """Where a subscription stands still, and why."""

    seq: int
    reason: str


class Kept(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What the store keeps of one durable subscription.

    Attributes:
        owner: The principal who made it.
        cursor: Everything up to it was read.
        unsettled: The seqs before it that are not settled, each with how often it failed.
        token: The last fencing token given; they only grow.
        used_us: When it last had a holder, microseconds since 1970.
        gap: Seqs between which events were trimmed unread; a holder is still to be told.
        told: Topics trimmed past the position, and up to which seq that was told, or is to
            be told by ``gap``.
        parked, lost: How many events went to its dead letters; how many were trimmed or
            removed before they were settled.
    """

    owner: str
    patterns: tuple[str, ...]
    terms: Terms
    cursor: str
    unsettled: dict[int, int] = msgspec.field(default_factory=dict)
    token: int = 0
    used_us: int = 0
    gap: tuple[int, int] | None = None
    told: dict[str, int] = msgspec.field(default_factory=dict)
    stop: Stop | None = None
    parked: int = 0
    lost: int = 0

    def miss(self, first: int, last: int) -> None:
        """Have a holder told that events from *first* to *last* are missing."""
        if self.gap is not None:
            first, last = min(first, self.gap[0]), max(last, self.gap[1])
        self.gap = (first, last)


def check_name(name: object) -> str:
    """Return *name* as the name of a durable subscription: one token of a topic.

    Raises:
        BadRequest: It is none.
    """
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    raise BadRequest(
        f"'{cut(name)}' names no durable subscription: 1 to 64 of A-Z, a-z, 0-9, '_' and '-'",
        value=name,
        limit=64,
    )


def check_seconds(name: str, seconds: float) -> float:
    """Return *seconds*, a time to wait.

    Raises:
        BadRequest: It is no number, or negative.
    """
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds >= 0:
        return seconds
    raise BadRequest(f"{name} is a number of seconds, got {cut(seconds)}", value=seconds)


def check_terms(
    base: Terms,
    *,
    members: int | None = None,
    window: int | None = None,
    window_bytes: int | None = None,
    tries: int | None = None,
    on_exhausted: OnExhausted | None = None,
) -> Terms:
    """*base*, with what is given in the place of what was.

    Raises:
        BadRequest: A number is out of its bounds, or a word unknown.
    """
    numbers = {
        "members": (members, MEMBERS),
        "window": (window, WINDOW_EVENTS),
        "window_bytes": (window_bytes, WINDOW_BYTES),
        "tries": (tries, TRIES),
    }
    for name, (number, most) in numbers.items():
        if number is not None and (type(number) is not int or not 1 <= number <= most):
            raise BadRequest(
                f"{name} must be from 1 to {most}, got {cut(number)}", value=number, limit=most
            )
    if on_exhausted not in (None, "park", "stop"):
        raise BadRequest(
            f"on_exhausted must be park or stop, got {cut(on_exhausted)}", value=on_exhausted
        )
    return Terms(
        members=base.members if members is None else members,
        window_events=base.window_events if window is None else window,
        window_bytes=base.window_bytes if window_bytes is None else window_bytes,
        tries=base.tries if tries is None else tries,
        on_exhausted=base.on_exhausted if on_exhausted is None else on_exhausted,
    )
