"""The store in memory keeps the contract of every store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from antiphon.bus.store import EventStore
from antiphon.stores import MemoryEventStore
from antiphon.testing.store_contract import StoreContract


class TestMemoryEventStore(StoreContract):
    @pytest.fixture
    def store(self) -> Iterator[EventStore]:
        store = MemoryEventStore()
        yield store
        store.close()
