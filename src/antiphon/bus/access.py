"""Who may see what: decided here, purely; enforced wherever a topic or a pattern enters.

Leaves out tokens, which are the gateway's; a token only names an ``Access``.

Promises: docs/semantics/topics.md#access.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import quote

from antiphon.bus.topics import check_pattern, covers, intersect, is_reserved, matches
from antiphon.errors import InvalidPattern, cut


@dataclass(frozen=True, slots=True)
class Access:
    """What a principal may publish and see, as patterns.

    Args:
        pub: Topics that may be published to.
        sub: Topics that may be seen.
        deny: Topics that may be neither, whatever the other two say.
        reserved: May publish to reserved topics (``_…``) that *pub* names: Antiphon's own
            code only, never a token.
        admin: May administer as well: forget, schemas, everybody's durable subscriptions. That
            is never read off the patterns: who sees everything need not be in charge.

    Raises:
        InvalidPattern: One is no pattern, or *pub* names reserved topics without the right.
        ValueError: An admin is kept from something.
    """

    pub: tuple[str, ...] = ()
    sub: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    reserved: bool = False
    admin: bool = False

    def __post_init__(self) -> None:
        for name in ("pub", "sub", "deny"):
            patterns = tuple(check_pattern(pattern) for pattern in getattr(self, name))
            object.__setattr__(self, name, patterns)
        for pattern in self.pub:
            if is_reserved(pattern) and not self.reserved:
                raise InvalidPattern(
                    f"'{pattern}' can't be granted: reserved topics are written by Antiphon alone",
                    value=pattern,
                )
        if self.admin and not self._is_whole:
            raise ValueError("an admin is kept from nothing: pub *, sub * and _sys.*, deny nothing")

    def may_publish(self, topic: str) -> bool:
        """Whether events may be published to *topic*."""
        return _any_matches(self.pub, topic) and not _any_matches(self.deny, topic)

    def why_not_publish(self, topic: str) -> str:
        """The rule by which ``may_publish`` says no, for who reads the refusal."""
        if is_reserved(topic):
            return "reserved topics are written by Antiphon alone"
        if denied := [pattern for pattern in self.deny if matches(pattern, topic)]:
            return f"{denied[0]} is denied"
        return f"only to {cut(', '.join(self.pub))}" if self.pub else "to no topic at all"

    def may_subscribe(self, pattern: str) -> bool:
        """Whether one of ``sub`` covers *pattern*, and no denial covers all of it.

        Topics of *pattern* that are denied one by one are left out by ``may_see``.
        """
        return _any_covers(self.sub, pattern) and not _any_covers(self.deny, pattern)

    def may_hold(self, pattern: str) -> bool:
        """Whether every topic of *pattern* may be seen, those to come too.

        A durable subscription needs that: what it is not shown would count as settled.
        """
        return _any_covers(self.sub, pattern) and not any(
            intersect(denied, pattern) for denied in self.deny
        )

    def may_see(self, topic: str) -> bool:
        """Whether events of *topic* may be seen, live or later, and that it exists."""
        return _any_matches(self.sub, topic) and not _any_matches(self.deny, topic)

    @property
    def _is_whole(self) -> bool:
        sees_all = all(_any_covers(self.sub, pattern) for pattern in ("*", "_sys.*"))
        return sees_all and _any_covers(self.pub, "*") and not self.deny

    def narrow(self, patterns: Iterable[str]) -> list[str]:
        """What *patterns* and ``sub`` have in common, none covered by another, sorted.

        Every one of them passes ``may_subscribe``.
        """
        met = {
            pattern
            for wanted in patterns
            for allowed in self.sub
            for pattern in intersect(wanted, allowed)
            if not _any_covers(self.deny, pattern)
        }
        kept: list[str] = []
        for pattern in sorted(met):
            if not _any_covers(kept, pattern):
                kept = [other for other in kept if not covers(pattern, other)]
                kept.append(pattern)
        return kept


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who publishes and subscribes, and how far they reach.

    Attributes:
        name: Recorded with each event: ``system``, or a token's name.
        roles: What it may do apart from topics: ``worker``, ``terminal``.
        source: The ``source`` of their events that give none: ``/clients/NAME``.
    """

    name: str
    access: Access
    roles: frozenset[str] = frozenset()
    source: str = field(init=False, compare=False)
    _hash: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", f"/clients/{quote(self.name, safe=':@')}")
        object.__setattr__(self, "_hash", hash((self.name, self.access)))

    def __hash__(self) -> int:
        return self._hash  # kept, since every publish looks its principal up


def _any_matches(patterns: Iterable[str], topic: str) -> bool:
    return any(matches(pattern, topic) for pattern in patterns)


def _any_covers(patterns: Iterable[str], pattern: str) -> bool:
    return any(covers(wide, pattern) for wide in patterns)


ADMIN = Principal("admin", Access(pub=("*",), sub=("*", "_sys.*"), admin=True))
"""The person whose token made this log: everything but writing reserved topics."""

SYSTEM = Principal(
    "system", Access(pub=("*", "_sys.*"), sub=("*", "_sys.*"), reserved=True, admin=True)
)
"""The program, its actors and Antiphon's own code."""
