"""How a reader leaves: by an error, interrupted, done, or without a word."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable
from typing import Any

import pytest

import antiphon
from antiphon.client.subscription import RemoteSubscription

from .model import TIME
from .servers import Talk, frame_server


def event(seq: int) -> dict[str, Any]:
    said = {"topic": "t", "type": "x", "source": "s", "principal": "p", "time": TIME}
    return {"seq": seq, "id": f"i{seq}", "payload": None, **said}


def one_event(heard: queue.Queue[dict[str, Any]]) -> Callable[[Talk], None]:
    """A server that gives one event, and keeps what it is told of it."""

    def script(talk: Talk) -> None:
        sub = talk.welcome()
        talk.say(op="ev", sid=sub["sid"], events=[event(7)], cursor="e1.7")
        while (frame := talk.take())["op"] != "unsub":
            heard.put(frame)
        heard.put(frame)
        talk.wait_for_end()

    return script


async def told(heard: queue.Queue[dict[str, Any]]) -> list[str]:
    """What the server hears of the event, up to the end of the subscription."""
    found: list[str] = []
    while not found or found[-1] != "unsub":
        found.append((await asyncio.to_thread(heard.get, timeout=5))["op"])
    return found


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, ["ack", "unsub"]),
        (ValueError("no"), ["nack", "unsub"]),
        (asyncio.CancelledError(), ["unsub"]),
        (KeyboardInterrupt(), ["unsub"]),
        (GeneratorExit(), ["unsub"]),
    ],
)
async def test_only_who_leaves_without_an_error_has_handled_the_last_event(
    error: BaseException | None, said: list[str]
) -> None:
    """An interrupted reader has handled nothing, and has not failed either: it goes back."""
    heard: queue.Queue[dict[str, Any]] = queue.Queue()
    with frame_server(one_event(heard)) as url:
        async with antiphon.connect(url, "token") as bus:
            events = bus.subscribe("t", durable="d")
            assert (await asyncio.wait_for(anext(events), 5)).seq == 7
            await events.__aexit__(None if error is None else type(error), error, None)
            assert await told(heard) == said


async def test_a_task_that_is_cancelled_gives_its_event_back() -> None:
    heard: queue.Queue[dict[str, Any]] = queue.Queue()
    working = asyncio.Event()

    async def work(events: RemoteSubscription) -> None:
        async with events:
            async for _ in events:
                working.set()
                await asyncio.Event().wait()

    with frame_server(one_event(heard)) as url:
        async with antiphon.connect(url, "token") as bus:
            task = asyncio.create_task(work(bus.subscribe("t", durable="d")))
            await asyncio.wait_for(working.wait(), 5)
            task.cancel()
            await asyncio.wait([task])
            assert await told(heard) == ["unsub"]


async def test_a_subscription_that_is_forgotten_is_ended() -> None:
    """``async for`` with a ``break`` leaves nothing behind at the server."""
    heard: queue.Queue[dict[str, Any]] = queue.Queue()
    with frame_server(one_event(heard)) as url:
        async with antiphon.connect(url, "token") as bus:
            async for found in bus.subscribe("t", durable="d"):
                assert found.seq == 7
                break
            assert await told(heard) == ["unsub"]


async def test_a_subscription_that_outlives_its_client_is_forgotten_quietly() -> None:
    heard: queue.Queue[dict[str, Any]] = queue.Queue()
    with frame_server(one_event(heard)) as url:
        async with antiphon.connect(url, "token") as bus:
            events = bus.subscribe("t")
        del events


def test_a_thread_that_forgets_one_ends_it_too() -> None:
    heard: queue.Queue[dict[str, Any]] = queue.Queue()
    with frame_server(one_event(heard)) as url, antiphon.connect_sync(url, "token") as bus:
        for found in bus.subscribe("t", durable="d", timeout=5):
            assert found.seq == 7
            break
        assert asyncio.run(told(heard)) == ["unsub"]
