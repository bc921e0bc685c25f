"""Tells people what is wrong, without repeating itself."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

AGAIN_S = 60.0


class Problems:
    """Passes one-line texts on, for each subject once a minute at most.

    Args:
        tell: Called with the text.
    """

    def __init__(
        self, tell: Callable[[str], None], *, clock: Callable[[], float] = monotonic
    ) -> None:
        self._tell = tell
        self._clock = clock
        self._told: dict[str, float] = {}

    def report(self, subject: str, text: str) -> None:
        """Tell *text*, unless *subject* was told of a short while ago."""
        now = self._clock()
        if now - self._told.get(subject, -AGAIN_S) >= AGAIN_S:
            self._told[subject] = now
            self._tell(text)

    def over(self, subject: str) -> None:
        """What was wrong with *subject* is not any more: it may be told at once again."""
        self._told.pop(subject, None)
