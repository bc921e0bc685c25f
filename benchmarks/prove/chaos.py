"""Ten minutes in which everything between a server and its clients breaks, again and again.

The server is killed and started again; the network of the clients is cut, frozen and
refuses connections (``proxy.py``); tokens are revoked and issued anew; some readers are slow.
In the end each client must have had each event that it may see, once and in order, and
none that it may not: denied topics, and whatever was stored while its token was revoked
and not yet replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

import antiphon
from antiphon.bus.topics import matches
from antiphon.client import Endpoint, HttpClient, NoServer
from antiphon.errors import BusError, Unauthorized
from antiphon.messages import Event
from benchmarks.prove.proxy import Proxy
from benchmarks.prove.server import Served

TOPICS = tuple(f"{kind}.{n}" for kind in ("work.a", "work.b", "secret") for n in range(4))
QUIET_S = 90.0
REVOKED_S = 5.0
"""A revoked token's connections end within so many seconds."""


@dataclass(frozen=True)
class Plan:
    """How long it lasts, how much is published, and how many follow."""

    seconds: float = 600.0
    events_per_s: int = 300
    publishers: int = 3
    sockets: int = 10
    slow: int = 3
    streams: int = 4
    durables: int = 3
    groups: int = 2


@dataclass
class Follower:
    """One client, and what it was given.

    Attributes:
        token: What it connects by; None while it has none.
        seen: The seqs that it was given, in order.
        strange: Topics that it must not see.
        late: Seqs that came although its token had been revoked before they were stored.
    """

    name: str
    patterns: tuple[str, ...]
    deny: tuple[str, ...]
    proxy: Proxy
    slow: bool = False
    token: str | None = None
    seen: list[int] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    turned_away: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    revoked_at: int | None = None
    _issued: asyncio.Event = field(default_factory=asyncio.Event)
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    def may_see(self, topic: str) -> bool:
        return any(matches(p, topic) for p in self.patterns) and not any(
            matches(p, topic) for p in self.deny
        )

    def issue(self, token: str) -> None:
        """It has a token from now on."""
        self.token, self.revoked_at = token, None
        self._issued.set()

    def revoke(self, head: int) -> None:
        """Its token is of no use any more; nothing after *head* may come by it."""
        self._issued.clear()
        self.token, self.revoked_at = None, head

    async def run(self) -> None:
        """Follow for ever, by whatever token it has."""
        while True:
            await self._issued.wait()
            assert self.token is not None
            self._ended.clear()
            try:
                await self.follow(self.token)
            except Unauthorized:
                self.turned_away += 1
            except (NoServer, BusError, OSError, TimeoutError) as error:
                self.refusals[type(error).__name__] += 1
                await asyncio.sleep(0.2)
            finally:
                self._ended.set()

    async def ended(self) -> bool:
        """Whether the connection by a revoked token ended in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REVOKED_S):
                await self._ended.wait()
        return self._ended.is_set()

    async def take(self, seq: int, topic: str) -> None:
        """One event came."""
        if not self.may_see(topic):
            self.strange.append(topic)
        if self.revoked_at is not None and seq > self.revoked_at:
            self.late.append(seq)
        self.seen.append(seq)
        if self.slow and random.random() < 0.02:
            await asyncio.sleep(random.uniform(0.1, 1.5))

    async def follow(self, token: str) -> None:
        """Follow by this token until that fails."""
        raise NotImplementedError


class SocketFollower(Follower):
    """By the Python client, which comes back by itself."""

    async def follow(self, token: str) -> None:
        async with antiphon.connect(self.proxy.url, token) as bus:
            after = self.seen[-1] if self.seen else 0
            async for event in bus.subscribe(*self.patterns, after=after, narrow=True):
                assert event.seq is not None
                await self.take(event.seq, event.topic)


class DurableFollower(Follower):
    """By a durable subscription: the server keeps its place. Each event comes at least once."""

    async def follow(self, token: str) -> None:
        await self._take_all(token, durable=self.name)

    async def _take_all(self, token: str, **held: Any) -> None:
        async with antiphon.connect(self.proxy.url, token) as bus:
            async for event in bus.subscribe(*self.patterns, start="earliest", **held):
                assert event.seq is not None
                await self.take(event.seq, event.topic)


class GroupFollower(DurableFollower):
    """By several members of a group, each on a connection of its own, that share the events."""

    members: int = 3

    async def follow(self, token: str) -> None:
        tasks = [
            asyncio.create_task(self._take_all(token, group=self.name, member=f"m{n}"))
            for n in range(self.members)
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()


class StreamFollower(Follower):
    """By server-sent events, as curl or a browser would."""

    last_id: str = "0"

    async def follow(self, token: str) -> None:
        async for kind, data in self._records(token):
            if kind != "message":
                raise BusError(f"the stream told of a {kind}: {data.decode()}")
            event = msgspec.json.decode(data, type=Event)
            if event.seq is not None:
                await self.take(event.seq, event.topic)

    async def _records(self, token: str) -> AsyncIterator[tuple[str, bytes]]:
        """The kind and the data of each record; comments and the rest are passed over."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", int(self.proxy.url.rpartition(":")[2]), limit=2**22
        )
        try:
            asked = "&".join(f"pattern={pattern}" for pattern in self.patterns)
            writer.write(
                f"GET /v1/stream?{asked} HTTP/1.1\r\n"
                f"Host: {self.proxy.url[7:]}\r\nAuthorization: Bearer {token}\r\n"
                f"Last-Event-ID: {self.last_id}\r\n\r\n".encode()
            )
            async with asyncio.timeout(20):
                head = await reader.readuntil(b"\r\n\r\n")
            if b" 401 " in head.partition(b"\r\n")[0]:
                raise Unauthorized("the stream is closed to this token")
            if b" 200 " not in head.partition(b"\r\n")[0]:
                raise BusError(head.partition(b"\r\n")[0].decode())
            kind, told = "message", self.last_id
            while True:
                async with asyncio.timeout(20):  # a comment comes every 15 s
                    line = (await reader.readuntil(b"\n")).strip()
                name, _, value = line.partition(b": ")
                if name == b"id":
                    told = value.decode()
                elif name == b"event":
                    kind = value.decode()
                elif name == b"data":
                    yield kind, value
                    self.last_id, kind = told, "message"
        except asyncio.IncompleteReadError as error:
            raise NoServer("the stream ended") from error
        finally:
            writer.transport.abort()


class Publisher:
    """Publishes at a steady rate by the Python client, which repeats what was not answered.

    Attributes:
        acknowledged: The seq of each id.
    """

    def __init__(self, name: str, url: str, token: str, every_s: float) -> None:
        self.name = name
        self.acknowledged: dict[str, int] = {}
        self.failed: list[str] = []
        self._url, self._token, self._every_s = url, token, every_s

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until *stop*, then wait for every answer."""
        waiting: set[asyncio.Task[None]] = set()
        async with antiphon.connect(self._url, self._token) as bus:
            n, next_at = 0, time.monotonic()
            while not stop.is_set():
                n += 1
                task = asyncio.create_task(self._one(bus, n))
                waiting.add(task)
                task.add_done_callback(waiting.discard)
                next_at += self._every_s
                await asyncio.sleep(max(0.0, next_at - time.monotonic()))
            while waiting:
                await asyncio.wait(waiting)

    async def _one(self, bus: Any, n: int) -> None:
        name = f"{self.name}-{n}"
        try:
            done = await bus.publish(random.choice(TOPICS), {"n": n}, id=name, timeout=600)
        except BusError as error:
            self.failed.append(f"{name}: {error}")
        else:
            self.acknowledged[name] = done.seq


class Chaos:
    """Breaks one thing after the other, and notes how often.

    Attributes:
        done: How often what was done.
        still_open: Followers whose connection outlived their token by more than 5 s.
    """

    def __init__(self, served: Served, proxy: Proxy, followers: list[Follower]) -> None:
        self._served = served
        self._proxy = proxy
        self._followers = followers
        self._reissuing: set[asyncio.Task[None]] = set()
        self.done: Counter[str] = Counter()
        self.still_open: list[str] = []

    async def run(self, seconds: float) -> None:
        """Break things for so long; everything is whole again afterwards."""
        ways: list[tuple[int, Callable[[], Any]]] = [
            (2, self._kill),
            (3, self._cut),
            (3, self._freeze),
            (2, self._refuse),
            (4, self._revoke),
        ]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(random.uniform(0.5, 4.0))
            (way,) = random.choices([way for _, way in ways], [weight for weight, _ in ways])
            await way()
        if self._reissuing:
            await asyncio.wait(self._reissuing)

    async def _kill(self) -> None:
        self.done["killed"] += 1
        await asyncio.to_thread(self._served.kill)
        await asyncio.sleep(random.uniform(0, 2))
        await asyncio.to_thread(self._served.start)

    async def _cut(self) -> None:
        self.done["cut"] += 1
        self._proxy.cut()

    async def _freeze(self) -> None:
        self.done["frozen"] += 1
        self._proxy.freeze()
        await asyncio.sleep(random.choice((1, 3, 8, 15, 40)) * random.random())
        self._proxy.thaw()

    async def _refuse(self) -> None:
        self.done["refused"] += 1
        self._proxy.refuse(True)
        self._proxy.cut()
        await asyncio.sleep(random.uniform(0.5, 4))
        self._proxy.refuse(False)

    async def _revoke(self) -> None:
        follower = random.choice(self._followers)
        if follower.token is None:
            return
        self.done["revoked"] += 1
        await asyncio.to_thread(revoke, self._served, follower)
        task = asyncio.create_task(self._issue_again(follower))
        self._reissuing.add(task)
        task.add_done_callback(self._reissuing.discard)

    async def _issue_again(self, follower: Follower) -> None:
        connections = self._proxy.connections
        if not await follower.ended() and connections == self._proxy.connections:
            self.done["revoked unheard"] += 1  # its network may be frozen: then nothing reaches it
        await asyncio.sleep(random.uniform(0, 3))
        while True:
            try:
                await asyncio.to_thread(issue, self._served, follower)
            except NoServer:
                await asyncio.sleep(0.2)
            else:
                return


def _admin(served: Served) -> HttpClient:
    return HttpClient(Endpoint(served.url, served.token))


def issue(served: Served, follower: Follower) -> None:
    """Give it a token of its own."""
    body = {
        "name": follower.name,
        "sub": ["work.*", "secret.*"],
        "deny": list(follower.deny),
    }
    with _admin(served) as client:
        answer = client.post("/v1/tokens", msgspec.json.encode(body))
    follower.issue(msgspec.json.decode(answer)["token"])


def revoke(served: Served, follower: Follower) -> None:
    """Take its token away."""
    with _admin(served) as client:
        client._ask("DELETE", f"/v1/tokens/{follower.name}", None)
        follower.revoke(client.health().head)


def _followers(plan: Plan, proxy: Proxy) -> list[Follower]:
    chance = random.Random(1)
    patterns = (("*",), ("work.*",), ("work.a.*", "secret.*"))
    denials: tuple[tuple[str, ...], ...] = (
        (),
        ("secret.*",),
        ("work.a.2",),
        ("secret.1", "work.b.*"),
    )

    def one(kind: type[Follower], name: str, slow: bool = False) -> Follower:
        return kind(name, chance.choice(patterns), chance.choice(denials), proxy, slow)

    return [
        *(one(SocketFollower, f"socket{n}") for n in range(plan.sockets)),
        *(one(SocketFollower, f"slow{n}", slow=True) for n in range(plan.slow)),
        *(one(StreamFollower, f"stream{n}") for n in range(plan.streams)),
        *(DurableFollower(f"durable{n}", ("work.a.*",), (), proxy) for n in range(plan.durables)),
        *(GroupFollower(f"group{n}", ("work.*",), (), proxy) for n in range(plan.groups)),
    ]


async def _quiet(followers: list[Follower], stored: list[Event]) -> None:
    """Let everybody read as fast as they can, and wait until all have what they are owed."""
    for follower in followers:
        follower.slow = False
    wanted = {f.name: {e.seq for e in stored if f.may_see(e.topic)} for f in followers}
    end = time.monotonic() + QUIET_S
    while time.monotonic() < end and any(wanted[f.name] - set(f.seen) for f in followers):
        await asyncio.sleep(0.2)


def _judge(followers: list[Follower], stored: list[Event]) -> dict[str, Any]:
    missing = doubled = moved = 0
    again = 0
    wrong: list[str] = []
    for follower in followers:
        mine = {event.seq for event in stored if follower.may_see(event.topic)}
        given = set(follower.seen)
        twice = len(follower.seen) - len(given)
        if isinstance(follower, DurableFollower):
            again += twice  # at least once: what was in hand at a cut comes again
        else:
            doubled += twice
            moved += sum(b < a for a, b in zip(follower.seen, follower.seen[1:], strict=False))
        lacks = mine - given
        missing += len(lacks)
        if lacks or (twice and not isinstance(follower, DurableFollower)):
            wrong.append(f"{follower.name}: missing {sorted(lacks)[:5]}, twice {twice}")
    return {
        "missing": missing,
        "doubled": doubled,
        "out_of_order": moved,
        "durables_again": again,
        "strange": sum(len(f.strange) for f in followers),
        "after_revocation": sum(len(f.late) for f in followers),
        "wrong": wrong,
    }


async def _run(plan: Plan, folder: Path) -> dict[str, Any]:
    served = Served(folder / "data")
    proxy = Proxy(served.port)
    await proxy.start()
    served.options += ("--public-url", proxy.url)
    with served:
        try:
            return await _under_chaos(plan, served, proxy)
        finally:
            await proxy.aclose()


async def _under_chaos(plan: Plan, served: Served, proxy: Proxy) -> dict[str, Any]:
    followers = _followers(plan, proxy)
    for follower in followers:
        issue(served, follower)
    stop = asyncio.Event()
    publishers = [
        Publisher(f"p{n}", proxy.url, served.token, plan.publishers / plan.events_per_s)
        for n in range(plan.publishers)
    ]
    following = [asyncio.create_task(follower.run()) for follower in followers]
    publishing = [asyncio.create_task(publisher.run(stop)) for publisher in publishers]
    chaos = Chaos(served, proxy, followers)
    await chaos.run(plan.seconds)
    stop.set()
    await asyncio.gather(*publishing)
    found = await asyncio.to_thread(served.events, "work.*", "secret.*")
    stored = msgspec.convert(found, list[Event])
    await _quiet(followers, stored)
    for task in following:
        task.cancel()
    ended = await asyncio.gather(*following, return_exceptions=True)
    faults = [repr(e) for e in ended if not isinstance(e, asyncio.CancelledError)]
    return _result(plan, chaos, followers, publishers, stored, faults)


def _result(
    plan: Plan,
    chaos: Chaos,
    followers: list[Follower],
    publishers: list[Publisher],
    stored: list[Event],
    faults: list[str],
) -> dict[str, Any]:
    acknowledged = {id: seq for p in publishers for id, seq in p.acknowledged.items()}
    in_log = Counter(event.id for event in stored)
    at = {event.id: event.seq for event in stored}
    judged = _judge(followers, stored)
    lost = [id for id, seq in acknowledged.items() if at.get(id) != seq]
    result = {
        "seconds": plan.seconds,
        "followers": len(followers),
        "events": len(stored),
        "acknowledged": len(acknowledged),
        "lost": len(lost),
        "stored_twice": sum(count > 1 for count in in_log.values()),
        "refused_publishes": [line for p in publishers for line in p.failed][:5],
        "deliveries": sum(len(f.seen) for f in followers),
        **dict(sorted(chaos.done.items())),
        "turned_away": sum(f.turned_away for f in followers),
        "connections": chaos._proxy.connections,
        "connections_lost": dict(sum((f.refusals for f in followers), Counter())),
        **judged,
        "faults": faults,
    }
    bad = ("lost", "stored_twice", "refused_publishes", "missing", "doubled", "out_of_order")
    bad += ("strange", "after_revocation", "faults")
    result["held"] = not any(result[name] for name in bad) and len(stored) > 0
    return result


def run(plan: Plan | None = None) -> dict[str, Any]:
    """Run it on a new data folder."""
    with tempfile.TemporaryDirectory(prefix="antiphon-chaos-") as made:
        return asyncio.run(_run(plan or Plan(), Path(made)))
