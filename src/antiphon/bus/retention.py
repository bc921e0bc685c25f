"""How long events stay: policies, which one a topic has, and what is to go. Pure.

The limits of a policy count for all its topics together, so that they are a bound
whatever topics come. What is removed is always the oldest of them. Carrying it out is
``janitor.py``'s.

Promises: docs/semantics/retention.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from antiphon.bus.topics import ONE, Shape, check_pattern, matches, shape
from antiphon.bus.units import LARGEST, parse_duration, parse_size, show_duration, show_size
from antiphon.errors import BadRequest, BusError, cut

DAY_S = 86_400.0
GIB = 1024**3
TOPICS_KEPT = 100_000

Reason: TypeAlias = Literal["age", "count", "bytes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How long the events of the topics of one pattern stay; None: no limit of that kind.

    Args:
        pattern: The topics, except those for which another policy is more specific.
        max_age_s: Seconds since an event was recorded.
        max_count: Events of all these topics together.
        max_bytes: Their JSON's, all together.
        compact_by_key: Of each topic, only the newest event of each ``key`` stays; those
            without a key stay too.
        hold_bytes: Events that a durable subscription still needs stay while the policy's
            events take at most ``max_bytes`` and this much more (without ``max_bytes``:
            this much). 0: they go like the rest.

    Raises:
        InvalidPattern, BadRequest: One is no pattern, or not a number in its bounds.
    """

    pattern: str
    max_age_s: float | None = None
    max_count: int | None = None
    max_bytes: int | None = None
    compact_by_key: bool = False
    hold_bytes: int = 0

    def __post_init__(self) -> None:
        check_pattern(self.pattern)
        self._check("max_age_s", self.max_age_s, least=1, kinds=(int, float))
        self._check("max_count", self.max_count, least=1, kinds=(int,))
        self._check("max_bytes", self.max_bytes, least=1, kinds=(int,))
        self._check("hold_bytes", self.hold_bytes, least=0, kinds=(int,))
        if not isinstance(self.compact_by_key, bool):
            raise self._bad("compact_by_key", "true or false", self.compact_by_key)

    @property
    def hold_until_bytes(self) -> int:
        """Past this size nothing is held any more."""
        return (self.max_bytes or 0) + self.hold_bytes

    def _check(self, name: str, value: object, *, least: int, kinds: tuple[type, ...]) -> None:
        optional = value is None and name != "hold_bytes"
        if optional or (type(value) in kinds and least <= value <= LARGEST):  # type: ignore[operator]
            return
        raise self._bad(name, f"a number from {least} to 2^53", value)

    def _bad(self, name: str, rule: str, value: object) -> BadRequest:
        return BadRequest(
            f"{name} of policy {self.pattern} must be {rule}, got {cut(value)}", value=value
        )


DEFAULTS = (
    Policy(pattern="*", max_age_s=7 * DAY_S, max_bytes=2 * GIB, hold_bytes=GIB),
    Policy(pattern="chat.*", max_age_s=90 * DAY_S, hold_bytes=GIB),
    Policy(pattern="terminal.*", max_age_s=DAY_S, max_bytes=GIB // 4),
    Policy(pattern="_sys.*", max_age_s=30 * DAY_S),
)
"""What holds where nothing else was said; a policy of the same pattern takes its place."""


class Policies:
    """All policies of one log, and which one each topic has.

    The most specific wins: of two that match, compared token by token from the left, the
    one with the literal token where the other has a wildcard; then the one with a wildcard
    for one token where the other has that for several. A topic that none matches stays.

    Args:
        given: Beside, or in place of, those of *defaults* with the same patterns.

    Raises:
        BadRequest: Two are for the same topics.
    """

    def __init__(
        self, given: Iterable[Policy] = (), *, defaults: Iterable[Policy] = DEFAULTS
    ) -> None:
        by_shape: dict[Shape, Policy] = {}
        for policy in given:
            other = by_shape.setdefault(shape(policy.pattern), policy)
            if other is not policy:
                raise BadRequest(
                    f"two policies for the same topics: {other.pattern} and {policy.pattern}",
                    value=policy.pattern,
                )
        for policy in defaults:
            by_shape.setdefault(shape(policy.pattern), policy)
        self.all = tuple(sorted(by_shape.values(), key=lambda policy: _rank(policy.pattern)))
        self._of: dict[str, Policy | None] = {}

    def of(self, topic: str) -> Policy | None:
        """The policy of *topic*; None if it has none."""
        try:
            return self._of[topic]
        except KeyError:
            if len(self._of) >= TOPICS_KEPT:
                self._of.clear()
            found = next((p for p in self.all if matches(p.pattern, topic)), None)
            self._of[topic] = found
            return found


def _rank(pattern: str) -> tuple[tuple[int, str], ...]:
    """Sorts the more specific of two patterns that match the same topic first."""
    tokens, tail = shape(pattern)
    ranks = [(1, "") if token == ONE else (0, token) for token in tokens]
    return (*ranks, (2, "")) if tail else tuple(ranks)


class Total(NamedTuple):
    """What the topics of one policy hold together."""

    events: int
    size_bytes: int


class Cut(NamedTuple):
    """What is to go from one policy's topics: their oldest events, within these bounds.

    Attributes:
        upto: No event after this seq.
        events: So many at most; None for no bound.
        size_bytes: No further event once so many bytes are gone; None for no bound.
        holding: Events that a durable subscription needs stay, the next oldest go.
    """

    reason: Reason
    upto: int
    events: int | None
    size_bytes: int | None
    holding: bool


def plan(policy: Policy, total: Total, *, expired: int, head: int) -> list[Cut]:
    """What *policy* wants gone now: make the first cut, and plan again if it removed anything.

    Args:
        expired: The highest seq that is older than ``max_age_s``; 0 if none is, or if the
            clock can't be trusted.
    """
    cuts: list[Cut] = []
    over = total.size_bytes - policy.hold_until_bytes if policy.hold_bytes else 0
    holding = policy.hold_bytes > 0 and over <= 0
    most = over if over > 0 else None  # past the cap just as much goes as is over it

    def add(reason: Reason, upto: int, events: int | None, size: int | None) -> None:
        sizes = [bound for bound in (size, most) if bound is not None]
        cuts.append(Cut(reason, upto, events, min(sizes, default=None), holding))

    if policy.max_age_s is not None and expired:
        add("age", expired, None, None)
    if policy.max_count is not None and total.events > policy.max_count:
        add("count", head, total.events - policy.max_count, None)
    if policy.max_bytes is not None and total.size_bytes > policy.max_bytes:
        add("bytes", head, None, total.size_bytes - policy.max_bytes)
    return cuts


# --- policies as people write them ----------------------------------------------------------

_READ: Mapping[str, tuple[str, Any]] = {
    "max_age": ("max_age_s", parse_duration),
    "max_count": ("max_count", lambda value: value),
    "max_bytes": ("max_bytes", parse_size),
    "compact_by_key": ("compact_by_key", lambda value: value),
    "hold_for_durable": ("hold_bytes", parse_size),
}


def read_policies(settings: Mapping[str, Any]) -> list[Policy]:
    """Policies from a settings file: by pattern, with units: ``max_age = "7d"``.

    Raises:
        BusError: A pattern, a name or a value breaks a rule; the text says which.
    """
    return [_read_policy(pattern, values) for pattern, values in settings.items()]


def _read_policy(pattern: str, values: object) -> Policy:
    if not isinstance(values, Mapping):
        raise BadRequest(f"policy {cut(pattern)} must be a table, got {cut(values)}", value=values)
    given: dict[str, Any] = {}
    for name, value in values.items():
        if name not in _READ:
            raise BadRequest(
                f"policy {cut(pattern)} has no {cut(name)}: it has {', '.join(_READ)}", value=name
            )
        field, read = _READ[name]
        try:
            given[field] = read(value)
        except BusError as error:
            raise BadRequest(f"{name} of policy {cut(pattern)}: {error}", value=value) from None
    return Policy(pattern=pattern, **given)


def show_policy(policy: Policy) -> str:
    """The limits of a policy in one line: ``7d or 2GiB, hold 1GiB``."""
    limits = []
    if policy.max_age_s is not None:
        limits.append(show_duration(policy.max_age_s))
    if policy.max_count is not None:
        limits.append(f"{policy.max_count} events")
    if policy.max_bytes is not None:
        limits.append(show_size(policy.max_bytes))
    parts = [" or ".join(limits) or "forever"]
    if policy.compact_by_key:
        parts.append("newest by key")
    if policy.hold_bytes:
        parts.append(f"hold {show_size(policy.hold_bytes)}")
    return ", ".join(parts)
