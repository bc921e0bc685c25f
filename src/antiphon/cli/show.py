"""How an event looks to a person, in one line."""

from __future__ import annotations

from datetime import datetime

import msgspec

from antiphon.cli.console import clean, dim

LONGEST = 2000


class _Shown(msgspec.Struct, frozen=True):
    topic: str
    time: datetime
    seq: int | None = None
    recorded: datetime | None = None
    payload: msgspec.Raw = msgspec.Raw(b"null")


class Positioned(msgspec.Struct, frozen=True):
    """The part of an event that says where in the log it is."""

    seq: int | None = None


_decode = msgspec.json.Decoder(_Shown).decode
_seq = msgspec.json.Decoder(Positioned).decode


def seq_of(data: bytes) -> int | None:
    """Read the position of an event; None for an ephemeral one."""
    return _seq(data).seq


class EventLines:
    """Writes events as lines, their columns aligned as far as what came so far tells.

    Args:
        width: Columns of the terminal; None cuts a line at 2,000 characters.
        dated: Show the day too.
        colour: Show time and position less bright.
    """

    def __init__(
        self, *, width: int | None = None, dated: bool = False, colour: bool = False
    ) -> None:
        self._width = width or LONGEST
        self._form = "%Y-%m-%d %H:%M:%S" if dated else "%H:%M:%S"
        self._colour = colour
        self._seq_wide = 5
        self._topic_wide = 12

    def line(self, data: bytes) -> str:
        """Write one event."""
        event = _decode(data)
        when = (event.recorded or event.time).astimezone()
        clock = f"{when.strftime(self._form)}.{when.microsecond // 1000:03d}"
        seq = "-" if event.seq is None else str(event.seq)
        topic = clean(event.topic)
        self._seq_wide = max(self._seq_wide, len(seq))
        self._topic_wide = max(self._topic_wide, min(len(topic), 40))
        head = f"{clock}  {seq:>{self._seq_wide}}  "
        body = f"{topic:<{self._topic_wide}}  {preview(bytes(event.payload))}"
        return dim(head, self._colour) + cut(body, self._width - len(head))


def preview(payload: bytes) -> str:
    """Show the beginning of a payload's JSON; what would steer a terminal, escaped."""
    return clean(payload[: LONGEST * 4].decode("utf-8", "replace"))


def cut(text: str, width: int) -> str:
    """Cut to *width* characters, the last a sign that something is missing."""
    width = max(width, 20)
    return text if len(text) <= width else text[: width - 1] + "…"
