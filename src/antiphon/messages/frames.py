"""The WebSocket protocol ``bus.v1.json``: one JSON object a text frame, told apart by ``op``.

The table of frames is in ``docs/gateway.md``; the rules are in
``gateway/session.py``. A request carries an ``id`` that its answer repeats; a
push carries none. The client names its subscriptions (``sid``).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from antiphon.messages.event import Event, EventIn, Level, Published, Refused

SUBPROTOCOL = "bus.v1.json"

StartWord: TypeAlias = Literal["now", "earliest", "last"]


class _In(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="op", forbid_unknown_fields=True
): ...


class _Out(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", omit_defaults=True): ...


class Hello(_In, frozen=True, tag="hello"):
    """The first frame, within 10 s. With a cookie the token may be absent."""

    v: int
    token: str | None = None


class Sub(_In, frozen=True, tag="sub", rename={"start": "from"}):
    """Open a subscription at ``after`` (a cursor, or a bare seq) or ``from`` (a start word).

    With ``durable`` or ``group`` it is one that has a name and keeps its place; where to
    start counts only for a new one.

    Attributes:
        patterns: May be left out for a durable one that is there.
        narrow: Take what the token allows of the patterns, in place of ``forbidden``.
        window: Most events sent and not yet acknowledged.
        durable: Hold the durable subscription of this name, alone.
        group: Join the group of this name.
        member: The holder's name, which decides its share of a group; the same one again
            gets the same share. Absent: one of the server's making.
        tries: After so many failures an event is given up.
        on_exhausted: Then it goes to ``_sys.dlq.NAME``, or the subscription stops there.
    """

    id: int
    sid: str
    patterns: list[str] = []
    after: str | int | None = None
    start: StartWord | None = None
    narrow: bool = False
    window: int = 1000
    durable: str | None = None
    group: str | None = None
    member: str | None = None
    tries: int | None = None
    on_exhausted: Literal["park", "stop"] | None = None


class Pub(_In, frozen=True, tag="pub"):
    """Publish one event or several, in order."""

    id: int
    events: list[EventIn]
    level: Level = "synced"


class Ack(_In, frozen=True, tag="ack"):
    """Everything up to *seq* was consumed: the window opens. Of a durable one: *seq* alone."""

    sid: str
    seq: int


class Nack(_In, frozen=True, tag="nack", omit_defaults=True):
    """An event of a durable subscription failed: it comes again, or is given up.

    Attributes:
        delay_ms: Until then; absent: 1 s, doubled with each failure, 60 s at most.
        reason: Kept with it, should it be given up.
        id: Answered by ``ok`` if it is there: the later events of its lane that came before
            that answer are not in hand any more, those after it are.
    """

    sid: str
    seq: int
    delay_ms: int | None = None
    reason: str = "refused"
    id: int | None = None


class Unsub(_In, frozen=True, tag="unsub"):
    """Close a subscription."""

    id: int
    sid: str


class Refresh(_In, frozen=True, tag="refresh"):
    """Go on by another token of the same name: the present one will end."""

    id: int
    token: str


class Pong(_In, frozen=True, tag="pong"):
    """The answer to ``ping``, within 10 s."""


ClientFrame: TypeAlias = Hello | Sub | Pub | Ack | Nack | Unsub | Refresh | Pong


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the server will not exceed."""

    frame_bytes: int
    event_bytes: int
    subscriptions: int
    patterns: int
    publish_events: int
    window: int


class Welcome(_Out, frozen=True, tag="welcome"):
    """The handshake is done.

    Attributes:
        conn: This connection's name, also its actor's key.
        epoch, head: The log's present incarnation and last seq.
        ping_ms: How often ``ping`` comes.
    """

    conn: str
    epoch: str
    head: int
    limits: Limits
    ping_ms: int


class Ok(_Out, frozen=True, tag="ok"):
    """The request *id* was done: ``pos`` and ``effective`` for sub, ``results`` for pub.

    Attributes:
        pos: Where the subscription starts; None for ``last``, whose snapshot comes first. Of
            a durable one: everything up to it is settled.
        effective: Its patterns, as they were granted.
        fence: Of a durable one: a number that grows with every holder, so that what is guarded
            by it can refuse a holder that was replaced and doesn't know it yet.
    """

    id: int
    pos: str | None = None
    effective: list[str] | None = None
    fence: int | None = None
    results: list[Published | Refused] | None = None


class Err(_Out, frozen=True, tag="err"):
    """The request *id* was refused; id is None where the frame had none that could be read."""

    id: int | None
    code: str
    message: str
    value: str | None = None
    limit: int | None = None
    retry_after_ms: int | None = None
    last_seq: int | None = None


class Ev(_Out, frozen=True, tag="ev"):
    """Events of one subscription, in order; ``cursor`` is the position after them.

    An event without ``seq`` is ephemeral; a frame holds only such or none.

    Attributes:
        cursor: Of a durable subscription: everything up to it is settled.
        attempts: Which try of each event this is: its failures, and one; absent: none failed.
    """

    sid: str
    events: list[Event]
    cursor: str
    attempts: list[int] | None = None


class Pos(_Out, frozen=True, tag="pos"):
    """The subscription has scanned up to *cursor* and found nothing more for it."""

    sid: str
    cursor: str


class Gap(_Out, frozen=True, tag="gap", rename={"first": "from", "last": "to"}):
    """Events that this subscription matches were trimmed; it goes on at *cursor*."""

    sid: str
    first: int
    last: int
    cursor: str


class Reset(_Out, frozen=True, tag="reset"):
    """The cursor given is of another history; forget what it brought, it goes on at *cursor*."""

    sid: str
    message: str
    cursor: str


class Lag(_Out, frozen=True, tag="lag"):
    """So many ephemeral events were dropped."""

    sid: str
    dropped: int


class Live(_Out, frozen=True, tag="live"):
    """The subscription has caught up; what follows is live."""

    sid: str


class Ended(_Out, frozen=True, tag="ended"):
    """The subscription brings nothing more, and its sid is free; what was in hand went back.

    Attributes:
        code: Such as ``lease_lost`` or ``durable_stopped``.
    """

    sid: str
    code: str
    message: str


class Ping(_Out, frozen=True, tag="ping"):
    """Answer with ``pong``."""


class Bye(_Out, frozen=True, tag="bye"):
    """The server closes next, with the close code *code*.

    Attributes:
        retry: Whether to connect again; codes 4000 to 4499 say yes, 4500 to 4999 no.
    """

    code: int
    reason: str
    retry: bool


ServerFrame: TypeAlias = (
    Welcome | Ok | Err | Ev | Pos | Gap | Reset | Lag | Live | Ended | Ping | Bye
)
