"""EventStoreActor: owns the writer's life. A shell around ``Log``; the log outlives it."""

from __future__ import annotations

from antiphon.actors import Actor, ActorContext
from antiphon.bus.log import Log
from antiphon.bus.protocol import StoreMessage, WriterCrashed


class EventStoreActor(Actor[StoreMessage]):
    """Opens the log, or adopts its writer after a crash; parks the writer when it ends.

    Publishes wait in the intake meanwhile. There is never a second writer:
    ``pre_start`` fails if the first doesn't come to rest.
    """

    def __init__(self, log: Log) -> None:
        self.log = log

    async def pre_start(self, ctx: ActorContext[StoreMessage]) -> None:
        me = ctx.myself
        # before the open, in which the writer goes on and may fail at once; and by the ref,
        # which outlives this generation: told in between, the next one hears of it
        self.log.on_crash = lambda bug: me.cast(WriterCrashed(bug))
        await self.log.open()
        ctx.at_end(self.log.writer.park)

    async def handle(self, msg: StoreMessage, ctx: ActorContext[StoreMessage]) -> None:
        raise msg.bug
