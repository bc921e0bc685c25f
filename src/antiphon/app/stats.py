"""``services/stats``: depth, age and counts of every actor, once a second, while anybody looks.

Sampled and ephemeral: ``_sys.stats.actors`` is not kept, and costs nothing while
nobody is subscribed to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from antiphon.actors import Actor, ActorContext, Key
from antiphon.bus import Bus

TOPIC = "_sys.stats.actors"
EVERY_S = 1.0
MOST = 500
"""Actors in one sample; beyond that it says how many were left out."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A second has passed."""


STATS: Key[Sample] = Key("services/stats")


class StatsActor(Actor[Sample]):
    """Publishes a sample of the tree each second that somebody is subscribed."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus

    async def post_start(self, ctx: ActorContext[Sample]) -> None:
        ctx.send_after(EVERY_S, Sample())

    async def handle(self, msg: Sample, ctx: ActorContext[Sample]) -> None:
        ctx.send_after(EVERY_S, msg)
        if self.bus.log.watched(TOPIC):
            actors = ctx.system.actors()
            shown = msgspec.to_builtins(actors[:MOST])
            payload = {"actors": shown, "left_out": max(0, len(actors) - MOST)}
            self.bus.publish_event(TOPIC, payload, type="actor_stats", source="/actors")
