"""A durable subscription as an actor's cell reads it.

An event is acknowledged when its handler returned. When it raised, the event comes again,
to the next generation, after a while; what came with it comes again too, uncounted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from antiphon.actors import EventSource, Feed, Notice
from antiphon.bus.claims import Claim
from antiphon.bus.durable import Lease
from antiphon.bus.notices import Ended
from antiphon.bus.protocol import Subscribe
from antiphon.bus.traces import any_traced, with_traces
from antiphon.errors import BusError, cut
from antiphon.messages import Event


class DurableSource(EventSource):
    """One actor's part in a durable subscription: its lease ends with the ref.

    When a whole slice failed in ``handle_events``, nobody knows by which event; so the
    same events come one by one, until the guilty one has failed alone.

    Args:
        on_closed: Called once, when it has ended.
    """

    def __init__(self, ask: Subscribe, on_closed: Callable[[], None]) -> None:
        self.ask = ask
        self._on_closed = on_closed
        self._lease: Lease | None = None
        self._feed: Feed | None = None
        self._hand: list[Claim] = []
        self._suspects = 0

    @property
    def feed(self) -> Feed:
        assert self._feed is not None
        return self._feed

    def begin(self, lease: Lease) -> None:
        """Feed the actor.

        Raises:
            ActorDead: It has ended meanwhile; so has the lease.
        """
        self._lease = lease
        try:
            self._feed = self.ask.ref.feed(self)
        except BaseException:
            lease.release()
            raise

    def wake(self) -> None:
        """There may be something; called by the lease."""
        if self._feed is not None:
            self._feed.wake()

    def take(self, limit: int) -> Sequence[Event] | Notice | None:
        lease = self._lease
        if lease is None:
            return None
        if lease.lost is not None or not self._hand:
            try:
                taken = lease.take(1 if self._suspects else limit)
            except BusError as lost:
                return self._end(lost)
            if not isinstance(taken, list):
                return taken
            self._hand = taken
        events = [claim.event for claim in self._hand]
        return with_traces(events) if any_traced(events) else events

    def advance(self, count: int) -> bool:
        done, self._hand = self._hand[:count], self._hand[count:]
        self._suspects = max(0, self._suspects - count)
        if done and self._lease is not None and self._lease.lost is None:
            self._lease.ack(done[-1].seq)
        return True

    def failed(self, count: int, error: BaseException) -> None:
        guilty, self._hand = self._hand[:count], []
        lease = self._lease
        if lease is None or lease.lost is not None:
            return
        if len(guilty) == 1:
            self._suspects = max(0, self._suspects - 1)
            lease.nack(guilty[0].seq, reason=f"{type(error).__name__}: {cut(str(error))}")
        else:
            self._suspects = len(guilty)
        if lease.lost is None:
            lease.give_back()

    def closed(self) -> None:
        """The ref has ended, or unsubscribed."""
        lease, self._lease = self._lease, None
        self._hand = []
        if lease is not None:
            lease.release()
            self._on_closed()

    def _end(self, lost: BusError) -> Ended:
        self.feed.detach()
        self.closed()
        return Ended(self.ask.sid, lost.code, str(lost))
