"""One WebSocket session as a state machine without I/O: frames and time in, commands out.

It decides everything that the protocol ``bus.v1.json`` says about one connection: the
handshake, what may be asked and how often, acknowledgements, liveness, the end.
Performing is ``connection.py``'s: it hands every frame to ``receive`` and the
time to ``tick``, does what the commands say, and reports back by ``admitted``,
``denied``, ``opened``, ``refused``, ``held``, ``declined``, ``lost`` and ``published``.
Time is seconds of any clock that never goes back.

Promises: docs/semantics/gateway.md. Frames: docs/gateway.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias, TypeVar

import msgspec

from antiphon.bus.parts import has_lone_surrogate, members, parts
from antiphon.bus.terms import MEMBERS, Terms, TermsAsked, check_name, check_terms
from antiphon.errors import BadRequest, BusError, Overloaded, PayloadTooLarge, cut
from antiphon.gateway.closing import CloseCode, bye
from antiphon.gateway.faults import err
from antiphon.gateway.hand import Hand
from antiphon.gateway.limits import (
    DELAY_MS,
    FRAME_BYTES,
    HELLO_S,
    LIMITS,
    PING_S,
    PONG_S,
    PUBLISH_EVENTS,
    SUBSCRIPTIONS,
    WINDOW,
)
from antiphon.gateway.window import Window
from antiphon.messages import (
    Ack,
    Ended,
    Hello,
    Level,
    Nack,
    Ok,
    Ping,
    Pong,
    Published,
    Refresh,
    Refused,
    ServerFrame,
    Sub,
    Unsub,
    Welcome,
)

VERSION = 1
SID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


class Pub(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="pub",
    tag_field="op",
    forbid_unknown_fields=True,
):
    """``messages.Pub``, its events not looked at yet: each is refused on its own."""

    id: int
    events: list[msgspec.Raw]
    level: Level = "synced"


Incoming: TypeAlias = Hello | Sub | Pub | Ack | Nack | Unsub | Refresh | Pong

F = TypeVar("F")

_decode = msgspec.json.Decoder(Incoming).decode


@dataclass(frozen=True, slots=True)
class Send:
    """Write this frame."""

    frame: ServerFrame


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Find out who this is, then call ``admitted`` or ``denied``."""

    token: str | None


@dataclass(frozen=True, slots=True)
class Renew:
    """Go on by this token, then call ``renewed`` or ``refused``."""

    id: int
    token: str


@dataclass(frozen=True, slots=True)
class Open:
    """Open a subscription, then call ``opened`` or ``refused``."""

    id: int
    sid: str
    patterns: list[str]
    start: str | int
    narrow: bool
    window: int


@dataclass(frozen=True, slots=True)
class Hold:
    """Hold a durable subscription, then call ``held`` or ``declined``, once; never after ``Close``.

    Attributes:
        window: Also one of the terms.
        member: The holder's name, if the client gave one.
        terms: What it asked of the terms, checked.
    """

    id: int
    sid: str
    name: str
    patterns: list[str]
    start: str | int
    window: int
    member: str | None
    terms: TermsAsked


@dataclass(frozen=True, slots=True)
class Settle:
    """This event of a durable subscription is done."""

    sid: str
    seq: int


@dataclass(frozen=True, slots=True)
class Fail:
    """This event of a durable subscription failed; *delay* is seconds, None by the rule."""

    sid: str
    seq: int
    delay: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Close:
    """Close the subscription *sid*, or call off its opening."""

    sid: str


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish these events in order, then call ``published``."""

    id: int
    events: list[msgspec.Raw]
    level: Level


@dataclass(frozen=True, slots=True)
class Resume:
    """The window of *sid* was full and has room again."""

    sid: str


@dataclass(frozen=True, slots=True)
class End:
    """Close the connection with this code, after all that was to be sent."""

    code: CloseCode
    reason: str


Command: TypeAlias = (
    Send | Authenticate | Renew | Open | Hold | Close | Publish | Resume | Settle | Fail | End
)


class State(Enum):
    """Where a session stands; it only moves down this list."""

    GREETING = auto()
    ASKING = auto()
    OPEN = auto()
    ENDED = auto()


class Session:
    """The protocol's side of one connection.

    Args:
        conn: The connection's name, told in ``welcome``.
        now: The time it was accepted.

    Attributes:
        deadline: When to call ``tick``, at the latest. It may move; calling
            early does no harm.
    """

    def __init__(self, conn: str, now: float) -> None:
        self.conn = conn
        self.state = State.GREETING
        self.windows: dict[str, Window] = {}
        self.hands: dict[str, Hand] = {}
        self._opening: dict[str, Hold] = {}
        self._hello_by = now + HELLO_S
        self._ping_at = 0.0
        self._pong_by: float | None = None

    # --- frames ---------------------------------------------------------------------------

    def receive(self, data: str | bytes) -> list[Command]:
        """Take one frame of the client: text as str, binary as bytes."""
        if self.state is State.ENDED:
            return []
        self._pong_by = None
        try:
            frame = _read(data)
        except BusError as error:
            if self.state is not State.OPEN:
                return self._end(CloseCode.BAD_HELLO, f"the first frame must be hello: {error}")
            text = "" if isinstance(data, bytes) else data
            rescued = _rescue(members(text))
            if rescued is None:
                return [Send(err(_id(members(text, some=True)), error))]
            frame = rescued
        if isinstance(frame, Hello):
            return self._hello(frame)
        if self.state is not State.OPEN:
            return self._end(CloseCode.BAD_HELLO, "the first frame must be hello")
        match frame:
            case Sub():
                return self._answer(frame.id, self._sub, frame)
            case Unsub():
                return self._answer(frame.id, self._unsub, frame)
            case Pub():
                return self._answer(frame.id, self._pub, frame)
            case Ack():
                return self._answer(None, self._ack, frame)
            case Nack():
                return self._answer(frame.id, self._nack, frame)
            case Refresh():
                return [Renew(frame.id, frame.token)]
            case Pong():
                return []

    def _answer(
        self, request: int | None, rule: Callable[[F], list[Command]], frame: F
    ) -> list[Command]:
        try:
            return rule(frame)
        except BusError as error:
            return [Send(err(request, error))]

    def _hello(self, frame: Hello) -> list[Command]:
        if self.state is not State.GREETING:
            return [Send(err(None, BadRequest("hello comes once, as the first frame")))]
        if frame.v != VERSION:
            return self._end(
                CloseCode.BAD_HELLO, f"version {frame.v} is not spoken here, {VERSION} is"
            )
        self.state = State.ASKING
        return [Authenticate(frame.token)]

    def _sub(self, frame: Sub) -> list[Command]:
        self._check_free(frame.sid)
        if not 1 <= frame.window <= WINDOW:
            raise BadRequest(
                f"window must be from 1 to {WINDOW}, got {frame.window}",
                value=frame.window,
                limit=WINDOW,
            )
        start = _start(frame)
        if frame.durable is not None or frame.group is not None:
            hold = self._opening[frame.sid] = _hold(frame, start)
            return [hold]
        for name in ("member", "tries", "on_exhausted"):
            if getattr(frame, name) is not None:
                raise BadRequest(f"{name} goes with durable or group")
        return [
            Open(frame.id, frame.sid, frame.patterns, start, frame.narrow, frame.window),
        ]

    def _check_free(self, sid: str) -> None:
        """Whether *sid* may name another subscription."""
        _check_sid(sid)
        if sid in self.windows or sid in self.hands or sid in self._opening:
            raise BadRequest(f"sid {sid} is in use on this connection", value=sid)
        if len(self.windows) + len(self.hands) + len(self._opening) >= SUBSCRIPTIONS:
            raise BadRequest(
                f"a connection has at most {SUBSCRIPTIONS} subscriptions", limit=SUBSCRIPTIONS
            )

    def _unsub(self, frame: Unsub) -> list[Command]:
        sid, done = frame.sid, Send(Ok(id=frame.id))
        opening = self._opening.pop(sid, None)
        if opening is not None:
            called_off = BadRequest(f"{sid} was closed before it was open", value=sid)
            return [Close(sid), Send(err(opening.id, called_off)), done]
        if self.windows.pop(sid, None) is None and self.hands.pop(sid, None) is None:
            raise BadRequest(f"no subscription {cut(sid)}", value=sid)
        return [Close(sid), done]

    def _pub(self, frame: Pub) -> list[Command]:
        if not 1 <= len(frame.events) <= PUBLISH_EVENTS:
            raise BadRequest(
                f"a pub takes 1 to {PUBLISH_EVENTS} events, got {len(frame.events)}",
                limit=PUBLISH_EVENTS,
            )
        return [Publish(frame.id, frame.events, frame.level)]

    def _ack(self, frame: Ack) -> list[Command]:
        hand = self.hands.get(frame.sid)
        if hand is not None:
            hand.check(frame.sid, frame.seq)
            return [Settle(frame.sid, frame.seq)]
        window = self.windows.get(frame.sid)
        if window is None:
            return []  # it may have crossed an unsub
        if frame.seq > window.told:
            raise BadRequest(
                f"ack of {frame.seq} on {frame.sid}, but only {window.told} was reached",
                value=frame.seq,
            )
        return [Resume(frame.sid)] if window.ack(frame.seq) else []

    def _nack(self, frame: Nack) -> list[Command]:
        if frame.sid in self.windows:
            raise BadRequest(f"{frame.sid} is no durable subscription: nack is for those")
        done: list[Command] = [] if frame.id is None else [Send(Ok(id=frame.id))]
        hand = self.hands.get(frame.sid)
        if hand is None:
            return done  # it may have crossed an unsub, or ended
        hand.check(frame.sid, frame.seq)
        delay_ms = frame.delay_ms
        if delay_ms is not None and not 0 <= delay_ms <= DELAY_MS:
            raise BadRequest(
                f"delay_ms must be from 0 to {DELAY_MS}, got {delay_ms}",
                value=delay_ms,
                limit=DELAY_MS,
            )
        delay = None if delay_ms is None else delay_ms / 1000
        return [Fail(frame.sid, frame.seq, delay, frame.reason), *done]

    # --- what was done about the commands --------------------------------------------------

    def admitted(self, epoch: str, head: int, now: float) -> list[Command]:
        """The token was good."""
        if self.state is not State.ASKING:
            return []
        self.state = State.OPEN
        self._ping_at = now + PING_S
        welcome = Welcome(
            conn=self.conn, epoch=epoch, head=head, limits=LIMITS, ping_ms=int(PING_S * 1000)
        )
        return [Send(welcome)]

    def denied(self, error: BusError) -> list[Command]:
        """It was not, or too many connections are open by it."""
        if self.state is not State.ASKING:
            return []
        crowded = isinstance(error, Overloaded)
        code = CloseCode.CROWDED if crowded else CloseCode.UNAUTHORIZED
        return [Send(err(None, error)), *self._end(code, str(error))]

    def renewed(self, request: int) -> list[Command]:
        """The connection lives by another token now."""
        return [Send(Ok(id=request))]

    def opened(self, ask: Open, pos: str | None, upto: int, effective: list[str]) -> list[Command]:
        """The subscription is there, at *upto*; its window may be used from now on."""
        window = self.windows[ask.sid] = Window(ask.window)
        window.tell(upto)
        return [Send(Ok(id=ask.id, pos=pos, effective=effective))]

    def refused(self, request: int, error: BusError) -> list[Command]:
        """A request could not be done."""
        return [Send(err(request, error))]

    def held(self, ask: Hold, pos: str, effective: list[str], fence: int) -> list[Command]:
        """The durable subscription is this client's, as long as the connection lasts."""
        if self.state is not State.OPEN:
            return []
        del self._opening[ask.sid]
        self.hands[ask.sid] = Hand(ask.window)
        return [Send(Ok(id=ask.id, pos=pos, effective=effective, fence=fence))]

    def declined(self, ask: Hold, error: BusError) -> list[Command]:
        """It could not be held."""
        if self.state is not State.OPEN:
            return []
        del self._opening[ask.sid]
        return [Send(err(ask.id, error))]

    def lost(self, sid: str, error: BusError) -> list[Command]:
        """A durable subscription is this client's no more."""
        if self.state is not State.OPEN or self.hands.pop(sid, None) is None:
            return []
        return [Close(sid), Send(Ended(sid=sid, code=error.code, message=str(error)))]

    def published(self, ask: Publish, results: Sequence[Published | Refused]) -> list[Command]:
        """Every event of the pub has its result."""
        if self.state is not State.OPEN:
            return []
        return [Send(Ok(id=ask.id, results=list(results)))]

    # --- time -----------------------------------------------------------------------------

    @property
    def deadline(self) -> float:
        if self.state is State.OPEN:
            return self._ping_at if self._pong_by is None else min(self._pong_by, self._ping_at)
        return self._hello_by

    def tick(self, now: float) -> list[Command]:
        """Do what is due at *now*."""
        if self.state is State.ENDED:
            return []
        if self.state is not State.OPEN:
            if now < self._hello_by:
                return []
            return self._end(CloseCode.HANDSHAKE_TIMEOUT, f"no hello within {HELLO_S:g} s")
        if self._pong_by is not None and now >= self._pong_by:
            return self._end(CloseCode.SILENT, f"no pong within {PONG_S:g} s")
        if now < self._ping_at:
            return []
        self._ping_at = now + PING_S
        self._pong_by = now + PONG_S
        return [Send(Ping())]

    def end(self, code: CloseCode, reason: str) -> list[Command]:
        """End it from this side."""
        return [] if self.state is State.ENDED else self._end(code, reason)

    def _end(self, code: CloseCode, reason: str) -> list[Command]:
        self.state = State.ENDED
        return [Send(bye(code, reason)), End(code, reason)]


def _read(data: str | bytes) -> Incoming:
    if isinstance(data, bytes):
        raise BadRequest("frames are text, this one is binary")
    if len(data) > FRAME_BYTES:
        raise PayloadTooLarge(
            f"a frame of {len(data)} characters is over the limit of {FRAME_BYTES} bytes",
            limit=FRAME_BYTES,
        )
    try:
        frame: Incoming = _decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        lone = has_lone_surrogate(data)
        why = "a text has a lone surrogate" if lone else cut(str(error), 160)
        value = None if "token" in data else data  # hello or refresh, misspelt
        raise BadRequest(f"not a frame: {why}", value=value) from None
    return frame


def _rescue(found: dict[str, str]) -> Pub | None:
    """A pub of which only some events can't be read: it is done, and they are refused."""
    events = parts(found.get("events", ""))
    if events is None:
        return None
    head = ",".join(f'"{name}":{value}' for name, value in {**found, "events": "[]"}.items())
    try:
        frame = _read(f"{{{head}}}")
    except BusError:
        return None
    if not isinstance(frame, Pub):
        return None
    return msgspec.structs.replace(frame, events=[msgspec.Raw(event.encode()) for event in events])


def _id(found: dict[str, str]) -> int | None:
    """Whose request it was, if that can be read at all: else its sender would wait for ever."""
    try:
        return msgspec.json.decode(found.get("id", ""), type=int)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _start(frame: Sub) -> str | int:
    """Where the subscription is to begin."""
    if frame.after is not None and frame.start is not None:
        raise BadRequest("a subscription starts by after or by from, not by both")
    if isinstance(frame.after, str) and frame.after in ("now", "earliest", "last"):
        raise BadRequest(f"{frame.after} goes into from, after takes a cursor or a seq")
    return frame.after if frame.after is not None else frame.start or "now"


def _hold(frame: Sub, start: str | int) -> Hold:
    """Check what is asked of a durable subscription; its name first."""
    if frame.durable is not None and frame.group is not None:
        raise BadRequest("a subscription is durable or of a group: give one of them")
    if frame.narrow:
        raise BadRequest("a durable subscription can't be narrowed: give patterns that are allowed")
    name = frame.group if frame.durable is None else frame.durable
    terms = TermsAsked(members=1 if frame.group is None else MEMBERS, window=frame.window)
    if frame.tries is not None:
        terms["tries"] = frame.tries
    if frame.on_exhausted is not None:
        terms["on_exhausted"] = frame.on_exhausted
    check_terms(Terms(), **terms)
    return Hold(
        frame.id,
        frame.sid,
        check_name(name),
        frame.patterns,
        start,
        frame.window,
        frame.member,
        terms,
    )


def _check_sid(sid: str) -> None:
    if not SID.match(sid):
        raise BadRequest(
            f"a sid is 1 to 64 of A-Z a-z 0-9 _ -, got {cut(sid)}", value=sid, limit=64
        )
