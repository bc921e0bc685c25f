"""Moments as people write them: ``2026-11-01``, ``2026-11-01T09:30``, ``15m``. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_AGO = re.compile(r"(\d{1,9})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
FORMS = "a time such as 2026-11-23T10:00:00Z, a date, or how long ago: 90s, 15m, 2h, 3d, 1w"


def moment(text: str, now: datetime) -> str:
    """Read *text* as a moment; in RFC 3339, UTC.

    Without an offset it is in the zone of *now*; a date is its midnight there.

    Raises:
        ValueError: It is no such text, with the forms that are.
    """
    try:
        ago = _AGO.fullmatch(text)
        if ago is not None:
            found = now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        else:
            found = datetime.fromisoformat(text)
        if found.tzinfo is None:
            found = found.replace(tzinfo=now.tzinfo)
        return found.astimezone(UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError):
        raise ValueError(f"expected {FORMS}; got {text[:80]!r}") from None
