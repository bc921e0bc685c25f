"""What clients are subscribed to now, for whoever may ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from antiphon.bus import Subscription
from antiphon.messages import SubscriptionInfo

Tell = Callable[[], Iterable[SubscriptionInfo]]


class Register:
    """Asks each connection that is open; keeps nothing itself."""

    def __init__(self) -> None:
        self._open: dict[object, Tell] = {}

    def add(self, tell: Tell) -> Callable[[], None]:
        """Ask *tell* from now on; returns what ends that, which may be called again."""
        key = object()
        self._open[key] = tell

        def undo() -> None:
            self._open.pop(key, None)

        return undo

    def __iter__(self) -> Iterator[SubscriptionInfo]:
        for tell in list(self._open.values()):
            yield from tell()


def subscription_info(
    conn: str, one: Subscription, head: int, *, window: int | None = None, unacked: int = 0
) -> SubscriptionInfo:
    """One row about a subscription that isn't durable."""
    return SubscriptionInfo(
        conn=conn,
        sid=one.sid,
        owner=one.owner,
        patterns=list(one.patterns),
        position=one.position,
        lag=max(0, head - one.position),
        window=window,
        unacked=unacked,
    )
