"""Forgetting: gone from the log, the ring, every reader's hands and every file's bytes."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from antiphon.app import Core, core
from antiphon.bus import ADMIN, SYSTEM, Access, Principal, forget, publish_event
from antiphon.bus.batch import Slice
from antiphon.bus.notices import Gap
from antiphon.bus.subscription import Subscription
from antiphon.errors import BadRequest, Forbidden, InvalidPattern
from antiphon.stores import SqliteEventStore
from antiphon.testing.store_contract import START_US, event

from .conftest import until

SECRET = "correct-horse-battery-staple"


async def publish(running: Core, topic: str, *payloads: Any, **fields: Any) -> list[int]:
    futures = [publish_event(running.bus, topic, payload, **fields) for payload in payloads]
    return [(await future).seq or 0 for future in futures]


def reader(running: Core, *patterns: str, start: str | int = 0) -> Subscription:
    return running.bus.open_subscription(patterns, start=start, on_ready=lambda: None)


async def drained(subscription: Subscription) -> list[Any]:
    """All payloads, and notices of gaps, until it is live."""
    found: list[Any] = []

    def is_live() -> bool:
        while (taken := subscription.take()) is not None:
            if isinstance(taken, Slice):
                found.extend(event.payload for event in taken.events)
            elif isinstance(taken, Gap):
                found.append(taken)
        return subscription.live

    await until(is_live)
    return found


async def test_forgotten_events_are_in_no_answer_and_cursors_go_on(running: Core) -> None:
    await publish(running, "chat.a", 1, SECRET, 2, SECRET)
    await publish(running, "chat.b", 3)
    cursor = running.bus.cursor(1)
    done = await forget(running.bus, pattern="chat.a", principal=ADMIN)
    assert (done.events, done.topics, done.scrubbed) == (4, 1, True)
    assert await drained(reader(running, "chat.*", start=cursor)) == [3]
    page = await running.bus.query(["*"], after=cursor)
    assert [msgspec.json.decode(data)["payload"] for data in page.data] == [3]
    assert await running.bus.get(2) is None
    assert await publish(running, "chat.a", 4) == [7]
    assert running.log.topics["chat.a"].count == 1
    assert running.log.removals.counters["forgotten"] == 4


async def test_an_id_is_forgotten_wherever_it_was_published(running: Core) -> None:
    await publish(running, "a.x", 1)
    await publish(running, "a.x", SECRET, id="oops")
    await publish(running, "b.y", SECRET, id="oops")
    await publish(running, "a.x", 2)
    found = await forget(running.bus, id="oops", dry_run=True)
    assert (found.events, found.topics, found.dry_run) == (2, 2, True)
    assert len((await running.bus.query()).data) == 4, "a dry run removes nothing"
    assert (await forget(running.bus, id="oops")).events == 2
    assert await drained(reader(running, "*")) == [1, 2]
    assert (await forget(running.bus, id="oops")).events == 0
    again = await publish_event(running.bus, "a.x", "another", id="oops")
    assert not again.duplicate, "the id is free again"


async def test_a_record_says_who_forgot_and_never_what(running: Core) -> None:
    await publish(running, "a.b", SECRET, SECRET)
    await forget(running.bus, pattern="a.*", principal=ADMIN)
    await forget(running.bus, pattern="_sys.*", principal=ADMIN)
    (record,) = (await running.bus.query(["_sys.audit.*"])).data
    event = msgspec.json.decode(record)
    assert event["topic"] == "_sys.audit.forgotten"
    assert event["payload"] == {"principal": "admin", "pattern": "a.*", "id": None, "events": 2}
    assert SECRET.encode() not in record


async def test_who_is_no_admin_may_not_forget_whatever_they_may_see_and_publish(
    running: Core,
) -> None:
    await publish(running, "a.b", 1)
    for access in (
        Access(pub=("a.*",), sub=("*", "_sys.*")),
        Access(pub=("*",), sub=("*",)),
        Access(pub=("*",), sub=("*", "_sys.*"), deny=("secret.*",)),
        Access(pub=("*",), sub=("*", "_sys.*")),
    ):
        with pytest.raises(Forbidden, match="bob may not forget"):
            await forget(running.bus, pattern="a.*", principal=Principal("bob", access))
    for principal in (ADMIN, SYSTEM):
        assert (await forget(running.bus, pattern="b", principal=principal)).events == 0
    with pytest.raises(BadRequest, match="either a pattern or an id"):
        await forget(running.bus)
    with pytest.raises(InvalidPattern, match="wor\\*er"):
        await forget(running.bus, pattern="wor*er")
    assert len((await running.bus.query()).data) == 1


async def test_what_a_subscription_has_in_hand_is_forgotten_too(running: Core) -> None:
    """It has read half of a batch, or of a snapshot, when the rest is forgotten."""
    for n in range(6):
        await publish(running, f"t.n{n}", n)
    await running.bus.log.in_writer(lambda: None)
    await publish(running, "t.many", *range(10, 16))
    live, snapshot = reader(running, "t.*"), reader(running, "t.*", start="last")
    taken = live.take(limit=1)
    assert isinstance(taken, Slice)
    first: list[Any] = []
    await until(lambda: isinstance(one := snapshot.take(limit=2), Slice) and not first.append(one))
    peeked = live.peek(limit=1)
    assert isinstance(peeked, Slice)
    await forget(running.bus, pattern="t.n4")
    await forget(running.bus, pattern="t.many")
    live.advance(1)
    assert await drained(live) == [2, 3, 5]
    assert await drained(snapshot) == [2, 3, 5]
    await publish(running, "t.n0", "next")
    assert await drained(live) == ["next"]
    assert await drained(snapshot) == ["next"]


async def test_no_file_holds_the_bytes_of_what_was_forgotten(tmp_path: Path) -> None:
    """After any upkeep, with other events around, in the log, its WAL and a backup."""
    path = tmp_path / "log.db"
    chance = random.Random(1)
    async with core(SqliteEventStore(path)) as running:
        for n in range(60):
            filler = "x" * chance.randint(1, 3000)
            await publish(running, f"a.t{n % 5}", *[filler] * chance.randint(1, 9), key=str(n % 7))
            if n % 3 == 0:
                long = SECRET * chance.choice([1, 40, 900])
                await publish(running, "a.pasted", long, key=SECRET, id=f"{SECRET}{n}")
            if n % 4 == 1:
                await running.log.trim(f"a.t{n % 5}", running.bus.head - 40)
                await running.log.removals.compact("a.pasted")
                await running.log.in_writer(lambda: running.log.store.tend(idle=True))
        assert _holding(tmp_path)
        done = await forget(running.bus, pattern="a.pasted")
        assert done.scrubbed
        assert _holding(tmp_path) == []
        _back_up(path, tmp_path / "backup.db")
        await publish(running, "a.t1", "after")
    assert _holding(tmp_path) == []


def _holding(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if SECRET.encode() in path.read_bytes()]


def _back_up(path: Path, to: Path) -> None:
    source, target = apsw.Connection(str(path)), apsw.Connection(str(to))
    with target.backup("main", source, "main") as backup:
        while not backup.done:
            backup.step(100)
    source.close()
    target.close()


def test_a_page_moved_before_is_scrubbed_too(tmp_path: Path) -> None:
    """Of sweeps that emptied pages, copies can lie in what is free."""
    store = SqliteEventStore(tmp_path / "log.db")
    store.open()
    for n in range(1, 400):
        store.append([event(n, "ab"[n % 2], SECRET if n % 2 else "y" * 50, key=str(n))], START_US)
    store.sweep({"a": 300}, 1000)
    store.drop(range(1, 400, 2))
    while not store.scrub():
        pass
    assert _holding(tmp_path) == []
    store.close()
