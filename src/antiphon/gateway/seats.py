"""How many connections a server keeps open at a time: WebSockets and event streams together.

A WebSocket has its seat before anybody knows whose it is. Whoever takes seats and never
says so must not keep out those who do: when all are taken, the one that has waited for its
``hello`` for longest goes.
"""

from __future__ import annotations

from collections.abc import Callable

from antiphon.errors import Overloaded

RETRY_MS = 1000


class Seat:
    """One of them."""


class Seats:
    """Counts them.

    Args:
        limit: Most at a time.
        going: Whether the server is shutting down: then none is given.

    Attributes:
        refused: How many were too many.
        cut: How many had to go for others before it was known whose they were.
    """

    def __init__(self, limit: int, going: Callable[[], bool]) -> None:
        self.limit = limit
        self.refused = 0
        self.cut = 0
        self._going = going
        self._taken: set[Seat] = set()
        self._strangers: dict[Seat, Callable[[], None]] = {}  # longest first

    @property
    def taken(self) -> int:
        """How many are open."""
        return len(self._taken)

    def take(self, cut: Callable[[], None] | None = None) -> Seat:
        """Let one more be open, until ``leave``.

        Args:
            cut: Ends a connection of which nobody knows yet whose it is; until ``keep`` it
                may be called, once.

        Raises:
            Overloaded: There are as many as may be, or the server is shutting down.
        """
        if self._going():
            raise Overloaded("the server is shutting down", retry_after_ms=RETRY_MS)
        if self.taken >= self.limit:
            self._make_room()
        seat = Seat()
        self._taken.add(seat)
        if cut is not None:
            self._strangers[seat] = cut
        return seat

    def keep(self, seat: Seat) -> None:
        """It is known now whose it is: it goes for nobody."""
        self._strangers.pop(seat, None)

    def leave(self, seat: Seat) -> None:
        """It is closed. Idempotent."""
        self._taken.discard(seat)
        self._strangers.pop(seat, None)

    def _make_room(self) -> None:
        if not self._strangers:
            self.refused += 1
            raise Overloaded(
                f"too many sockets are open: {self.taken}, at most {self.limit} are allowed",
                retry_after_ms=RETRY_MS,
                limit=self.limit,
            )
        longest, cut = next(iter(self._strangers.items()))
        self.leave(longest)
        self.cut += 1
        cut()
