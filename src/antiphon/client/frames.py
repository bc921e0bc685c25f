"""The server's frames as a client reads them: events stay the bytes that they came as.

The frames themselves are in ``messages/frames.py``; two are read differently here.
"""

from __future__ import annotations

from typing import TypeAlias, get_args

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


class _Any(msgspec.Struct):
    op: str


_decode = msgspec.json.Decoder(Frame).decode
_op = msgspec.json.Decoder(_Any).decode
_OPS = frozenset(kind.__struct_config__.tag for kind in get_args(Frame))


def decode_frame(data: bytes) -> Frame | None:
    """The frame *data*; None if a later version knows its ``op``: it is to be passed over.

    Raises:
        msgspec.DecodeError: It is no frame.
    """
    try:
        frame: Frame = _decode(data)
    except msgspec.ValidationError:
        if _op(data).op in _OPS:
            raise
        return None
    return frame
