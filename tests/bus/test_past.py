"""What is asked of a log with many topics, while others go on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import msgspec
import pytest

from antiphon.app import Core
from antiphon.bus import Access, Principal, forget
from antiphon.bus.past import PAGE_BYTES
from antiphon.bus.turns import TURN_TOPICS
from antiphon.errors import SubscriptionGap

MANY = TURN_TOPICS * 3 + 1
T = TypeVar("T")


async def fill(core: Core) -> list[str]:
    names = [f"many.t{at:05}" for at in range(MANY)]
    await asyncio.gather(*(core.bus.publish_event(name, 1) for name in reversed(names)))
    return names


async def turns_during(asking: Awaitable[T]) -> tuple[T, int]:
    """What came of it, and how many turns somebody else had meanwhile."""
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    going_on = asyncio.create_task(others())
    try:
        return await asking, turns
    finally:
        going_on.cancel()


async def test_others_have_turns_while_many_topics_are_listed(running: Core) -> None:
    await fill(running)
    listed, turns = await turns_during(running.bus.topics(["many.*"]))
    assert len(listed) == MANY
    assert turns >= 3


async def test_a_query_finds_the_gap_among_many_topics(running: Core) -> None:
    names = await fill(running)
    cursor = running.bus.cursor(0)
    assert len((await running.bus.query(["many.*"], after=cursor)).data) == 100
    await running.log.trim(names[0], MANY)
    with pytest.raises(SubscriptionGap) as caught:
        await running.bus.query(["many.*"], after=cursor)
    assert caught.value.cursor == "0"


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_a_page_ends_at_four_mebibytes_and_the_next_goes_on_there(
    running: Core, order: str
) -> None:
    sizes = [200_000] * 30 + [10] * 400 + [200_000] * 50
    text = "x" * 200_000
    await asyncio.gather(*(running.bus.publish_event("a", text[:size]) for size in sizes))
    seqs: list[int] = []
    pages, at = 0, {}
    while True:
        page = await running.bus.query(["a"], order=order, limit=500, **at)
        seqs += [msgspec.json.decode(data)["seq"] for data in page.data]
        pages += 1
        assert sum(map(len, page.data)) <= PAGE_BYTES
        if page.next is None:
            break
        at = {"after" if order == "asc" else "before": page.next}
    assert seqs == sorted(range(1, len(sizes) + 1), reverse=order == "desc")
    assert pages == 4


async def test_a_list_goes_on_after_a_name(running: Core) -> None:
    names = await fill(running)
    listed, after = [], "many."
    while page := await running.bus.topics(["many.*"], after=after, limit=TURN_TOPICS - 1):
        listed += [info.name for info in page]
        after = listed[-1]
    assert listed == names


async def test_many_topics_are_seen_as_far_as_access_goes(running: Core) -> None:
    names = await fill(running)
    ann = Principal("ann", Access(sub=("many.*",), deny=(names[-1], names[0])))
    listed = await running.bus.topics(principal=ann)
    assert [info.name for info in listed] == names[1:-1]


async def test_a_topic_that_goes_while_they_are_listed_is_left_out(running: Core) -> None:
    names = await fill(running)
    listing = asyncio.ensure_future(running.bus.topics(["many.*"]))
    await asyncio.sleep(0)
    del running.log.topics[names[0]]
    listed = await listing
    assert [info.name for info in listed] == names[1:]


async def test_all_of_many_topics_are_forgotten(running: Core) -> None:
    await fill(running)
    told = await forget(running.bus, pattern="many.*", dry_run=True)
    assert told.topics == told.events == MANY
