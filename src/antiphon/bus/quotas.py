"""How much each principal may publish from outside: events and bytes a second, and topics.

Antiphon's own code and admins are bound by none of this, only by the room of the intake.
What is refused by a rate may come again in a moment; a topic too many may not.
Why topics are counted like this: ADR 16.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from antiphon.bus.access import ADMIN, SYSTEM, Principal
from antiphon.bus.allowance import Allowance
from antiphon.bus.event_rules import EVENT_BYTES
from antiphon.bus.log import Log
from antiphon.bus.store import StoreCorrupt, Stored, StoreReader, StoreUnavailable
from antiphon.errors import BadRequest, Overloaded

logger = logging.getLogger(__name__)

LEARN_STEP = 1000
"""Topics looked up at a time."""
TIDY_EVERY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What each principal may do.

    Attributes:
        events_per_s: Publishes, on average.
        events_at_once: Publishes after a while of none.
        bytes_per_s: Of these events as they are stored; four seconds' worth at once.
        topics: Topics that it may have made, of those that are there.
    """

    events_per_s: int = 500
    events_at_once: int = 2000
    bytes_per_s: int = 1024 * 1024
    topics: int = 10_000


class Quotas:
    """Keeps every principal within its quota.

    Args:
        log: Whose topics they make.
        now: Seconds of a clock that never goes back.

    Attributes:
        counters: Publishes refused, by what was too much.
    """

    def __init__(self, log: Log, quota: Quota, now: Callable[[], float] = time.monotonic) -> None:
        self.quota = quota
        self.counters = {"events": 0, "bytes": 0, "topics": 0}
        self._log = log
        self._now = now
        self._rates: dict[str, tuple[Allowance, Allowance]] = {}
        self._made: dict[str, dict[str, bool]] = {}  # by principal: topics, and if seen in the log
        self._tidy_at: dict[str, float] = {}

    # --- rates ----------------------------------------------------------------------------

    def charge(self, principal: Principal, size: int) -> None:
        """Count an event of *size* bytes that *principal* publishes.

        Raises:
            Overloaded: It comes too soon; nothing was counted.
        """
        if principal.access.admin:
            return
        now = self._now()
        events, data = self._rates.get(principal.name) or self._begin(principal.name, now)
        wait, refused = events.wait(1, now), "events"
        if not wait:
            wait, refused = data.wait(size, now), "bytes"
        if wait:
            raise self._too_fast(principal, refused, wait)
        events.take(1, now)
        data.take(size, now)

    def forget(self, name: str) -> None:
        """The principal is gone: its rates begin anew, should it come back."""
        self._rates.pop(name, None)

    def _begin(self, name: str, now: float) -> tuple[Allowance, Allowance]:
        quota = self.quota
        data = max(4 * quota.bytes_per_s, EVENT_BYTES)
        rates = (
            Allowance(quota.events_at_once, quota.events_per_s, now),
            Allowance(data, quota.bytes_per_s, now),
        )
        self._rates[name] = rates
        return rates

    def _too_fast(self, principal: Principal, what: str, wait: float) -> Overloaded:
        self.counters[what] += 1
        limit = self.quota.events_per_s if what == "events" else self.quota.bytes_per_s
        return Overloaded(
            f"{principal.name} publishes faster than {limit} {what} a second",
            retry_after_ms=math.ceil(wait * 1000),
            limit=limit,
        )

    # --- topics ---------------------------------------------------------------------------

    def check_topic(self, principal: Principal, topic: str) -> None:
        """Count *topic* if *principal* makes it by publishing to it now.

        Raises:
            BadRequest: It has made as many as it may.
        """
        if principal.access.admin or topic in self._log.topics:
            return
        made = self._made.setdefault(principal.name, {})
        if topic in made:
            return
        if len(made) >= self.quota.topics:
            self._tidy(principal.name, made)
        if len(made) >= self.quota.topics:
            self.counters["topics"] += 1
            raise BadRequest(
                f"{principal.name} has made {len(made)} topics, {topic} would be one too many:"
                f" at most {self.quota.topics} of one token are kept",
                value=topic,
                limit=self.quota.topics,
            )
        made[topic] = False

    async def learn(self) -> None:
        """Find out who made the topics that are in the log: who published their first event."""
        firsts = [state.first_seq for state in self._log.topics.values() if state.count]
        try:
            for seqs in _steps(sorted(firsts)):
                self._learn(await self._log.pages.run(_getter(seqs)))
        except (StoreUnavailable, StoreCorrupt) as error:
            logger.warning("who made which topics is not known: %s", error)

    def _learn(self, rows: list[Stored]) -> None:
        for row in rows:
            name = _decode(row.data).principal
            if name not in (SYSTEM.name, ADMIN.name):
                self._made.setdefault(name, {})[row.topic] = True

    def _tidy(self, name: str, made: dict[str, bool]) -> None:
        """Leave out what is gone, or never came to be; not what may still be on its way."""
        now = self._now()
        if now < self._tidy_at.get(name, now):
            return
        self._tidy_at[name] = now + TIDY_EVERY_S
        at_rest = self._log.waiting == 0
        for topic, seen in list(made.items()):
            if topic in self._log.topics:
                made[topic] = True
            elif seen or at_rest:
                del made[topic]


class _Maker(msgspec.Struct, frozen=True):
    principal: str


_decode = msgspec.json.Decoder(_Maker).decode


def _steps(seqs: list[int]) -> Iterator[list[int]]:
    return (seqs[at : at + LEARN_STEP] for at in range(0, len(seqs), LEARN_STEP))


def _getter(seqs: list[int]) -> Callable[[StoreReader], list[Stored]]:
    return lambda reader: reader.get(seqs)
