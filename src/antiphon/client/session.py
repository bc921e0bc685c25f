"""A client's side of ``bus.v1.json`` over all its connections, without I/O.

Frames and time go in; frames to send, answers and news come out. The shell around it
(``remote.py``) connects, moves frames, and says when a connection is lost; all that was
asked for stays here, and is asked for again on the next one.

Frames: docs/gateway.md. The server's half: ``gateway/session.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from itertools import count

import msgspec

from antiphon.client.following import Following
from antiphon.client.frames import Frame, RawEv, RawOk
from antiphon.client.outbox import Answer, Outbox
from antiphon.client.problems import error_from
from antiphon.client.results import error_of, read_result
from antiphon.errors import BadRequest, BusError, LeaseHeld, LeaseLost, Unauthorized
from antiphon.messages import (
    Bye,
    Ended,
    Err,
    Event,
    Gap,
    Hello,
    Lag,
    Live,
    Ping,
    Pong,
    Pos,
    Refresh,
    Refused,
    Reset,
    Unsub,
    Welcome,
)

GRACE_S = 10.0
"""A connection is lost if nothing comes for so long after a ping was due."""
ACK_IDLE_S = 0.25
"""What was handled is acknowledged after so long, if not before: by a quarter of a window."""
HELD_AGAIN_S = 1.0
"""A durable subscription that a lost connection still holds is asked for again so often."""
MOST_FRAME_BYTES = 1024 * 1024
"""A larger frame would end the connection, and each one after it."""
NO_TOKEN = (4501, 4502)
"""Close codes: the token isn't known, or has ended."""

_encode = msgspec.json.Encoder().encode


class State(Enum):
    """How the connection stands."""

    DOWN = auto()
    GREETING = auto()
    LIVE = auto()
    ENDED = auto()


class Session:
    """See the module's text. Time is seconds of any clock that never goes back.

    Args:
        news: Called with each subscription that has something for its reader.

    Attributes:
        silence_s: So long may pass between two frames.
        error: Why it has ended for good.
    """

    def __init__(
        self, token: str | None, outbox: Outbox, *, news: Callable[[Following], None]
    ) -> None:
        self.token = token
        self.outbox = outbox
        self.state = State.DOWN
        self.silence_s = GRACE_S
        self.error: BusError | None = None
        self._news = news
        self._followings: dict[str, Following] = {}
        self._requests = count(1)
        self._opening: dict[int, Following] = {}
        self._asked: dict[int, Callable[[BusError | None], None]] = {}
        self._again: dict[Following, float] = {}
        self._owing: dict[Following, float] = {}
        self._frames: list[bytes] = []
        self._refusal: BusError | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it is of no use any more."""
        return self.state is State.ENDED

    # --- what the client asks for -----------------------------------------------------------

    def follow(self, following: Following) -> None:
        """Open *following*, now or with the next connection."""
        self._followings[following.sid] = following
        self._open(following)

    def leave(self, following: Following) -> None:
        """Want nothing more of it."""
        if self._followings.pop(following.sid, None) is None:
            return
        self._again.pop(following, None)
        self._owing.pop(following, None)
        if self.state is State.LIVE:
            self._frames.append(_encode(Unsub(id=next(self._requests), sid=following.sid)))

    def say(self, frame: bytes | None) -> None:
        """Send *frame* if there is one, and a connection to send it on."""
        if frame is not None and self.state is State.LIVE:
            self._frames.append(frame)

    def handled(self, following: Following, frame: bytes | None, now: float) -> bool:
        """Something of *following* was handled; whether there is a new reason to ask for frames.

        Args:
            frame: What ``following`` has to say now; None leaves it for a quiet moment.
        """
        if self.state is not State.LIVE:
            return False
        if frame is not None:
            self._owing.pop(following, None)
            self._frames.append(frame)
            return True
        if not following.owes or following in self._owing:
            return False
        self._owing[following] = now + ACK_IDLE_S
        return True

    def failed(
        self, following: Following, event: Event | None, delay_s: float | None, reason: str
    ) -> bool:
        """*event*, or the last one, failed; whether there is a new reason to ask for frames."""
        request = next(self._requests)
        frame = following.failed(delay_s, reason, event, request=request)
        if frame is None or self.state is not State.LIVE:
            return False
        self._asked[request] = lambda _: following.given_back(request)
        self._frames.append(frame)
        return True

    def refresh(self, token: str, done: Callable[[BusError | None], None]) -> None:
        """Go on by *token*, on this connection and all later ones."""
        self.token = token
        if self.state is not State.LIVE:
            done(None)
            return
        request = next(self._requests)
        self._asked[request] = done
        self._frames.append(_encode(Refresh(id=request, token=token)))

    def _open(self, following: Following) -> None:
        if self.state is State.LIVE:
            request = next(self._requests)
            frame = following.sub(request)
            if len(frame) > MOST_FRAME_BYTES:
                why = f"patterns and options have {len(frame)} bytes, a frame has at most"
                error = BadRequest(f"{why} {MOST_FRAME_BYTES}", limit=MOST_FRAME_BYTES)
                self._let_go(following, error)
                return
            self._opening[request] = following
            self._frames.append(frame)

    # --- connections ------------------------------------------------------------------------

    def connected(self) -> None:
        """There is a new connection: say hello on it."""
        self.state = State.GREETING
        self.silence_s = GRACE_S
        self._refusal = None
        self._frames = [_encode(Hello(v=1, token=self.token))]

    def lost(self, code: int, reason: str) -> None:
        """The connection is gone, by this close code; 1006: without one."""
        self._frames = []
        for following in self._opening.values():
            following.was_cut = True
        self._opening.clear()
        self._again.clear()
        self._owing.clear()
        self.outbox.lost()
        for done in self._asked.values():
            done(None)  # the next hello goes by the new token
        self._asked.clear()
        self.state = State.DOWN
        if 4500 <= code <= 4999:
            self.end(self._final(code, reason))
            return
        for following in self._followings.values():
            following.lost(f"{code} {reason}".strip())
            self._news(following)

    def end(self, error: BusError) -> None:
        """Nothing more is of use: everybody who waits is told."""
        self.state = State.ENDED
        self.error = error
        for following in self._followings.values():
            following.end(error)
            self._news(following)
        self._followings.clear()
        self.outbox.give_up(lambda entry: error)

    def _final(self, code: int, reason: str) -> BusError:
        if code in NO_TOKEN:
            return Unauthorized(reason or "the server doesn't know this token")
        return self._refusal or BusError(f"the server closed the connection: {code} {reason}")

    # --- frames -----------------------------------------------------------------------------

    def frames(self, now: float) -> list[bytes]:
        """What is to be sent now, in this order."""
        if self.state is State.LIVE:
            for following in [f for f, at in self._again.items() if at <= now]:
                del self._again[following]
                self._open(following)
            for following in [f for f, at in self._owing.items() if at <= now]:
                del self._owing[following]
                self.say(following.acknowledge())
            while frame := self._next_publish(now):
                self._frames.append(frame)
        found, self._frames = self._frames, []
        return found

    def _next_publish(self, now: float) -> bytes | None:
        if self.outbox.deadline is None:
            return None
        return self.outbox.next_frame(next(self._requests), now)

    @property
    def deadline(self) -> float | None:
        """When to ask for frames again, even if nothing happens."""
        if self.state is not State.LIVE:
            return None
        due = [*self._again.values(), *self._owing.values()]
        if (at := self.outbox.deadline) is not None:
            due.append(at)
        return min(due, default=None)

    def receive(self, frame: Frame, now: float) -> None:
        """Take one frame of the server."""
        match frame:
            case RawEv() | Pos() | Gap() | Reset() | Lag() | Live():
                self._for_one(frame)
            case RawOk():
                self._done(frame, now)
            case Err():
                self._failed(frame, now)
            case Ping():
                self._frames.append(_encode(Pong()))
            case Welcome():
                self._welcome(frame)
            case Ended():
                self._ended(frame, now)
            case Bye():
                pass  # the close says it again

    def _welcome(self, frame: Welcome) -> None:
        self.state = State.LIVE
        self.silence_s = frame.ping_ms / 1000 + GRACE_S
        for following in list(self._followings.values()):
            self._open(following)

    def _for_one(self, frame: RawEv | Pos | Gap | Reset | Lag | Live) -> None:
        following = self._followings.get(frame.sid)
        if following is None:
            return  # it crossed an unsub
        match frame:
            case RawEv():
                following.events(frame)
            case Gap():
                following.gap(frame)
            case Reset():
                following.reset(frame)
            case Lag():
                following.lag(frame)
            case Pos():
                following.pos(frame.cursor)
            case Live():
                following.live()
        self._news(following)

    def _done(self, frame: RawOk, now: float) -> None:
        if (following := self._opening.pop(frame.id, None)) is not None:
            following.opened(frame.pos)
            self._news(following)
        elif (done := self._asked.pop(frame.id, None)) is not None:
            done(None)
        elif frame.results is not None:
            self.outbox.answered(frame.id, [_answer(raw) for raw in frame.results], now)

    def _failed(self, frame: Err, now: float) -> None:
        error = error_from(
            frame.code,
            frame.message,
            value=frame.value,
            limit=frame.limit,
            retry_after_ms=frame.retry_after_ms,
            last_seq=frame.last_seq,
        )
        if frame.id is None:
            self._refusal = error
        elif (following := self._opening.pop(frame.id, None)) is not None:
            if following.sid not in self._followings:
                return  # it was left meanwhile
            if isinstance(error, LeaseHeld) and (following.has_begun or following.was_cut):
                self._again[following] = now + HELD_AGAIN_S
            else:
                self._let_go(following, error)
        elif (done := self._asked.pop(frame.id, None)) is not None:
            done(error)
        else:
            self.outbox.refused(frame.id, error, now)

    def _ended(self, frame: Ended, now: float) -> None:
        following = self._followings.get(frame.sid)
        if following is None:
            return
        error = error_from(frame.code, frame.message)
        if isinstance(error, LeaseLost):
            self._again[following] = now + HELD_AGAIN_S
        else:
            self._let_go(following, error)

    def _let_go(self, following: Following, error: BusError) -> None:
        self._followings.pop(following.sid, None)
        following.end(error)
        self._news(following)


def _answer(raw: msgspec.Raw) -> Answer:
    result = read_result(raw)
    return error_of(result) if isinstance(result, Refused) else result
