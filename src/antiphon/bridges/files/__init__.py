"""Files as events: ``file.created``, ``file.changed``, ``file.deleted``.

Promises: docs/semantics/files.md.
"""

from antiphon.bridges.files.actor import WATCH, WatchActor, WatchEnded
from antiphon.bridges.files.journal import journal_path
from antiphon.bridges.files.publisher import BusPublisher, Publisher
from antiphon.bridges.files.watcher import FolderWatcher, check_root

__all__ = [
    "WATCH",
    "BusPublisher",
    "FolderWatcher",
    "Publisher",
    "WatchActor",
    "WatchEnded",
    "check_root",
    "journal_path",
]
