"""The server's frames as a client reads them: events stay the bytes that they came as.

The frames themselves are in ``messages/frames.py``; two are read differently here.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from antiphon.messages import Bye, Ended, Err, Gap, Lag, Live, Ping, Pos, Reset, Welcome


class RawOk(msgspec.Struct, frozen=True, tag="ok", tag_field="op"):
    """The request *id* was done."""

    id: int
    pos: str | None = None
    results: list[msgspec.Raw] | None = None


class RawEv(msgspec.Struct, frozen=True, tag="ev", tag_field="op"):
    """Events of one subscription, each as the server wrote it."""

    sid: str
    events: list[msgspec.Raw]
    cursor: str
    attempts: list[int] | None = None


Frame: TypeAlias = (
    Welcome | RawOk | Err | RawEv | Pos | Gap | Reset | Lag | Live | Ended | Ping | Bye
)
