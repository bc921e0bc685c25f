"""How a change is told: topic, type, payload, key.

Pure. A path with bytes that are no UTF-8 can't stand in JSON: it is told as ``./``
followed by its percent form. No other path begins like that, so each stays unique.

Promises: docs/semantics/files.md#events.
"""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from antiphon.bridges.files.tree import Change, FileState
from antiphon.messages import EventIn, EventType

KEY_BYTES = 200
SOURCE_CHARS = 150
MAX_JSON_INT = 2**53 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TYPES = {
    "created": EventType.FILE_CREATED,
    "changed": EventType.FILE_CHANGED,
    "deleted": EventType.FILE_DELETED,
}


def source_of(name: str) -> str:
    """The ``source`` of what a folder called *name* tells."""
    safe = quote(os.fsencode(name), safe=":@") or "root"
    return "/watch/" + re.sub("%.?$", "", safe[:SOURCE_CHARS])


def to_event(change: Change, *, source: str, time: datetime, event_id: str) -> EventIn:
    """Tell *change*."""
    path = shown(change.path)
    payload: dict[str, Any] = {"path": path, **_told(change.state)}
    if change.ignored:
        payload["ignored"] = True
    return EventIn(
        id=event_id,
        topic=f"file.{change.kind}",
        type=_TYPES[change.kind],
        source=source,
        time=time,
        key=key_of(path),
        payload=payload,
    )


def shown(path: str) -> str:
    """*path* as text that every reader of JSON takes."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return f"./{quote(os.fsencode(path))}"
    return path


def key_of(path: str) -> str:
    """*path* itself, or a digest of it where it is too long or too odd for a key."""
    if path.isprintable() and len(path.encode()) <= KEY_BYTES:
        return path
    return f"//sha256/{sha256(path.encode()).hexdigest()}"


def _told(state: FileState) -> dict[str, Any]:
    return {"size_bytes": min(state.size, MAX_JSON_INT), "mtime": mtime(state.mtime_ns)}


def mtime(nanoseconds: int) -> str | None:
    """A time since 1970 as RFC 3339, to the microsecond, or None beyond the years 1 to 9999."""
    try:
        time = _EPOCH + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return None
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")
