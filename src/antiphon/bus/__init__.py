"""The bus: topics, access, the log's live part, and the two actors that own it.

``publish_event``, ``subscribe`` and ``unsubscribe`` are the three verbs; they hide
which part is an actor.
"""

from __future__ import annotations

from typing import Any

from antiphon.actors import ActorRef
from antiphon.bus.access import ADMIN, SYSTEM, Access, Principal
from antiphon.bus.bus import Bus
from antiphon.bus.durable import Lease
from antiphon.bus.durables import Durables
from antiphon.bus.event_bus import EventBusActor, Table
from antiphon.bus.event_store import EventStoreActor
from antiphon.bus.forgetting import forget
from antiphon.bus.holder import Holder
from antiphon.bus.iterator import EventIterator
from antiphon.bus.janitor import JANITOR, Janitor, JanitorActor, ReportRetention
from antiphon.bus.log import Log
from antiphon.bus.notices import BusNotice, Ended, Gap, Lag, Live, Reset
from antiphon.bus.past import Page
from antiphon.bus.protocol import BUS, STORE
from antiphon.bus.quotas import Quota, Quotas
from antiphon.bus.retention import Policies, Policy
from antiphon.bus.store import EventStore
from antiphon.bus.subscription import Subscription
from antiphon.messages import DurableInfo

__all__ = [
    "ADMIN",
    "BUS",
    "JANITOR",
    "STORE",
    "SYSTEM",
    "Access",
    "Bus",
    "BusNotice",
    "DurableInfo",
    "Durables",
    "Ended",
    "EventBusActor",
    "EventIterator",
    "EventStore",
    "EventStoreActor",
    "Gap",
    "Holder",
    "Janitor",
    "JanitorActor",
    "Lag",
    "Lease",
    "Live",
    "Log",
    "Page",
    "Policies",
    "Policy",
    "Principal",
    "Quota",
    "Quotas",
    "ReportRetention",
    "Reset",
    "Subscription",
    "Table",
    "forget",
    "publish_event",
    "subscribe",
    "unsubscribe",
]


publish_event = Bus.publish_event
"""``publish_event(bus, topic, payload)``: the method itself, since a wrapper costs a tenth."""


async def subscribe(bus: Bus, ref: ActorRef[Any], *patterns: str, **options: Any) -> str:
    """Let an actor handle the events of *patterns*; see ``Bus.subscribe``."""
    return await bus.subscribe(ref, *patterns, **options)


async def unsubscribe(bus: Bus, ref: ActorRef[Any], sid: str) -> bool:
    """End one subscription of an actor; see ``Bus.unsubscribe``."""
    return await bus.unsubscribe(ref, sid)
