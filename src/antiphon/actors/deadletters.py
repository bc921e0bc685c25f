"""Where messages go that nobody handled: a bounded ring, counters and a slow log."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

logger = logging.getLogger(__name__)

_QUIET_S = 60.0


class DeadLetterReason(StrEnum):
    """Why a message was not handled."""

    NOPROC = "noproc"
    STOPPED = "stopped"
    OVERFLOW = "overflow"
    EXPIRED = "expired"
    UNHANDLED = "unhandled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message (or event) that nobody handled.

    Attributes:
        target: The path it was for.
        sender: The task that sent it, by name, where known.
        error: What the handler raised, for FAILED.
    """

    message: Any
    reason: DeadLetterReason
    target: str
    sender: str | None = None
    error: BaseException | None = None


class DeadLetters:
    """The newest dead letters of a system, oldest first, and how many there were.

    Args:
        now: Monotonic seconds.
        report: Called with a letter and the number of its kind so far.
        keep: How many letters stay readable.

    Attributes:
        counts: By reason, since the system began.
    """

    def __init__(
        self,
        now: Callable[[], float],
        report: Callable[[DeadLetter, int], None],
        *,
        keep: int = 1000,
    ) -> None:
        self.counts: Counter[DeadLetterReason] = Counter()
        self._ring: deque[DeadLetter] = deque(maxlen=keep)
        self._now = now
        self._report = report
        self._quiet: dict[tuple[str, DeadLetterReason], tuple[float, int]] = {}

    def add(self, letter: DeadLetter) -> None:
        """Take one in; it is logged at most once a minute for each target and reason."""
        self.counts[letter.reason] += 1
        self._ring.append(letter)
        self._log(letter)
        self._report(letter, self.counts[letter.reason])

    def __iter__(self) -> Iterator[DeadLetter]:
        return iter(tuple(self._ring))

    def __len__(self) -> int:
        return self.counts.total()

    def _log(self, letter: DeadLetter) -> None:
        key = (letter.target, letter.reason)
        now = self._now()
        until, folded = self._quiet.get(key, (0.0, 0))
        if now < until:
            self._quiet[key] = (until, folded + 1)
            return
        if len(self._quiet) >= 1000:
            self._quiet = {k: v for k, v in self._quiet.items() if v[0] > now}
        self._quiet[key] = (now + _QUIET_S, 0)
        logger.warning(
            "dead letter (%s): %s for %s from %s%s",
            letter.reason,
            type(letter.message).__name__,
            letter.target,
            letter.sender or "outside",
            f", {folded} more of these before it" if folded else "",
        )
