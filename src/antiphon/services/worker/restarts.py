"""Whether and when a command is started again. Pure; seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FIRST_DELAY = 1.0
LONGEST_DELAY = 60.0
HEALTHY_AFTER = 60.0

Restart = Literal["never", "on-failure", "always"]


@dataclass(slots=True)
class RestartPolicy:
    """Decides after each run; waits 1 s, 2 s, 4 s … 60 s, and from 1 s again after a good run.

    A run is good when it lasted at least 60 s. There is no last attempt. A command that
    could not even be started the first time is not tried again: that is a typing error.
    """

    restart: Restart
    failures: int = 0

    def next_delay(self, *, failed: bool, ran_s: float, never_ran: bool = False) -> float | None:
        """Seconds to wait before the next start; None: that was the last run."""
        if self.restart == "never" or never_ran or (self.restart == "on-failure" and not failed):
            return None
        if ran_s >= HEALTHY_AFTER:
            self.failures = 0
        delay = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(self.failures, 16))
        self.failures += 1
        return delay
