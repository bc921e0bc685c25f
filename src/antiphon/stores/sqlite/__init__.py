"""The log as one SQLite file: ``schema`` says how it looks, ``store`` writes, ``reader`` reads.

Promises: docs/semantics/log.md.
"""

from antiphon.stores.sqlite.reader import SqliteStoreReader
from antiphon.stores.sqlite.store import SqliteEventStore

__all__ = ["SqliteEventStore", "SqliteStoreReader"]
