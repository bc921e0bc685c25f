"""Following events from a plain thread, as the server wrote them, and how the connection stands.

For who passes events on, byte by byte; ``connect_sync`` is for who works with them. Both
go by the same session (``session.py``): each stored event arrives once and in order, over
lost connections and restarts of the server, or a notice says what is missing.
"""

from __future__ import annotations

from asyncio import Event as Flag
from collections.abc import Callable, Sequence
from typing import NamedTuple, Self, TypeAlias

from antiphon.client.endpoint import Endpoint
from antiphon.client.following import Following, TailNotice
from antiphon.client.frames import RawEv
from antiphon.client.plain import PlainBus
from antiphon.client.remote import RemoteBus
from antiphon.errors import BusError, SubscriptionGap, SubscriptionReset
from antiphon.messages import StartWord

__all__ = ["Batch", "Item", "Tail", "TailNotice"]

SID = "tail"
MOST_PAUSE_S = 1.0
"""Between two connects: somebody is watching."""


class Batch(NamedTuple):
    """Events as the server wrote them, and the position after them."""

    events: list[bytes]
    cursor: str


Item: TypeAlias = Batch | TailNotice


class Tail:
    """Yields batches and notices, for ever; one reader.

    ``KeyboardInterrupt`` may end the waiting for an item: nothing is lost by it, and iterating
    may go on.

    Args:
        find: Says where the server is, asked at every connect: it may have moved.
        patterns: What to follow; at least one.
        start: Where to begin when *after* is None: ``now``, ``earliest`` or ``last``.
        after: A cursor or a bare seq to go on from.
        window: Most events that the server sends ahead of the reader.

    Raises:
        NoServer: While iterating, if the very first connect fails; later ones are repeated.
        BusError: While iterating: the server refused, and to ask again would not help.
    """

    def __init__(
        self,
        find: Callable[[], Endpoint],
        patterns: Sequence[str],
        *,
        start: StartWord = "now",
        after: str | int | None = None,
        window: int = 1000,
    ) -> None:
        self._find = find
        self._following = Following(
            SID, tuple(patterns), start=start, after=after, tells=True, window=window
        )
        self._plain: PlainBus | None = None
        self._remote: RemoteBus
        self._ready: Flag
        self._taken: Item | None = None
        self._reading: RawEv | None = None
        self._connection = 0
        self._before: str | None = None

    @property
    def cursor(self) -> str | None:
        """The position after what the reader has consumed; None before the first connect."""
        return self._before if self._reading is not None else self._position

    @property
    def _position(self) -> str | None:
        after = self._following.after
        return after if self._following.has_begun and isinstance(after, str) else None

    def close(self) -> None:
        """Close the connection. Idempotent."""
        plain, self._plain = self._plain, None
        if plain is not None:
            plain.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Item:
        if self._plain is None:
            self._plain = self._open()
        self._plain._call(self._take())
        item, self._taken = self._taken, None
        assert item is not None
        return item

    def _open(self) -> PlainBus:
        def make() -> RemoteBus:
            self._remote = RemoteBus(self._find, most_pause=MOST_PAUSE_S)
            return self._remote

        plain = PlainBus(make).__enter__()
        plain._call(self._follow())
        return plain

    # --- in the loop ------------------------------------------------------------------------

    async def _follow(self) -> None:
        self._ready = self._remote._follow(self._following)

    async def _take(self) -> None:
        """Wait for an item and lay it down: one that came while Ctrl-C did is the next one's."""
        if self._taken is not None:
            return
        self._consumed()
        while self._taken is None:
            self._ready.clear()
            self._before = self._position
            found = self._following.take()
            if found is None:
                await self._ready.wait()
            elif isinstance(found, RawEv):
                self._reading, self._connection = found, self._following.connection
                self._taken = Batch([bytes(raw) for raw in found.events], found.cursor)
            else:
                self._taken = _told(found)

    def _consumed(self) -> None:
        """The reader is back, so it has consumed the last batch: only now does it count."""
        if self._reading is not None:
            frame = self._following.read(self._reading, self._connection)
            self._reading = None
            self._remote._handled(self._following, frame)


def _told(found: BusError | TailNotice) -> TailNotice:
    match found:
        case TailNotice():
            return found
        case SubscriptionGap():
            return TailNotice("gap", f"events {found.first} to {found.last} were trimmed")
        case SubscriptionReset():
            return TailNotice("reset", str(found))
        case _:
            raise found
