"""When a person is to be warned that something fills up: once for each crossing. Pure."""

from __future__ import annotations

from collections.abc import Hashable

WARN_AT = 0.8
CALM_AT = 0.75
"""Below this a warning may come again; between the two nothing changes."""


class Alarms:
    """Remembers which shares have crossed the line."""

    def __init__(self) -> None:
        self._on: set[Hashable] = set()

    def crossed(self, name: Hashable, share: float) -> bool:
        """Whether *name* has just come to 80 %."""
        if share < CALM_AT:
            self._on.discard(name)
        elif share >= WARN_AT and name not in self._on:
            self._on.add(name)
            return True
        return False
