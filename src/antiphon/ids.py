"""Names of things: event ids, cursors, actor paths.

Leaves out topics' grammar (``bus/topics.py``): here a topic is just a string
that has been checked. Ids are UUIDv7 (RFC 9562), so they sort by time.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import NewType

from uuid_utils import uuid7

ActorId = NewType("ActorId", str)
"""The path of an actor in its system's tree, such as ``log/store``."""

Topic = NewType("Topic", str)
"""A topic that has passed ``bus.topics.check_topic``."""


def new_id() -> str:
    """Make a time-ordered id of 36 printable ASCII characters (a UUIDv7)."""
    return str(uuid7())


def new_epoch() -> str:
    """Make a random name for one incarnation of a log: 12 hexadecimal digits."""
    return secrets.token_hex(6)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in a log: the last event scanned, in one incarnation of it.

    Opaque to clients, who only hand it back. Written ``epoch.seq``.
    """

    epoch: str
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read what ``str()`` wrote.

        Raises:
            ValueError: If *text* is not of the form ``epoch.seq``.
        """
        epoch, dot, digits = text.partition(".")
        if not (
            dot
            and 1 <= len(epoch) <= 32
            and epoch.isascii()
            and epoch.isalnum()
            and 1 <= len(digits) <= 16
            and digits.isascii()
            and digits.isdigit()
        ):
            raise ValueError(f"not a cursor: {text[:80]!r} (expected EPOCH.SEQ)")
        return cls(epoch, int(digits))
