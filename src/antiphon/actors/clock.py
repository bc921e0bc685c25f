"""The clock that everything in a system asks, so that tests can hold it.

Leaves out the manual clock (``antiphon.testing.clock``). The one place that
does not ask it is the cell's giving way after 5 ms: that is about real time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol


class TimerHandle(Protocol):
    """A callback that has been put off."""

    def cancel(self) -> None:
        """Never run it; no-op if it has run."""
        ...


class Clock(Protocol):
    """Monotonic seconds, and callbacks by them."""

    def now(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        ...

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> TimerHandle:
        """Run *callback* in *delay* seconds, on the loop."""
        ...


class RealClock:
    """The running loop's own clock."""

    now = staticmethod(time.monotonic)

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> TimerHandle:
        return asyncio.get_running_loop().call_later(delay, callback, *args)
