"""Random bytes and random frames against a live server: it goes on, and keeps nothing of them."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import struct
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from .test_ws import publish

Until = Callable[[Callable[[], bool]], Any]

OPS = ("hello", "sub", "sub", "sub", "pub", "pub", "ack", "nack", "unsub", "pong", "ev", "x")
VALUES: dict[str, list[Any]] = {
    "id": [0, 1, -3, 2**53, "x", None],
    "sid": ["a", "b", "c", "c", "", "a.b", "x" * 65, 7],
    "patterns": [["*"], ["a.*"], ["a.b", "_sys.*"], [], ["a..b"], ["*"] * 40, "a", [3]],
    "after": [0, 3, -1, "5", "now", "nosuch.3", "x", 2**60],
    "from": ["now", "earliest", "last", "x", 3],
    "window": [1, 2, 1000, 0, 10_001, "x"],
    "narrow": [True, False, 1],
    "durable": ["mail", "m2", "no.name", "", 3],
    "group": ["crew", "c2", "mail", "x" * 65],
    "member": ["anna", "", "x" * 5000, 3],
    "tries": [1, 2, 0, 1001],
    "on_exhausted": ["park", "stop", "x"],
    "events": [
        [{"topic": "a.b", "payload": 1}],
        [{"topic": "a.b", "key": "k"}] * 5,
        [{"topic": "a..b"}, {"topic": "_sys.x"}, 3],
        [],
        {},
    ],
    "level": ["none", "synced", "x"],
    "seq": [1, 2, 3, 0, -1, 2**60, "x"],
    "delay_ms": [0, 1, -1, 2**60],
    "reason": ["no", "x" * 2000, 3],
    "v": [1],
    "token": ["x"],
}
SHAPES: dict[str, tuple[str, ...]] = {
    "sub": ("id", "sid", "patterns"),
    "pub": ("id", "events"),
    "ack": ("sid", "seq"),
    "nack": ("sid", "seq", "delay_ms"),
    "unsub": ("id", "sid"),
}


def random_frame(dice: Random) -> str | bytes:
    """Mostly right in shape, seldom right in all."""
    if dice.random() < 0.05:
        return dice.choice(
            ["", "[]", '"', "[" * 5000, b"\x00\xff", '{"op":"pub","id":1,"events":[']
        )
    op = dice.choice(OPS)
    names = [*SHAPES.get(op, ()), *dice.sample(sorted(VALUES), dice.choice([0, 0, 1, 1, 2, 4]))]
    values = {n: dice.choice(VALUES[n][: dice.choice([2, 3, 99])]) for n in names}
    if op == "sub" and dice.random() < 0.5:
        values.pop("group" if dice.random() < 0.5 else "durable", None)
    return json.dumps({"op": op, **values})


async def send_frames(desk: Any, dice: Random, count: int) -> None:
    """A client that talks nonsense, reads what comes, and leaves in one way or another."""
    async with desk.client() as one:

        async def read() -> None:
            async for _ in one.connection:
                pass

        reading = asyncio.create_task(read())
        try:
            for _ in range(count):
                await one.connection.send(random_frame(dice))
            if dice.random() < 0.5:
                one.connection.transport.abort()
        except ConnectionClosed:
            pass
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


def random_bytes(dice: Random) -> bytes:
    """Noise, frames that break RFC 6455, frames with noise in them."""
    noise = dice.randbytes(dice.choice([1, 7, 100, 3000]))
    if dice.random() < 0.4:
        return noise
    text = random_frame(dice)
    body = text.encode() if isinstance(text, str) else text
    body = body[:60_000]
    mask = dice.randbytes(4)
    masked = bytes(b ^ mask[i % 4] for i, b in enumerate(body))
    first = dice.choice([0x81, 0x81, 0x81, 0x01, 0x80, 0x89, 0x8A, 0x88, 0xC1, 0x8F, 0x82])
    size = len(body) if dice.random() < 0.8 else dice.randrange(2**16)
    head = bytes([first, 0x80 | 126]) + struct.pack("!H", size & 0xFFFF)
    return head + mask + masked


async def send_bytes(desk: Any, dice: Random, count: int) -> None:
    """A socket that shakes hands and then speaks no WebSocket, or a bad one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", desk.port)
    key = base64.b64encode(dice.randbytes(16)).decode()
    writer.write(
        f"GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1:{desk.port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: bus.v1.json\r\n\r\n".encode()
    )
    try:
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        for _ in range(count):
            writer.write(random_bytes(dice))
            await writer.drain()
            await asyncio.sleep(0)
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.transport.abort()


async def storm(
    desk: Any, until: Until, caplog: pytest.LogCaptureFixture, rounds: range
) -> list[int]:
    """Eight at a time talk nonsense, beside a neighbour; what the process takes after rounds."""
    sizes = []
    async with desk.client() as good:
        await good.sub("s", "good")
        tasks = len(asyncio.all_tasks())
        sent = 0
        for number in rounds:
            dice = [Random(number * 100 + n) for n in range(8)]
            await asyncio.gather(
                *(send_frames(desk, d, d.randrange(60)) for d in dice[:4]),
                *(send_bytes(desk, d, d.randrange(12)) for d in dice[4:]),
                publish(desk, 3, "good"),
            )
            sent += 3
            assert len(await good.seqs("s", 3)) == 3
            sizes.append(resident_kib())
        await until(lambda: desk.connections() == [good.welcome["conn"]])
        await until(lambda: len(asyncio.all_tasks()) <= tasks)
        assert desk.bus.log.subscriptions == 1
        assert desk.bus.durables()  # some got that far
        assert not any(info.holders for info in desk.bus.durables())
        assert len(list(desk.gateway._register)) == 1
    failed = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert [r for r in failed if r.name != "antiphon.bus.durable"] == []  # which says it stopped
    return sizes


def resident_kib() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


async def test_random_frames_break_nothing_and_leave_nothing(
    desk: Any, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    await storm(desk, until, caplog, range(20))


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_many_random_frames_break_nothing_and_take_no_memory(
    desk: Any, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    sizes = await storm(desk, until, caplog, range(1000, 1300))
    assert sizes[-1] - sizes[len(sizes) // 3] < 20 * 1024, sizes
