"""How many connections a server keeps open at a time: WebSockets and event streams together."""

from __future__ import annotations

from collections.abc import Callable

from antiphon.errors import Overloaded

RETRY_MS = 1000


class Seats:
    """Counts them.

    Args:
        limit: Most at a time.
        going: Whether the server is shutting down: then none is given.

    Attributes:
        taken: How many are open.
        refused: How many were too many.
    """

    def __init__(self, limit: int, going: Callable[[], bool]) -> None:
        self.limit = limit
        self.taken = 0
        self.refused = 0
        self._going = going

    def take(self) -> None:
        """Let one more be open, until ``leave``.

        Raises:
            Overloaded: There are as many as may be, or the server is shutting down.
        """
        if self._going():
            raise Overloaded("the server is shutting down", retry_after_ms=RETRY_MS)
        if self.taken >= self.limit:
            self.refused += 1
            raise Overloaded(
                f"too many sockets are open: {self.taken}, at most {self.limit} are allowed",
                retry_after_ms=RETRY_MS,
                limit=self.limit,
            )
        self.taken += 1

    def leave(self) -> None:
        """It is closed."""
        self.taken -= 1
