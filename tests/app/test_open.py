"""``antiphon.open``: log and bus inside somebody's own asyncio program, closed in order."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from tests.bus.conftest import until

import antiphon
from antiphon import Actor, ActorContext, Event
from antiphon.app import Core
from antiphon.errors import StartError, StorageUnavailable


class Adder(Actor[str]):
    """Adds what is published on ``n.*`` to a sum that it publishes."""

    def __init__(self, bus: antiphon.Bus) -> None:
        self.bus = bus
        self.sum = 0

    async def pre_start(self, ctx: ActorContext[str]) -> None:
        await antiphon.subscribe(self.bus, ctx.myself, "n.*", start="earliest")

    async def handle_event(self, event: Event, ctx: ActorContext[str]) -> None:
        self.sum += event.payload
        await antiphon.publish_event(self.bus, "sum.x", self.sum)


async def _program(path: Path) -> list[int]:
    async with antiphon.open(path) as app:
        await app.system.spawn(lambda: Adder(app.bus))
        for n in range(1, 5):
            await antiphon.publish_event(app.bus, "n.x", n)
        async with app.bus.events("sum.x", start="earliest") as events:
            return [(await anext(events)).payload for _ in range(4)]


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_program_of_its_own_runs_on_either_loop_and_leaves_no_thread(
    run: Callable[[Any], Any], tmp_path: Path
) -> None:
    before = set(threading.enumerate())
    for _ in range(2):  # the second sees what the first stored
        assert run(_program(tmp_path))[:4] == [1, 3, 6, 10]
    assert set(threading.enumerate()) <= before


async def test_a_folder_is_opened_once_at_a_time(tmp_path: Path) -> None:
    async with antiphon.open(tmp_path) as app:
        with pytest.raises(StartError, match="is in use by process"):
            async with antiphon.open(tmp_path):
                pass
        assert (await antiphon.publish_event(app.bus, "a.b", 1)).seq == 1
    async with antiphon.open(tmp_path) as app:
        assert app.bus.head == 1


async def test_two_folders_and_one_in_memory_are_strangers(tmp_path: Path) -> None:
    async with (
        antiphon.open(tmp_path / "a") as a,
        antiphon.open(tmp_path / "b") as b,
        antiphon.open() as c,
    ):
        for app in (a, b, c):
            assert (await antiphon.publish_event(app.bus, "a.b", 1)).seq == 1


async def test_a_cancelled_program_closes_in_order_and_loses_nothing_acknowledged(
    tmp_path: Path,
) -> None:
    seqs: list[int] = []

    async def main() -> None:
        async with antiphon.open(tmp_path) as app:
            while True:
                answer = await antiphon.publish_event(app.bus, "a.b", len(seqs))
                seqs.append(answer.seq or 0)

    task = asyncio.ensure_future(main())
    await until(lambda: len(seqs) >= 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with antiphon.open(tmp_path) as app:
        assert app.bus.head >= len(seqs)
        page = await app.bus.query(["a.b"], limit=500)
        assert len(page.data) == app.bus.head


async def test_an_error_in_the_block_comes_out_as_it_is_and_all_is_closed(tmp_path: Path) -> None:
    opened: list[Core] = []

    async def main() -> None:
        async with antiphon.open(tmp_path) as app:
            opened.append(app)
            await antiphon.publish_event(app.bus, "a.b", 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await main()
    with pytest.raises(StorageUnavailable):
        await antiphon.publish_event(opened[0].bus, "a.b", 2)
    async with antiphon.open(tmp_path) as again:
        assert again.bus.head == 1


@pytest.mark.parametrize("spoil", ["file", "log"])
async def test_what_cannot_be_opened_is_a_start_error_and_leaves_no_lock(
    tmp_path: Path, spoil: str
) -> None:
    folder = tmp_path / "data"
    if spoil == "file":
        folder.write_text("no folder")
    else:
        folder.mkdir()
        (folder / "log.db").write_bytes(b"no database, but long enough to look like one" * 99)
    for _ in range(2):
        with pytest.raises(StartError) as refused:
            async with antiphon.open(folder):
                pass
        assert "in use" not in str(refused.value)
