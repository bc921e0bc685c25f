"""A real gateway on a free port of this machine, over a real bus; clients that speak to it."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError

from antiphon.actors import ActorSystem, Child, Supervisor
from antiphon.bus import (
    BUS,
    JANITOR,
    STORE,
    Bus,
    EventBusActor,
    EventStoreActor,
    Janitor,
    JanitorActor,
    Log,
    Policies,
    Quota,
    Quotas,
    Table,
)
from antiphon.errors import BadRequest, NotFound
from antiphon.gateway import SESSIONS, Auth, Doors, Gateway, bind
from antiphon.messages import WorkerInfo, WorkerStart
from antiphon.stores import MemoryEventStore

TOKEN = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
T = TypeVar("T")


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class DeskWorkers:
    """Keeps workers on paper; refuses as the real ones do."""

    def __init__(self) -> None:
        self.known: dict[str, WorkerInfo] = {}

    async def start(self, ask: WorkerStart) -> WorkerInfo:
        if not ask.argv:
            raise BadRequest("argv is empty")
        name = ask.name or "w1"
        self.known[name] = WorkerInfo(
            id=name, run="r1", argv=ask.argv, cwd="/", state="starting", restart=ask.restart
        )
        return self.known[name]

    async def stop(self, name: str) -> WorkerInfo:
        if name not in self.known:
            raise NotFound(f"no worker {name}", value=name)
        return self.known.pop(name)

    async def list(self) -> list[WorkerInfo]:
        return list(self.known.values())


class Desk:
    """One running server and its clients."""

    def __init__(
        self, system: ActorSystem, bus: Bus, gateway: Gateway, store: MemoryEventStore
    ) -> None:
        self.bus = bus
        self.system = system
        self.gateway = gateway
        self.port = gateway.port
        self.store = store
        self.token = TOKEN
        self.shut_down = asyncio.Event()

    # --- HTTP ---

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        headers: dict[str, str] | None = None,
        *,
        token: str | None = TOKEN,
    ) -> Answer:
        """One request with the token, from a thread."""
        sent = {} if token is None else {"Authorization": f"Bearer {token}"}
        if body is not None:
            sent["Content-Type"] = "application/json"
        sent.update(headers or {})
        sent = {name: value for name, value in sent.items() if value != ""}
        return await asyncio.to_thread(_ask, self.port, method, path, body, sent)

    async def get(self, path: str, **options: Any) -> Any:
        answer = await self.ask("GET", path, **options)
        assert answer.status == 200, answer
        return answer.json()

    async def post(self, path: str, body: object, **options: Any) -> Answer:
        return await self.ask("POST", path, json.dumps(body), **options)

    # --- WebSocket ---

    @asynccontextmanager
    async def socket(self, **options: Any) -> AsyncIterator[Socket]:
        """A connection that has not said hello."""
        options.setdefault("subprotocols", ["bus.v1.json"])
        options.setdefault("proxy", None)
        options.setdefault("ping_interval", None)
        options.setdefault("max_size", None)
        options.setdefault("max_queue", None)  # so that unread frames don't delay the close
        options.setdefault("compression", None)
        async with connect(f"ws://127.0.0.1:{self.port}/v1/ws", **options) as connection:
            yield Socket(connection)

    @asynccontextmanager
    async def client(self, token: str | None = None, **options: Any) -> AsyncIterator[Socket]:
        """A connection that has been welcomed, by the admin token unless another is given."""
        async with self.socket(**options) as socket:
            await socket.hello(token or self.token)
            yield socket

    async def issue(self, name: str, **ask: Any) -> str:
        """A token for *name*."""
        answer = await self.post("/v1/tokens", {"name": name, **ask})
        assert answer.status == 201, answer
        return str(answer.json()["token"])

    def connections(self) -> list[str]:
        """The keys of the living connections' actors."""
        keys = (info.key for info in self.system.actors())
        return [key for key in keys if key.startswith("gateway/sessions/")]


class Socket:
    """Frames as dicts."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.welcome: dict[str, Any] = {}

    async def hello(self, token: str | None) -> None:
        await self.send("hello", v=1, token=token)
        self.welcome = await self.expect("welcome")

    async def send(self, op: str, **fields: Any) -> None:
        await self.connection.send(json.dumps({"op": op, **fields}))

    async def frame(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            frame = json.loads(await self.connection.recv())
        assert isinstance(frame, dict)
        return frame

    async def expect(self, *ops: str) -> dict[str, Any]:
        frame = await self.frame()
        assert frame["op"] in ops, frame
        return frame

    async def until(self, op: str) -> dict[str, Any]:
        """The next frame of that kind; others are passed over."""
        while (frame := await self.frame())["op"] != op:
            pass
        return frame

    async def sub(self, sid: str, *patterns: str, **fields: Any) -> dict[str, Any]:
        await self.send("sub", id=1, sid=sid, patterns=list(patterns) or ["*"], **fields)
        return await self.until("ok")

    async def pub(self, *events: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
        await self.send("pub", id=9, events=list(events), **fields)
        results = (await self.until("ok"))["results"]
        assert isinstance(results, list)
        return results

    async def seqs(self, sid: str, count: int, *, ack: bool = True) -> list[int]:
        """The seqs of the next *count* events of one subscription."""
        seqs: list[int] = []
        while len(seqs) < count:
            frame = await self.until("ev")
            if frame["sid"] == sid:
                seqs += [event["seq"] for event in frame["events"]]
                if ack:
                    await self.send("ack", sid=sid, seq=seqs[-1])
        return seqs

    async def closed(self) -> tuple[int, str]:
        """Read to the end; the close code and reason."""
        async with asyncio.timeout(15):
            with suppress(ConnectionClosedError):
                async for _ in self.connection:
                    pass
            await self.connection.wait_closed()
        return self.connection.close_code or 0, self.connection.close_reason or ""


def _ask(
    port: int, method: str, path: str, body: bytes | str | None, headers: dict[str, str]
) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers)
        data = body.encode() if isinstance(body, str) else body
        if data is not None:
            connection.putheader("Content-Length", str(len(data)))
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(data)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


@asynccontextmanager
async def serving(
    web: Path,
    *,
    auth: Auth | None = None,
    doors: Doors | None = None,
    quota: Quota | None = None,
    **options: Any,
) -> AsyncIterator[Desk]:
    """A server with nothing in its log."""
    store = MemoryEventStore()
    log = Log(store)
    table = Table(log)
    try:
        async with ActorSystem("desk") as system:
            quotas = None if quota is None else Quotas(log, quota)
            bus = Bus(log, system.ref(BUS), quotas=quotas)
            janitor = Janitor(bus, Policies())
            owners: list[Child[Any]] = [
                Child(STORE, lambda: EventStoreActor(log)),
                Child(BUS, lambda: EventBusActor(table)),
                Child(JANITOR, lambda: JanitorActor(janitor)),
            ]
            await system.supervise(Supervisor(owners), name="log")
            gateway = Gateway(
                bus=bus,
                system=system,
                auth=Auth(TOKEN) if auth is None else auth,
                workers=DeskWorkers(),
                doors=doors or Doors(tcp=bind("127.0.0.1", 0)),
                status=lambda: {"head": bus.head},
                shutdown=lambda: desk.shut_down.set(),
                web=web,
                **options,
            )
            desk = Desk(system, bus, gateway, store)
            sessions = Supervisor([Child(SESSIONS, gateway.sessions)])
            await system.supervise(sessions, name="gateway")
            await gateway.start()
            try:
                yield desk
            finally:
                await gateway.aclose()
    finally:
        await log.aclose(5.0)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with serving(tmp_path / "web") as running:
        yield running


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Waits for a condition, in the loop's own ticks."""

    async def wait(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.002)

    return wait
