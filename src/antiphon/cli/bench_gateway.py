"""``antiphon bench gateway``: a real server, its publisher and a hundred sockets, each a process.

Published by WebSocket, synced, matched and access-checked, delivered to 100 sockets. Beside
it, in the same run, a plain server that stores and decides nothing (``bench_plain``).
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psutil

from antiphon.cli.bench_bus import PAYLOAD, SAMPLE_EVERY, TOPICS, UNACKNOWLEDGED
from antiphon.cli.bench_disk import Progress, measured, percentile_ms
from antiphon.cli.bench_plain import event_of, plain
from antiphon.cli.bench_sockets import Address, Report, sockets
from antiphon.client.endpoint import Endpoint
from antiphon.client.http import HttpClient
from antiphon.errors import StartError
from antiphon.messages import TokenCreate
from antiphon.places import ENV_PREFIX

SOCKETS = 100
RATE = 10_000
PUB_EVENTS = 250
TICK_S = 0.005
READY_S = 30.0
ANSWER_S = 120.0
PLAIN_EVENTS = (1, 50)


class Plan(NamedTuple):
    """How long each part runs, in seconds, and how many pairs of runs there are.

    Attributes:
        settle_s: After so much of the pairs the memory is watched: until then the allocator
            still finds its size (it is 100 MiB larger after two minutes, then it stays).
    """

    warm_up_s: float
    saturated_s: float
    paced_s: float
    plain_s: float
    pairs: int
    settle_s: float


FULL = Plan(5.0, 30.0, 30.0, 10.0, 5, 120.0)
QUICK = Plan(1.0, 3.0, 4.0, 2.0, 1, 0.0)


class Published(NamedTuple):
    """What a publisher did.

    Attributes:
        last: The last seq.
        samples: Every hundredth event: its seq, and when it was due.
    """

    events: int
    seconds: float
    last: int
    samples: list[tuple[int, float]]


class Publisher:
    """One client that publishes by ``pub`` frames, at most 4,000 events unanswered."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._sent: deque[list[float]] = deque()
        self._waiting = 0
        self._next = 0
        self._last = 0
        self._samples: list[tuple[int, float]] = []
        self._seen = 0
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.decode
        self._events = [{"topic": topic, "payload": PAYLOAD} for topic in TOPICS]

    async def _send(self, due: list[float]) -> None:
        events = [self._events[(self._next + n) % len(TOPICS)] for n in range(len(due))]
        self._next += len(due)
        self._waiting += len(due)
        self._sent.append(due)
        await self._socket.send(self._encode({"op": "pub", "id": 1, "events": events}), text=True)

    async def _answer(self) -> None:
        """Take the answer of the earliest frame."""
        while True:
            got = self._decode(await self._socket.recv(decode=False))
            if got["op"] == "ok":
                break
            if got["op"] == "ping":
                await self._socket.send('{"op":"pong"}')
            else:
                raise RuntimeError(f"the server refused: {got}")
        for result, due in zip(got["results"], self._sent.popleft(), strict=True):
            if "error" in result:
                raise RuntimeError(f"an event was refused: {result}")
            if self._seen % SAMPLE_EVERY == 0:
                self._samples.append((result["seq"], due))
            self._seen += 1
        self._last = got["results"][-1]["seq"]
        self._waiting -= len(got["results"])

    async def saturate(self, seconds: float) -> Published:
        """As fast as acknowledgements allow."""
        return await self._report(self._saturate(seconds))

    async def _saturate(self, seconds: float) -> None:
        end = time.perf_counter() + seconds
        while (now := time.perf_counter()) < end:
            await self._send([now] * PUB_EVENTS)
            while self._waiting >= UNACKNOWLEDGED:
                await self._answer()

    async def paced(self, rate: int, seconds: float) -> Published:
        """On schedule, whether or not anybody keeps up."""
        return await self._report(self._paced(rate, seconds))

    async def _paced(self, rate: int, seconds: float) -> None:
        answering = asyncio.create_task(self._answers())
        started = time.perf_counter()
        sent, total = 0, int(rate * seconds)
        while sent < total and not answering.done():
            due = min(total, sent + 1000, int((time.perf_counter() - started) * rate) + 1)
            if due > sent and self._waiting < UNACKNOWLEDGED:
                await self._send([started + n / rate for n in range(sent, due)])
                sent = due
            await asyncio.sleep(TICK_S)
        answering.cancel()
        with suppress(asyncio.CancelledError):
            await answering  # a refusal is raised here

    async def _answers(self) -> None:
        while True:
            await self._answer()

    async def _report(self, work: Any) -> Published:
        self._samples, self._seen = [], 0
        before, started = self._next, time.perf_counter()
        await work
        while self._waiting:
            await self._answer()
        seconds = time.perf_counter() - started
        return Published(self._next - before, seconds, self._last, self._samples)


def publisher(pipe: Connection, url: str, token: str) -> None:
    """The process: does what it is told by (method, arguments), until it is told nothing."""
    from websockets.asyncio.client import connect
    from websockets.typing import Subprotocol

    async def run() -> None:
        where = url.replace("http", "ws", 1) + "/v1/ws"
        async with connect(
            where,
            subprotocols=[Subprotocol("bus.v1.json")],
            compression=None,
            max_size=None,
            ping_interval=None,
            proxy=None,
        ) as socket:
            await socket.send(
                msgspec.json.encode({"op": "hello", "v": 1, "token": token}), text=True
            )
            await socket.recv()
            one = Publisher(socket)
            while (asked := await asyncio.to_thread(pipe.recv)) is not None:
                method, *arguments = asked
                pipe.send(await getattr(one, method)(*arguments))

    asyncio.run(run())


class Peer:
    """Another process of the bench, and the pipe to it."""

    def __init__(self, target: Any, *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
        self._process.start()
        theirs.close()

    def tell(self, *command: Any) -> None:
        self._pipe.send(command or None)

    def answer(self) -> Any:
        """What it says next.

        Raises:
            StartError: It ended, or says nothing.
        """
        try:
            if self._pipe.poll(ANSWER_S):
                return self._pipe.recv()
        except EOFError:
            raise StartError(f"a part of the bench ended: {self._process.name}") from None
        raise StartError(f"a part of the bench says nothing for {ANSWER_S:.0f} s")

    def ask(self, *command: Any) -> Any:
        self.tell(*command)
        return self.answer()

    def end(self) -> None:
        self._process.terminate()
        self._process.join()
        self._pipe.close()


@contextmanager
def peer(target: Any, *arguments: Any) -> Iterator[Peer]:
    """A process, until the block ends."""
    made = Peer(target, *arguments)
    try:
        yield made
    finally:
        made.end()


class Memory:
    """Samples a process's memory and processor time each half second, in a thread."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._samples: list[tuple[float, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(0.5):
            try:
                size = self._process.memory_info().rss
            except psutil.Error:
                return
            self._samples.append((time.perf_counter(), size / 2**20))

    def cpu_s(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def slope_mib_per_min(self, since: float) -> float:
        """Of a line through the samples from *since* on."""
        points = [(at / 60, size) for at, size in self._samples if at >= since]
        if len(points) < 2:
            return 0.0
        return statistics.linear_regression([x for x, _ in points], [y for _, y in points]).slope

    def end(self) -> None:
        self._over.set()
        self._thread.join()


class Served(NamedTuple):
    """A server that was started.

    Attributes:
        token: The admin's.
        publisher, reader: Issued ones, for these topics alone: each publish and each batch is
            checked against their patterns.
    """

    url: str
    token: str
    publisher: str
    reader: str
    pid: int


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    """``antiphon serve`` on a new data folder, until the block ends."""
    ready = folder / "ready.json"
    command = [sys.executable, "-m", "antiphon", "serve", "--port", "0"]
    command += ["--data", str(folder / "data"), "--ready-file", str(ready)]
    unbound = dict.fromkeys(("MAX_RATE", "MAX_BURST", "MAX_RATE_BYTES"), "1000000000")
    bounds = {**unbound, "MAX_TOKEN_SOCKETS": str(SOCKETS + 1)}
    environment = {**os.environ, **{f"{ENV_PREFIX}{name}": most for name, most in bounds.items()}}
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    try:
        deadline = time.monotonic() + READY_S
        while not ready.exists():
            if server.poll() is not None or time.monotonic() > deadline:
                raise StartError("the server to be measured did not start")
            time.sleep(0.02)
        facts = msgspec.json.decode(ready.read_bytes())
        url, token = facts["url"], Path(facts["token_file"]).read_text().strip()
        with HttpClient(Endpoint(url, token)) as admin:
            publisher = admin.create_token(TokenCreate(name="publisher", pub=["worker.*"]))
            reader = admin.create_token(TokenCreate(name="reader", sub=["worker.*"]))
        yield Served(url, token, publisher.token, reader.token, facts["pid"])
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


class Bench:
    """The parts that run together, and what they do in turn."""

    def __init__(self, served: Served, readers: Peer, publisher: Peer, memory: Memory) -> None:
        self._served = served
        self._readers = readers
        self._publisher = publisher
        self._memory = memory
        self.lost = self.disorder = 0

    def saturate(self, seconds: float) -> tuple[float, float]:
        """Events a second that all sockets got, and the server's share of a core."""
        cpu, started = self._memory.cpu_s(), time.perf_counter()
        done: Published = self._publisher.ask("saturate", seconds)
        self._collect(done)
        took = time.perf_counter() - started
        return done.events / took, (self._memory.cpu_s() - cpu) / took

    def paced(self, seconds: float, *, stalled: bool = False) -> dict[str, float]:
        """Latencies at 10,000 events a second, with one socket that never reads, or without."""
        if stalled:
            self._readers.ask("stall")
        cpu, started = self._memory.cpu_s(), time.perf_counter()
        done: Published = self._publisher.ask("paced", RATE, seconds)
        took = time.perf_counter() - started
        cpu = self._memory.cpu_s() - cpu
        report = self._collect(done)
        if stalled:
            self._readers.ask("unstall")
        return {
            "p50_ms": round(percentile_ms(report.late, 0.50), 2),
            "p99_ms": round(percentile_ms(report.late, 0.99), 2),
            "cpu_fraction": round(cpu / took, 3),
        }

    def _collect(self, done: Published) -> Report:
        report: Report = self._readers.ask("wait", done.last, done.samples)
        self.lost += report.lost + (done.events - report.events) * SOCKETS
        self.disorder += report.disorder
        return report


def _plain(events: int, event: bytes, seconds: float) -> float:
    """Events a second of the plain server."""
    with peer(plain, SOCKETS, event, seconds, events) as server, peer(sockets) as readers:
        readers.ask("open", Address(f"http://127.0.0.1:{server.answer()}", None), SOCKETS)
        report: Report = readers.ask("for", seconds)
    return report.events / seconds


def _gateway(folder: Path, plan: Plan, progress: Progress) -> tuple[dict[str, Any], bytes]:
    with (
        served(folder) as server,
        peer(sockets) as readers,
        peer(publisher, server.url, server.publisher) as sender,
    ):
        memory = Memory(server.pid)
        readers.ask("open", Address(server.url, server.reader), SOCKETS)
        bench = Bench(server, readers, sender, memory)
        bench.saturate(plan.warm_up_s)
        progress(f"{SOCKETS} sockets, as fast as it goes")
        rate, cpu = bench.saturate(plan.saturated_s)
        bench.paced(plan.warm_up_s)
        healthy, stalled = [], []
        since = time.perf_counter() + plan.settle_s
        for n in range(plan.pairs):
            progress(f"{RATE:,} events a second, pair {n + 1} of {plan.pairs}")
            healthy.append(bench.paced(plan.paced_s))
            stalled.append(bench.paced(plan.paced_s, stalled=True))
        slope = memory.slope_mib_per_min(since)
        memory.end()
        with HttpClient(Endpoint(server.url, server.token)) as client:
            event = event_of(client.query(["worker.*"], order="desc", limit=1).events[0])
    ratios = [s["p99_ms"] / h["p99_ms"] for h, s in zip(healthy, stalled, strict=True)]
    return {
        "sockets": SOCKETS,
        "level": "synced",
        "events_per_s": round(rate),
        "deliveries_per_s": round(rate * SOCKETS),
        "cpu_fraction": round(cpu, 3),
        "event_bytes": len(event) + 12,
        "at_10k": _median(healthy),
        "at_10k_one_stalled": _median(stalled),
        "p50_ms": _median(healthy)["p50_ms"],
        "p99_ms": _median(healthy)["p99_ms"],
        "p99_ratios_stalled": [round(ratio, 2) for ratio in ratios],
        "p99_ratio_stalled_median": round(statistics.median(ratios), 2),
        "rss_slope_mib_per_min": round(slope, 2),
        "lost": bench.lost,
        "out_of_order": bench.disorder,
    }, event


def _median(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def _all(folder: Path, plan: Plan, progress: Progress) -> dict[str, Any]:
    figures, event = _gateway(folder, plan, progress)
    for events in PLAIN_EVENTS:
        progress(f"a plain server that stores nothing, {events} events a frame")
        figures[f"plain_{events}_a_frame_events_per_s"] = round(_plain(events, event, plan.plain_s))
    best = figures[f"plain_{PLAIN_EVENTS[-1]}_a_frame_events_per_s"]
    figures["ratio_to_plain"] = round(figures["events_per_s"] / max(1, best), 3)
    return figures


def bench_gateway(*, quick: bool, folder: Path | None, progress: Progress) -> dict[str, Any]:
    """Run the whole bench and return its figures.

    Args:
        quick: Short runs, one pair of them.
        folder: Where the files go, removed afterwards; on a disk, not in memory.

    Raises:
        StartError: *folder* is in memory, or a part of the bench did not start.
    """

    async def work(place: Path) -> dict[str, Any]:
        return await asyncio.to_thread(_all, place, QUICK if quick else FULL, progress)

    return {"quick": quick, **measured(work, folder)}
