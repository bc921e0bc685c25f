"""Where the log keeps its events: adapters of the port ``antiphon.bus.store``.

``SqliteEventStore`` is the durable one; ``MemoryEventStore`` is for tests and runs
that keep nothing. Both pass ``antiphon.testing.store_contract``.
"""

from antiphon.stores.memory import MemoryEventStore
from antiphon.stores.sqlite import SqliteEventStore

__all__ = ["MemoryEventStore", "SqliteEventStore"]
