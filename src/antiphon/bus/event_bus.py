"""EventBusActor: answers subscribe and unsubscribe for actors.

A shell around ``Log``: when it dies, subscriptions and positions stay, because
they belong to the subscribers' refs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from antiphon.actors import Actor, ActorContext, ActorRef, EventSource, Feed, Notice
from antiphon.bus.batch import Slice
from antiphon.bus.durable_source import DurableSource
from antiphon.bus.log import Log
from antiphon.bus.protocol import BusMessage, Subscribe, Unsubscribe
from antiphon.bus.traces import with_traces
from antiphon.errors import ActorDead, BadRequest, BusError
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
                ask.ephemeral,
                owner=ask.principal.name,
            )
        except BaseException:
            self.feed.detach()
            raise
        self.feed.wake()

    def take(self, limit: int) -> Sequence[Event] | Notice | None:
        taken = self.subscription.peek(limit)
        if not isinstance(taken, Slice):
            return taken
        events = taken.events
        return with_traces(events) if taken.view.batch.traced else events

    def advance(self, count: int) -> bool:
        return self.subscription.advance(count)

    def failed(self, count: int, error: BaseException) -> None:
        self.advance(count)  # it is a dead letter now, and comes no more

    def closed(self) -> None:
        """The ref has ended."""
        self.subscription.close()
        self._on_closed()


class Table:
    """Which actor holds which subscriptions; outlives the EventBusActor."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.held: dict[ActorRef[Any], dict[str, ActorSubscription | DurableSource]] = {}

    async def subscribe(self, ask: Subscribe) -> str:
        """Open it, or find it again at its position.

        Raises:
            ActorDead: The ref has ended.
            BadRequest: The sid is in use for other patterns, or the start is none.
            BusError: A durable one can't be held; see ``Durables.attach``.
        """
        held = self.held.get(ask.ref, {}).get(ask.sid)
        if held is None:
            opened = await self._open(ask)
            self.held.setdefault(ask.ref, {})[ask.sid] = opened
        elif (held.ask.patterns, held.ask.durable) != (ask.patterns, ask.durable):
            raise BadRequest(
                f"subscription {ask.sid} of {ask.ref.path} has other patterns, or another name",
                value=ask.sid,
            )
        return ask.sid

    async def _open(self, ask: Subscribe) -> ActorSubscription | DurableSource:
        if ask.durable is None:
            return ActorSubscription(self.log, ask, lambda: self._drop(ask))
        source = DurableSource(ask, lambda: self._drop(ask))
        lease = await self.log.durables.attach(
            ask.durable,
            ask.patterns,
            terms=ask.terms,
            start=ask.start,
            principal=ask.principal,
            member=ask.ref.path,
            on_ready=source.wake,
            ttl=float("inf"),  # as long as the ref
        )
        source.begin(lease)
        return source

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
                    sid = await self.table.subscribe(msg)
                except (BusError, ActorDead) as error:
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
