"""WebSocketActor: one connection, performed. What it may and must do is ``session.py``'s.

It lives under ``gateway/sessions`` as long as its socket: whichever ends first ends the
other. Its subscriptions and groups end with it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import msgspec

from antiphon.actors import Actor, ActorContext, Reason, Timer
from antiphon.bus import Bus, Lease, Principal
from antiphon.bus.event_bus import SCOPE
from antiphon.bus.event_rules import read_event
from antiphon.errors import ActorDead, BusError, Forbidden, Unauthorized
from antiphon.gateway.audit import Audit
from antiphon.gateway.auth import Auth
from antiphon.gateway.closing import CloseCode
from antiphon.gateway.flusher import Flusher
from antiphon.gateway.hand import Hand
from antiphon.gateway.held import HeldStream
from antiphon.gateway.holdings import Holdings
from antiphon.gateway.holds import Pass
from antiphon.gateway.limits import WRITE_S
from antiphon.gateway.publishing import results, submit
from antiphon.gateway.pump import Pump
from antiphon.gateway.pump import Transport as Writable
from antiphon.gateway.register import Register, subscription_info
from antiphon.gateway.session import (
    Authenticate,
    Close,
    Command,
    End,
    Fail,
    Hold,
    Open,
    Publish,
    Renew,
    Resume,
    Send,
    Session,
    Settle,
)
from antiphon.gateway.stream import Stream
from antiphon.ids import Cursor
from antiphon.messages import Published, Refused, SubscriptionInfo

logger = logging.getLogger(__name__)

PUBLISHES = 32
"""Pubs that may wait for the log before the connection stops taking requests."""
FAREWELL_S = 2.0
"""Seconds to write what is left, the bye included."""

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class FrameIn:
    """The client sent this: text as str, binary as bytes."""

    data: str | bytes


@dataclass(frozen=True, slots=True)
class Tick:
    """Something may be due."""


@dataclass(frozen=True, slots=True)
class ClientLeft:
    """The socket is gone; what was sent before has been handled."""


ConnectionMessage: TypeAlias = FrameIn | Tick | ClientLeft


class Transport(Writable, Protocol):
    """The socket, as the actor sees it."""

    def admitted(self) -> None:
        """It is known now whose it is."""
        ...

    def watch(self, on_room: Callable[[], None]) -> None:
        """Call *on_room* when it takes frames again, or never will."""
        ...

    def end(self, code: CloseCode, reason: str) -> None:
        """The actor has ended, so close the socket: with this, unless it is closed already."""
        ...


class WebSocketActor(Actor[ConnectionMessage]):
    """Serves one connection.

    Args:
        guest: What the connection's cookie opens.
        going: Whether the server is shutting down.
        flusher: Says when frames are written.
    """

    def __init__(
        self,
        bus: Bus,
        transport: Transport,
        *,
        flusher: Flusher,
        auth: Auth,
        audit: Audit,
        guest: Pass | None,
        going: Callable[[], bool],
        register: Register,
    ) -> None:
        self._bus = bus
        self._transport = transport
        self._flusher = flusher
        self._auth = auth
        self._audit = audit
        self._pass = guest
        self._release: Callable[[], None] | None = None
        self._going = going
        self._register = register
        self._streams: dict[str, Stream] = {}
        self._groups: Counter[str] = Counter()
        self._publishing: set[asyncio.Task[None]] = set()
        self._timer: Timer | None = None
        self._closing: tuple[CloseCode, str] = (CloseCode.CRASHED, "the connection's actor ended")

    # --- life -------------------------------------------------------------------------------

    async def pre_start(self, ctx: ActorContext[ConnectionMessage]) -> None:
        self._ref = ctx.myself
        self._clock = ctx.system.clock
        self._session = Session(ctx.myself.path, self._clock.now())
        self._pump = Pump(self._transport, self._flusher, self._failed)
        self._transport.watch(self._pump.go_on)
        self._holdings = Holdings(
            self._bus,
            ctx.myself.path,
            opened=self._held,
            declined=self._declined,
            ready=self._pump.ready,
            failed=self._failed,
        )
        self._scope = ctx.system.groups
        ctx.at_end(self._register.add(self._infos))
        ctx.at_end(self._let_go)
        self._arm(ctx)

    def _let_go(self) -> None:
        """The end of this generation, however it came."""
        if self._release is not None:
            self._release()
        self._pump.close()
        for task in self._publishing:
            task.cancel()
        for stream in self._streams.values():
            stream.close()
        self._holdings.end()
        self._transport.end(*self._closing)

    def _infos(self) -> Iterator[SubscriptionInfo]:
        """What ``GET /v1/subscriptions`` says of this connection."""
        conn, head = self._ref.path, self._bus.head
        for stream in self._streams.values():
            window = self._session.windows[stream.sid]
            yield subscription_info(
                conn, stream.subscription, head, window=window.size, unacked=window.unacked
            )
        for held in self._holdings:
            yield held.info(conn, head)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        """One of the tasks beside the hooks is over; a fault in it is this actor's fault."""
        self._publishing.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        self._failed(error)

    def _failed(self, error: BaseException) -> None:
        logger.error("%s failed beside its hooks", self._ref.path, exc_info=error)
        self._ref.kill(f"{type(error).__name__} beside its hooks")

    async def post_stop(self, reason: Reason, ctx: ActorContext[ConnectionMessage]) -> None:
        """Answer the publishes in hand, say goodbye if that was not done, write it all out."""
        if self._transport.gone:
            return
        try:
            async with asyncio.timeout(FAREWELL_S):
                if self._publishing:
                    await asyncio.wait(self._publishing)
                if self._going():
                    bye = self._session.end(CloseCode.GOING_AWAY, "the server is shutting down")
                    await self._do(bye, ctx)
                await self._pump.drained()
        except TimeoutError:
            logger.info("%s ended with answers unwritten", ctx.myself.path)

    # --- messages ---------------------------------------------------------------------------

    async def handle(self, msg: ConnectionMessage, ctx: ActorContext[ConnectionMessage]) -> None:
        match msg:
            case FrameIn(data):
                await self._do(self._session.receive(data), ctx)
                await self._hold_back(ctx)
            case Tick():
                await self._do(self._session.tick(self._clock.now()), ctx)
                self._holdings.renew()
                for stream in self._streams.values():
                    pos = stream.pos()
                    if pos is not None:
                        self._pump.put(pos)
                self._arm(ctx)
            case ClientLeft():
                ctx.stop("the client left")

    def _arm(self, ctx: ActorContext[ConnectionMessage]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        left = max(0.0, self._session.deadline - self._clock.now())
        self._timer = ctx.send_after(left, Tick())

    async def _hold_back(self, ctx: ActorContext[ConnectionMessage]) -> None:
        """Take no more requests while too many answers are owed."""
        while len(self._publishing) >= PUBLISHES:
            await asyncio.wait(self._publishing, return_when=asyncio.FIRST_COMPLETED)
        if not self._pump.crowded:
            return
        try:
            async with asyncio.timeout(WRITE_S):
                await self._pump.drained()
        except TimeoutError:
            why = f"answers could not be written for {WRITE_S:g} s"
            await self._do(self._session.end(CloseCode.STUCK, why), ctx)

    # --- commands ---------------------------------------------------------------------------

    async def _do(self, commands: list[Command], ctx: ActorContext[ConnectionMessage]) -> None:
        for command in commands:
            match command:
                case Send(frame):
                    self._pump.put(_encode(frame))
                case Authenticate(token):
                    await self._do(self._admit(token), ctx)
                    self._arm(ctx)
                case Renew():
                    await self._do(self._renew(command), ctx)
                case Open():
                    await self._do(self._open(command), ctx)
                case Hold():
                    self._holdings.open(command, lambda: self._principal)
                case Close(sid):
                    self._close(sid)
                case Settle():
                    self._holdings.settle(command)
                case Fail():
                    self._holdings.fail(command)
                case Publish():
                    self._publish(command)
                case Resume(sid):
                    self._pump.ready(self._streams[sid])
                case End(code, reason):
                    self._closing = (code, reason)
                    self._holdings.end()
                    ctx.stop(reason)

    # --- by which token ---------------------------------------------------------------------

    def _admit(self, token: str | None) -> list[Command]:
        if token is not None:
            self._pass = self._auth.by_token(token)
        try:
            if self._pass is None:
                what = "no token was given" if token is None else "this token is not known"
                raise Unauthorized(what)
            self._release = self._auth.hold(self._pass, self._token_ended)
        except BusError as error:
            self._refused(error)
            return self._session.denied(error)
        self._transport.admitted()
        return self._session.admitted(self._bus.epoch, self._bus.head, self._clock.now())

    def _renew(self, ask: Renew) -> list[Command]:
        """Go on by another token of the same name; if it is none, by the present one."""
        before = self._release
        assert before is not None
        passed, name = self._auth.by_token(ask.token), self._principal.name
        try:
            if passed is None:
                raise Unauthorized("this token is not known")
            if passed.principal.name != name:
                raise Forbidden(
                    f"this connection is {name}'s, the token is {passed.principal.name}'s"
                )
            self._release = self._auth.hold(passed, self._token_ended, spare=1)
        except BusError as error:
            self._refused(error)
            return self._session.refused(ask.id, error)
        before()
        self._pass = passed
        return self._session.renewed(ask.id)

    @property
    def _principal(self) -> Principal:
        """Whose connection it is, with the rights of now."""
        assert self._pass is not None
        return self._pass.principal

    def _token_ended(self, why: str) -> None:
        """Deliver and do nothing more, from this very moment on; how the actor fares is one.

        Frames that were cut and not written are not written.
        """
        self._closing = (CloseCode.TOKEN_ENDED, why)
        self._session.end(*self._closing)
        self._pump.close()
        for stream in self._streams.values():
            stream.close()
        self._holdings.end()
        self._transport.end(*self._closing)
        self._ref.stop(why)

    def _declined(self, ask: Hold, error: BusError) -> None:
        self._refused(error)
        self._perform(self._session.declined(ask, error))

    def _refused(self, error: BusError) -> None:
        name = None if self._pass is None else self._pass.principal.name
        self._audit.refused(error, "/v1/ws", name)

    # --- what is asked for ------------------------------------------------------------------

    def _open(self, ask: Open) -> list[Command]:
        try:
            subscription = self._bus.open_subscription(
                ask.patterns,
                start=ask.start,
                principal=self._principal,
                on_ready=lambda: self._wake(ask.sid),
                sid=ask.sid,
                narrow=ask.narrow,
            )
        except BusError as error:
            self._refused(error)
            return self._session.refused(ask.id, error)
        cursor = subscription.cursor
        commands = self._session.opened(
            ask,
            None if ask.start == "last" else cursor,
            Cursor.parse(cursor).seq,
            list(subscription.patterns),
        )
        stream = Stream(subscription, self._session.windows[ask.sid])
        self._streams[ask.sid] = stream
        self._join(subscription.patterns)
        self._pump.ready(stream)
        return commands

    def _held(self, ask: Hold, lease: Lease) -> HeldStream:
        """A durable subscription is open."""
        cursor = self._bus.cursor
        pos, effective = cursor(lease.position), list(lease.patterns)
        self._perform(self._session.held(ask, pos, effective, lease.token))
        self._join(lease.patterns)
        return HeldStream(
            ask.sid,
            lease,
            self._session.hands.get(ask.sid) or Hand(ask.window),
            cursor=cursor,
            lost=lambda error: self._perform(self._session.lost(ask.sid, error)),
        )

    def _wake(self, sid: str) -> None:
        stream = self._streams.get(sid)
        if stream is not None:
            self._pump.ready(stream)

    def _close(self, sid: str) -> None:
        stream = self._streams.pop(sid, None)
        if stream is not None:
            self._pump.forget(stream)
            stream.close()
            self._leave(stream.subscription.patterns)
        held = self._holdings.close(sid)
        if held is not None:
            self._pump.forget(held)
            self._leave(held.lease.patterns)

    def _join(self, patterns: Sequence[str]) -> None:
        for pattern in patterns:
            self._groups[pattern] += 1
            with suppress(ActorDead):  # it is ending, which leaves every group
                self._scope.join(SCOPE, pattern, self._ref)

    def _leave(self, patterns: Sequence[str]) -> None:
        for pattern in patterns:
            self._groups[pattern] -= 1
            if not self._groups[pattern]:
                del self._groups[pattern]
                self._scope.leave(SCOPE, pattern, self._ref)

    def _publish(self, ask: Publish) -> None:
        """Hand the events over now, in order; answer when all are stored or refused."""
        events = [read_event(raw) for raw in ask.events]
        submitted = submit(self._bus, events, self._principal, ask.level, refused=self._refused)

        async def answer() -> None:
            self._put_results(ask, await results(submitted))

        task = asyncio.get_running_loop().create_task(answer())
        self._publishing.add(task)
        task.add_done_callback(self._task_ended)

    def _put_results(self, ask: Publish, done: list[Published | Refused]) -> None:
        self._perform(self._session.published(ask, done))

    def _perform(self, commands: list[Command]) -> None:
        """Do what may follow from something outside of the hooks: say it, close a subscription."""
        for command in commands:
            match command:
                case Send(frame):
                    self._pump.put(_encode(frame))
                case Close(sid):
                    self._close(sid)
                case _:
                    raise AssertionError(f"not outside of a hook: {command!r}")
