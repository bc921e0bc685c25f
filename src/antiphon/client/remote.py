"""A bus elsewhere: publish to a server and follow it from any asyncio program.

One WebSocket carries everything. It is opened again by itself, with backoff and jitter, and
goes on where it was: ``session.py`` keeps what was asked for. Questions about what is stored go
by HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
from collections.abc import AsyncIterator, Callable, Iterable
from itertools import count
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, TypeVar, Unpack

import msgspec

from antiphon.client.backoff import MOST_S, Backoff
from antiphon.client.dial import dial
from antiphon.client.endpoint import Endpoint, NoServer
from antiphon.client.following import Following
from antiphon.client.frames import decode_frame
from antiphon.client.http import PAGE_EVENTS, HttpClient
from antiphon.client.outbox import MOST_EVENT_BYTES, Answer, Entry, Outbox
from antiphon.client.session import Session, State
from antiphon.client.subscription import RemoteSubscription
from antiphon.client.writing import written
from antiphon.errors import (
    AntiphonError,
    BusClosed,
    BusError,
    Overloaded,
    PayloadTooLarge,
    Unauthorized,
)
from antiphon.ids import new_id
from antiphon.messages import Bye, Event, EventIn, Level, Published, StartWord, TopicInfo

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

    from antiphon.client.fields import EventFields, HoldFields

logger = logging.getLogger(__name__)

CLOSE_S = 10.0
CLOSED = "this client is closed"

_encode = msgspec.json.Encoder().encode
_event = msgspec.json.Decoder(Event).decode

T = TypeVar("T")
LinkState = Literal["connecting", "live", "ended"]


class Page(NamedTuple):
    """A page of a query.

    Attributes:
        cursor: The position after the page: ``subscribe(after=cursor)`` goes on there.
        next: What the same query takes as ``after`` (or ``before``) for the next page; None at
            the end.
    """

    events: list[Event]
    cursor: str
    next: str | None


class RemoteBus:
    """A server's bus, as ``antiphon.connect`` gives it; an async context manager.

    Args:
        find: Says where the server is, asked at every connect: it may have moved.
        most_events, most_bytes: Of publishes that wait for their answers.
        on_link: Told of each change: the new state, and why.
        most_pause: Seconds between two connects, at most.

    Raises:
        NoServer: On entering, nobody answers; later it connects again by itself.
        Unauthorized: On entering, the token isn't known. If that happens later, or the token
            ends, every call and every iteration raises it.
    """

    def __init__(
        self,
        find: Callable[[], Endpoint],
        *,
        most_events: int | None = None,
        most_bytes: int | None = None,
        on_link: Callable[[LinkState, str], None] | None = None,
        most_pause: float = MOST_S,
    ) -> None:
        bounds = {"most_events": most_events, "most_bytes": most_bytes}
        self._find = find
        self._outbox = Outbox(**{name: most for name, most in bounds.items() if most is not None})
        self._on_link = on_link
        self._most_pause = most_pause
        self._token: str | None = None
        self._session = Session(None, self._outbox, news=self._wake)
        self._readers: dict[Following, asyncio.Event] = {}
        self._sids = count(1)
        self._more = asyncio.Event()
        self._room = asyncio.Event()
        self._empty = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._closed = False

    # --- life -------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        up: asyncio.Future[None] = loop.create_future()
        self._running = loop.create_task(self._run(up), name="antiphon client")
        try:
            await up
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            await self._stop()
        else:
            await self.aclose()

    async def aclose(self, timeout: float = CLOSE_S) -> None:
        """Wait until everything is published, then let go. Idempotent.

        Raises:
            NoServer: Not everything was answered in *timeout* seconds: outcome unknown.
        """
        with contextlib.suppress(TimeoutError, BusError):
            async with asyncio.timeout(timeout):
                await self.flush()
        left = await self._stop()
        if left:
            ids = ", ".join(entry.id for entry in left[:3]) + (", …" if len(left) > 3 else "")
            raise NoServer(f"{len(left)} events were not acknowledged: {ids}", sent=True)

    async def _stop(self) -> list[Entry]:
        """Let go of everything; what was not answered."""
        self._closed = True
        if self._running is not None:
            self._running.cancel()  # what was said before, acks too, is written before it ends
            await asyncio.wait((self._running,))
        left = self._outbox.give_up(
            lambda entry: NoServer(f"{entry.id} was not acknowledged", sent=entry.sent)
        )
        if not self._session.has_ended:
            self._session.end(BusClosed(CLOSED))
        self._room.set()
        return left

    @property
    def state(self) -> LinkState:
        """How the connection stands."""
        if self._session.has_ended:
            return "ended"
        return "live" if self._session.state is State.LIVE else "connecting"

    @property
    def unanswered(self) -> int:
        """Publishes that wait for their answers."""
        return len(self._outbox)

    # --- publishing -------------------------------------------------------------------------

    async def publish(
        self,
        topic: str,
        payload: Any = None,
        *,
        level: Level = "synced",
        timeout: float = 30.0,
        **fields: Unpack[EventFields],
    ) -> Published:
        """Publish one event, and wait until it is stored, as *level* says.

        Without an answer it is sent again, on as many connections as it takes; its *id*, made
        here if none is given, sees to it that it is stored once.

        Raises:
            BusError: The server refused it, and will again.
            Overloaded, StorageUnavailable: It still had no room after *timeout* seconds.
            NoServer: There was no answer within *timeout* seconds. ``sent`` says whether the
                outcome is unknown; to repeat it with the same id does no harm.
        """
        data = self._written(EventIn(topic=topic, payload=payload, **fields))
        entry: Entry | None = None
        try:
            async with asyncio.timeout(timeout):
                entry, answered = await self._put_when_room(*data, level)
                return await answered
        except TimeoutError:
            raise self._overdue(entry, timeout) from None
        except asyncio.CancelledError:
            if entry is not None:
                self._took_back(entry)
            raise

    def publish_nowait(
        self,
        topic: str,
        payload: Any = None,
        *,
        level: Level = "synced",
        **fields: Unpack[EventFields],
    ) -> asyncio.Future[Published]:
        """Queue one event; the future is its answer, and may be left alone.

        Raises:
            Overloaded: Too many wait already.
        """
        data = self._written(EventIn(topic=topic, payload=payload, **fields))
        if not self._outbox.has_room(len(data[1])):
            box = self._outbox
            raise Overloaded(
                f"{len(box)} events of {box.size_bytes} bytes wait to be published already",
                limit=box.most_events,
            )
        _, answered = self._put(*data, level)
        answered.add_done_callback(_look)
        return answered

    async def publish_many(
        self, events: Iterable[EventIn], *, level: Level = "synced", timeout: float = 30.0
    ) -> list[Published | AntiphonError]:
        """Publish *events* in their order, any number; what came of each, in the same order.

        Errors are given, not raised: those of ``publish``.

        Args:
            timeout: Seconds for all of them.
        """
        put: list[tuple[Entry, asyncio.Future[Published]] | AntiphonError] = []
        events = list(events)
        try:
            async with asyncio.timeout(timeout):
                for event in events:
                    put.append(await self._put_or_refusal(event, level))  # noqa: PERF401 - may end
                if answers := [one[1] for one in put if isinstance(one, tuple)]:
                    await asyncio.wait(answers)
        except asyncio.CancelledError:
            for one in put:
                if isinstance(one, tuple):
                    self._took_back(one[0])
            raise
        except TimeoutError:
            put += [self._overdue(None, timeout)] * (len(events) - len(put))
        return [self._outcome(*one, timeout) if isinstance(one, tuple) else one for one in put]

    async def _put_or_refusal(
        self, event: EventIn, level: Level
    ) -> tuple[Entry, asyncio.Future[Published]] | AntiphonError:
        try:
            return await self._put_when_room(*self._written(event), level)
        except BusError as error:
            return error

    def _outcome(
        self, entry: Entry, answered: asyncio.Future[Published], timeout: float
    ) -> Published | AntiphonError:
        if not answered.done():
            return self._overdue(entry, timeout)
        error = answered.exception()
        if error is None:
            return answered.result()
        assert isinstance(error, AntiphonError)
        return error

    async def flush(self) -> None:
        """Wait until every publish is answered."""
        while len(self._outbox):
            self._empty.clear()
            await self._empty.wait()

    def _overdue(self, entry: Entry | None, timeout: float) -> BusError | NoServer:
        """Why *entry* was not answered in time; it is taken back, if it has not left."""
        if entry is None:
            return NoServer(f"not published: there was no room for it within {timeout:g} s")
        taken = self._took_back(entry)
        if entry.refused is not None:
            return entry.refused
        if not taken:
            why = f"no answer within {timeout:g} s: {entry.id} may be stored"
            return NoServer(why, sent=True)
        return NoServer(f"not published: no server took it within {timeout:g} s")

    def _took_back(self, entry: Entry) -> bool:
        """Whether *entry* had not left yet, and never will."""
        taken = self._outbox.take_back(entry)
        if taken:
            self._freed()
        return taken

    def _freed(self) -> None:
        self._room.set()
        if not len(self._outbox):
            self._empty.set()

    def _written(self, event: EventIn) -> tuple[str, bytes]:
        """The id and the JSON of *event*, as it is now."""
        self._check()
        name = event.id or new_id()
        data = written(msgspec.structs.replace(event, id=name))
        if len(data) > MOST_EVENT_BYTES:
            why = f"an event of {len(data)} bytes fits into no frame: {MOST_EVENT_BYTES} at most"
            raise PayloadTooLarge(why, limit=MOST_EVENT_BYTES)
        return name, data

    async def _put_when_room(
        self, name: str, data: bytes, level: Level
    ) -> tuple[Entry, asyncio.Future[Published]]:
        while not self._outbox.has_room(len(data)):
            self._room.clear()
            await self._room.wait()
        return self._put(name, data, level)

    def _put(self, name: str, data: bytes, level: Level) -> tuple[Entry, asyncio.Future[Published]]:
        self._check()
        answered: asyncio.Future[Published] = asyncio.get_running_loop().create_future()

        def settle(answer: Answer) -> None:
            self._freed()
            if answered.done():
                return
            if isinstance(answer, Published):
                answered.set_result(answer)
            else:
                answered.set_exception(answer)

        entry = Entry(name, data, level, settle)
        self._outbox.put(entry)
        self._more.set()
        return entry, answered

    # --- following --------------------------------------------------------------------------

    def subscribe(
        self,
        *patterns: str,
        start: StartWord = "now",
        after: str | int | None = None,
        narrow: bool = False,
        window: int = 1000,
        auto_ack: bool = True,
        **hold: Unpack[HoldFields],
    ) -> RemoteSubscription:
        """Follow events: ``async for event in bus.subscribe("worker.*"):``.

        Each stored event comes once and in order, over all connections; with ``durable`` or
        ``group`` at least once, and the server keeps the place.

        Args:
            start: Where to begin: ``now``, ``earliest``, ``last``.
            after: A cursor or a seq to go on from, in place of *start*.
            narrow: Take what the token allows of the patterns, in place of ``Forbidden``.
            window: Most events that the server sends ahead.
            auto_ack: Off: of a durable one, only ``ack`` says that an event was handled, so
                that several can be handled at a time.
            hold: ``durable=NAME`` holds the durable subscription of that name, ``group=NAME``
                joins a group (``member=NAME`` keeps its share); ``tries`` and
                ``on_exhausted`` (``park`` or ``stop``) are its terms.
        """
        self._check()
        options: dict[str, Any] = {"window": window, **hold}
        if narrow:
            options["narrow"] = True
        following = Following(f"s{next(self._sids)}", patterns, start=start, after=after, **options)
        self._follow(following)
        return RemoteSubscription(self, following, auto_ack=auto_ack)

    def _follow(self, following: Following) -> asyncio.Event:
        """Open *following*; the event is set when there is something new for its reader."""
        ready = self._readers[following] = asyncio.Event()
        self._session.follow(following)
        self._more.set()
        return ready

    def _handled(self, following: Following, frame: bytes | None) -> None:
        if self._session.handled(following, frame, asyncio.get_running_loop().time()):
            self._more.set()

    def _leave(self, following: Following) -> None:
        self._session.leave(following)
        self._more.set()
        if (ready := self._readers.pop(following, None)) is not None:
            ready.set()

    # --- asking -----------------------------------------------------------------------------

    async def query(self, *patterns: str, **wanted: Any) -> Page:
        """One page of stored events, and where to go on.

        Args:
            wanted: ``after``, ``before``, ``order``, ``since``, ``until``, ``type``, ``source``,
                ``correlation_id``, ``limit``: as ``GET /v1/events`` takes them.
        """
        page = await self._ask(lambda http: http.query(patterns, **wanted))
        return Page([_event(data) for data in page.events], page.cursor, page.next)

    async def history(self, *patterns: str, **wanted: Any) -> AsyncIterator[Event]:
        """Every stored event, page after page; takes what ``query`` takes.

        Oldest first; with ``order="desc"`` newest first.
        """
        wanted.setdefault("limit", PAGE_EVENTS)
        while True:
            page = await self.query(*patterns, **wanted)
            for event in page.events:
                yield event
            if page.next is None:
                return
            wanted[onward(wanted)] = page.next

    async def event(self, seq: int) -> Event:
        """One event.

        Raises:
            NotFound: There is none, or it is not for this token.
        """
        return _event(await self._ask(lambda http: http.event(seq)))

    async def topics(self, *patterns: str) -> list[TopicInfo]:
        """The topics in the log."""
        return await self._ask(lambda http: http.topics(patterns))

    async def _ask(self, question: Callable[[HttpClient], T]) -> T:
        self._check()

        def ask() -> T:
            with HttpClient(self._endpoint()) as http:
                return question(http)

        return await asyncio.to_thread(ask)

    async def refresh(self, token: str) -> None:
        """Go on by another token of the same name, with its rights, at once.

        Raises:
            Unauthorized, Forbidden: It isn't known; it is somebody else's.
        """
        self._check()
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        before = self._session.token

        def done(error: BusError | None) -> None:
            if answered.done():
                return
            if error is None:
                answered.set_result(None)
            else:
                answered.set_exception(error)

        self._session.refresh(token, done)
        self._more.set()
        try:
            await answered
        except BusError:
            self._session.token = before
            raise
        self._token = token

    # --- the connection ---------------------------------------------------------------------

    def _check(self) -> None:
        """Raise why this client is of no use any more."""
        if self._session.error is not None:
            raise self._session.error
        if self._closed or self._running is None:
            raise BusClosed(CLOSED if self._closed else "enter this client with async with first")

    def _endpoint(self) -> Endpoint:
        found = self._find()
        return found if self._token is None else _with_token(found, self._token)

    def _wake(self, following: Following) -> None:
        if (ready := self._readers.get(following)) is not None:
            ready.set()

    def _tell(self, state: LinkState, why: str) -> None:
        if self._on_link is not None:
            try:
                self._on_link(state, why)
            except Exception:
                logger.exception("on_link failed at %s", state)

    async def _run(self, up: asyncio.Future[None]) -> None:
        """Connect, and again, until it is of no use any more."""
        waits = Backoff(self._most_pause)
        while not self._session.has_ended:
            error: Exception
            lasted = 0.0
            try:
                lasted = await self._connection(up)
                error = NoServer("lost the server")
            except Unauthorized as refused:
                self._session.end(refused)
                error = refused
            except (NoServer, BusError) as failed:
                error = failed
            except Exception as fault:  # everybody who waits is told, or would wait for ever
                logger.exception("the client failed")
                error = BusError(f"the client failed: {fault!r}")
                self._session.end(error)
            if not up.done():
                up.set_exception(self._session.error or error)
                return
            self._tell(self.state, str(self._session.error or error))
            if not self._session.has_ended:
                await asyncio.sleep(waits.wait_s(lasted, random.random()))
        self._room.set()

    async def _connection(self, up: asyncio.Future[None]) -> float:
        """One connection, from its handshake until it is lost; how many seconds it was live.

        Raises:
            NoServer: There was none, or not for long enough to say hello.
        """
        endpoint = self._endpoint()
        session, now = self._session, asyncio.get_running_loop().time
        live_at: float | None = None
        async with await dial(endpoint) as socket:
            session.token = endpoint.token
            session.connected()
            writing = asyncio.create_task(self._write(socket))
            code, why = 1006, "connection lost"
            try:
                while True:
                    code_why = await self._read_one(socket)
                    if code_why is not None:
                        code, why = code_why
                        break
                    if session.state is State.LIVE and live_at is None:
                        live_at = now()
                        self._tell("live", endpoint.url)
                        if not up.done():
                            up.set_result(None)
            finally:
                writing.cancel()
                session.lost(code, why)
        if live_at is None:
            raise NoServer(f"lost the server at {endpoint.url}: {why}")
        return now() - live_at

    async def _read_one(self, socket: ClientConnection) -> tuple[int, str] | None:
        """Take one frame; the close code and the reason, if there are no more."""
        from websockets.exceptions import ConnectionClosed

        try:
            async with asyncio.timeout(self._session.silence_s):
                data = await socket.recv(decode=False)
        except TimeoutError:
            return 1006, f"silent for {self._session.silence_s:.0f} s"
        except ConnectionClosed as error:
            received = error.rcvd
            return (
                (1006, "connection lost") if received is None else (received.code, received.reason)
            )
        try:
            frame = decode_frame(data)
            if frame is not None:
                self._session.receive(frame, asyncio.get_running_loop().time())
        except msgspec.DecodeError as error:
            return 1006, f"the server sent what is no frame: {error}"
        self._more.set()
        return (frame.code, frame.reason) if isinstance(frame, Bye) else None

    async def _write(self, socket: ClientConnection) -> None:
        from websockets.exceptions import ConnectionClosed

        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionClosed):
            while True:
                self._more.clear()
                for frame in self._session.frames(loop.time()):
                    await socket.send(frame, text=True)
                at = self._session.deadline
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(at):
                        await self._more.wait()


def onward(wanted: dict[str, Any]) -> str:
    """Which parameter of the same query takes the position of the next page."""
    return "before" if wanted.get("order") == "desc" else "after"


def _with_token(endpoint: Endpoint, token: str) -> Endpoint:
    """*endpoint* with another token."""
    return Endpoint(endpoint.url, token, endpoint.cert)


def _look(answered: asyncio.Future[Published]) -> None:
    """Tell the log a refusal that nobody waits for; ``aclose`` tells the rest."""
    if not answered.cancelled() and isinstance(error := answered.exception(), BusError):
        logger.warning("a publish was refused: %s", error)


def connect(
    url: str | None = None,
    token: str | None = None,
    *,
    most_events: int | None = None,
    most_bytes: int | None = None,
    on_link: Callable[[LinkState, str], None] | None = None,
) -> RemoteBus:
    """A client of the server at *url*: ``async with antiphon.connect() as bus:``.

    Args:
        url: ``http://HOST:PORT``, ``https://…`` or ``unix:///PATH``; None: ``ANTIPHON_URL``,
            else the server of this machine's data folder.
        token: None: ``ANTIPHON_TOKEN``, else that of the data folder, for its own server.
        most_events, most_bytes: Of publishes that wait for their answers: 10,000, 16 MiB.
        on_link: Told of each change of the connection: ``live``, ``connecting`` or ``ended``,
            and the address or the reason.

    Raises:
        BadRequest: *url* is no address.
    """
    from antiphon.client.local import URL_VARIABLE, find

    address = url or os.environ.get(URL_VARIABLE) or None
    if address is not None:
        Endpoint(address, token)

    def where() -> Endpoint:
        found = find(url=address)
        return found if token is None else _with_token(found, token)

    return RemoteBus(where, most_events=most_events, most_bytes=most_bytes, on_link=on_link)
