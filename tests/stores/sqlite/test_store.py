"""The SQLite store keeps the contract of every store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from antiphon.bus.store import EventStore
from antiphon.stores import SqliteEventStore
from antiphon.testing.store_contract import StoreContract


class TestSqliteEventStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[EventStore]:
        store = SqliteEventStore(tmp_path / "log.db")
        yield store
        store.close()
