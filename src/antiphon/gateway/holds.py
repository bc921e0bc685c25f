"""Who is connected by which token, so that they hear of its end at once, however it comes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from antiphon.bus import Principal
from antiphon.errors import Overloaded

LOOK_S = 3600.0
"""At least so often the wall clock is asked whether a token has expired: it may jump."""
RETRY_MS = 1000

Ended: TypeAlias = Callable[[str], None]
"""Told why."""


class HasPrincipal(Protocol):
    """Whatever knows whose a token is at present."""

    @property
    def principal(self) -> Principal: ...


@dataclass(frozen=True, slots=True)
class Pass:
    """One token in use.

    Attributes:
        id: The token's; never the token.
        owner: Has the name and its rights, as they change.
        expires: Seconds since 1970.
    """

    id: str
    owner: HasPrincipal
    expires: float | None = None

    @property
    def principal(self) -> Principal:
        """Whose it is, with the rights of now."""
        return self.owner.principal


@dataclass(slots=True, eq=False)
class _Hold:
    passed: Pass
    ended: Ended
    expires: float | None
    timer: asyncio.TimerHandle | None = field(default=None, repr=False)


class Holds:
    """Every connection that is open by a token.

    Args:
        most: For each name but an admin's.
        now: Seconds since 1970.

    Attributes:
        refused: Connections that were too many.
    """

    def __init__(self, most: int, now: Callable[[], float]) -> None:
        self.most = most
        self.refused = 0
        self._now = now
        self._by_id: dict[str, dict[_Hold, None]] = {}
        self._counts: Counter[str] = Counter()

    def count(self, name: str) -> int:
        """How many *name* has."""
        return self._counts[name]

    def add(self, passed: Pass, ended: Ended, *, spare: int = 0) -> Callable[[], None]:
        """Let *ended* be called once, in the loop, when the token ends; returns what undoes this.

        Args:
            spare: Connections of this name that are given up right after this.

        Raises:
            Overloaded: The name has as many connections as it may.
        """
        name, access = passed.principal.name, passed.principal.access
        if not access.admin and self._counts[name] - spare >= self.most:
            self.refused += 1
            raise Overloaded(
                f"{name} has {self._counts[name]} connections, at most {self.most} are allowed",
                retry_after_ms=RETRY_MS,
                limit=self.most,
            )
        hold = _Hold(passed, ended, passed.expires)
        self._by_id.setdefault(passed.id, {})[hold] = None
        self._counts[name] += 1
        self._watch(hold)
        return lambda: self._drop(hold)

    def end(self, ids: Iterable[str], why: str) -> int:
        """These tokens open nothing any more; how many connections that ended."""
        ending = [hold for id in ids for hold in self._by_id.get(id, ())]
        for hold in ending:
            self._end(hold, why)
        return len(ending)

    def expire(self, id: str, at: float) -> None:
        """This token's end is known now."""
        for hold in list(self._by_id.get(id, ())):
            if hold.timer is not None:
                hold.timer.cancel()
            hold.expires = at
            self._watch(hold)

    def _end(self, hold: _Hold, why: str) -> None:
        self._drop(hold)
        hold.ended(why)

    def _watch(self, hold: _Hold) -> None:
        if hold.expires is None:
            return
        left = min(LOOK_S, max(0.0, hold.expires - self._now()))
        hold.timer = asyncio.get_running_loop().call_later(left, self._look, hold)

    def _look(self, hold: _Hold) -> None:
        if hold.expires is not None and hold.expires <= self._now():
            self._end(hold, "the token has expired")
        else:
            self._watch(hold)

    def _drop(self, hold: _Hold) -> None:
        mine = self._by_id.get(hold.passed.id, {})
        if mine.pop(hold, hold) is hold:
            return
        if not mine:
            del self._by_id[hold.passed.id]
        name = hold.passed.principal.name
        self._counts[name] -= 1
        if not self._counts[name]:
            del self._counts[name]
        if hold.timer is not None:
            hold.timer.cancel()
