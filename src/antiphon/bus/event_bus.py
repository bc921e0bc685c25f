"""EventBusActor: answers subscribe and unsubscribe for actors.

A shell around ``Log``: when it dies, subscriptions and positions stay, because
they belong to the subscribers' refs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from antiphon.actors import Actor, ActorContext, ActorRef, EventSource, Feed, Notice
from antiphon.bus.batch import Slice
from antiphon.bus.log import Log
from antiphon.bus.protocol import BusMessage, Subscribe, Unsubscribe
from antiphon.errors import BadRequest
from antiphon.messages import Event

SCOPE = "bus"
"""The scope of process groups in which each subscriber is in the group of its patterns."""


class ActorSubscription(EventSource):
    """One actor's subscription, as the actor's cell reads it."""

    def __init__(self, log: Log, ask: Subscribe, on_closed: Callable[[], None]) -> None:
        self._on_closed = on_closed
        self.ask = ask
        self.feed: Feed = ask.ref.feed(self)
        try:
            self.subscription = log.subscribe(
                ask.sid,
                ask.patterns,
                ask.principal.access,
                ask.start,
                self.feed.wake,
                owner=ask.principal.name,
            )
        except BaseException:
            self.feed.detach()
            raise
        self.feed.wake()

    def take(self, limit: int) -> Sequence[Event] | Notice | None:
        taken = self.subscription.peek(limit)
        return taken.events if isinstance(taken, Slice) else taken

    def advance(self, count: int) -> None:
        self.subscription.advance(count)

    def closed(self) -> None:
        """The ref has ended."""
        self.subscription.close()
        self._on_closed()


class Table:
    """Which actor holds which subscriptions; outlives the EventBusActor."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.held: dict[ActorRef[Any], dict[str, ActorSubscription]] = {}

    def subscribe(self, ask: Subscribe) -> str:
        """Open it, or find it again at its position.

        Raises:
            BadRequest: The sid is in use for other patterns, or the start is none.
        """
        mine = self.held.setdefault(ask.ref, {})
        held = mine.get(ask.sid)
        if held is not None:
            if held.ask.patterns != ask.patterns:
                raise BadRequest(
                    f"subscription {ask.sid} of {ask.ref.path} has other patterns",
                    value=ask.sid,
                )
            return ask.sid
        try:
            mine[ask.sid] = ActorSubscription(self.log, ask, lambda: self._drop(ask))
        except BaseException:
            if not mine:
                del self.held[ask.ref]
            raise
        return ask.sid

    def unsubscribe(self, ref: ActorRef[Any], sid: str) -> bool:
        """Close it; False if there is none."""
        held = self.held.get(ref, {}).get(sid)
        if held is None:
            return False
        held.feed.detach()
        held.closed()
        return True

    def patterns_of(self, ref: ActorRef[Any]) -> set[str]:
        """Every pattern that *ref* subscribes to."""
        return {p for held in self.held.get(ref, {}).values() for p in held.ask.patterns}

    def _drop(self, ask: Subscribe) -> None:
        mine = self.held.get(ask.ref, {})
        mine.pop(ask.sid, None)
        if not mine:
            self.held.pop(ask.ref, None)


class EventBusActor(Actor[BusMessage]):
    """Answers for the table of actors' subscriptions, and keeps the groups in step with it."""

    def __init__(self, table: Table) -> None:
        self.table = table

    async def handle(self, msg: BusMessage, ctx: ActorContext[BusMessage]) -> None:
        groups = ctx.system.groups
        match msg:
            case Subscribe():
                try:
                    sid = self.table.subscribe(msg)
                except BadRequest as error:
                    ctx.reply_error(msg, error)
                    return
                for pattern in msg.patterns:
                    groups.join(SCOPE, pattern, msg.ref)
                ctx.reply(msg, sid)
            case Unsubscribe(ref, sid):
                before = self.table.patterns_of(ref)
                done = self.table.unsubscribe(ref, sid)
                for pattern in before - self.table.patterns_of(ref):
                    groups.leave(SCOPE, pattern, ref)
                ctx.reply(msg, done)
