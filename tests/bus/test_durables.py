"""The table of durable subscriptions: names, owners, rights, saving, expiry, bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from tests.bus.conftest import until
from tests.bus.durable_kit import advance, by_hand, payloads, publish, take
from tests.bus.test_durable import Refusing

from antiphon.app import Core, core
from antiphon.bus import ADMIN, STORE, Access, EventStore, Principal
from antiphon.errors import (
    BadRequest,
    BusError,
    Forbidden,
    LeaseLost,
    NotFound,
    Overloaded,
    StorageUnavailable,
)
from antiphon.messages import Event

ANN = Principal("ann", Access(pub=("a.*",), sub=("a.*", "b.*")))
BOB = Principal("bob", Access(sub=("*",)))


@pytest.mark.parametrize("name", ["", "a.b", "a b", "é", "*", "x" * 65, None, 7])
async def test_a_name_is_one_token_of_a_topic(running: Core, name: Any) -> None:
    with pytest.raises(BadRequest, match="names no durable subscription"):
        await running.bus.durable(name, "a.*")
    assert running.bus.durables() == []


@pytest.mark.parametrize(
    ("terms", "told"),
    [
        ({"tries": 0}, "tries must be from 1 to 1000, got 0"),
        ({"window": 10_001}, "window must be from 1 to 10000, got 10001"),
        ({"window_bytes": 1.5}, "window_bytes must be from 1"),
        ({"members": True}, "members must be from 1 to 256, got True"),
        ({"on_exhausted": "drop"}, "on_exhausted must be park or stop, got drop"),
        ({"lease": -1}, "lease is a number of seconds, got -1"),
        ({"lease": "long"}, "lease is a number of seconds, got long"),
        ({"member": "a\nb"}, "member has a control character"),
    ],
)
async def test_terms_out_of_bounds_are_refused_by_name(
    running: Core, terms: Any, told: str
) -> None:
    with pytest.raises(BusError, match=told):
        await running.bus.durable("work", "a.*", **terms)
    assert running.bus.durables() == []


async def test_a_name_that_is_taken_keeps_its_patterns_and_its_kind(running: Core) -> None:
    holder = await running.bus.durable("work", "a.*", "b.c")
    await holder.release()
    for patterns in (["a.*"], ["a.*", "b.d"]):
        with pytest.raises(BadRequest, match=r"work has other patterns: a\.\*, b\.c"):
            await running.bus.durable("work", *patterns)
    with pytest.raises(BadRequest, match="work is for one holder alone"):
        await running.bus.join("work")
    with pytest.raises(NotFound, match="there is no durable subscription other"):
        await running.bus.durable("other")
    holder = await running.bus.durable("work", "b.c", "a.*", window=5)
    await holder.release()
    assert running.log.durables._held["work"].kept.terms.window_events == 5
    await (await running.bus.join("crew", "a.*")).release()
    with pytest.raises(BadRequest, match="crew is a group"):
        await running.bus.durable("crew")


async def test_only_who_may_see_all_of_it_may_hold_it(running: Core) -> None:
    """A denied topic among the matching ones is enough to be refused."""
    denied = Principal("eve", Access(sub=("*",), deny=("a.secret.*",)))
    with pytest.raises(Forbidden):
        await running.bus.durable("work", "c.*", principal=ANN)
    for pattern in ("a.*", "a.secret.x", "*"):
        with pytest.raises(Forbidden):
            await running.bus.durable("work", pattern, principal=denied)
    await (await running.bus.durable("eves", "b.*", "a.secret", principal=denied)).release()
    await (await running.bus.durable("anns", "a.*", "b.c", principal=ANN)).release()
    fewer = Principal("ann", Access(sub=("a.*",)))
    with pytest.raises(Forbidden):
        await running.bus.durable("anns", principal=fewer)


async def test_a_name_belongs_to_who_made_it_and_to_the_admin(running: Core) -> None:
    await (await running.bus.durable("anns", "a.*", principal=ANN)).release()
    for refused in (
        running.bus.durable("anns", "a.*", principal=BOB),
        running.bus.drop_durable("anns", principal=BOB),
        running.bus.resume_durable("anns", principal=BOB),
    ):
        with pytest.raises(Forbidden, match="anns is not bob's, but ann's"):
            await refused
    await (await running.bus.durable("anns", principal=ADMIN)).release()
    await running.bus.drop_durable("anns", principal=ADMIN)
    assert running.bus.durables() == []


async def test_the_list_says_how_each_one_does(running: Core) -> None:
    await publish(running, "a.b", *range(5))
    holder = await running.bus.durable("work", "a.*", start="earliest", member="me", principal=ANN)
    await take(holder, 2)
    holder.ack(1)
    await (await running.bus.join("crew", "b.*")).release()
    crew, work = running.bus.durables()
    assert (crew.name, crew.state, crew.lag, crew.members) == ("crew", "idle", 0, 256)
    assert (work.owner, work.patterns, work.state) == ("ann", ["a.*"], "held")
    assert (work.position, work.lag, work.holders) == (1, 4, ["me"])
    assert (work.in_hand, work.waiting) == (1, 3)
    await holder.release()


async def test_what_is_dropped_is_gone_after_a_restart_too(
    new_store: Callable[[], EventStore],
) -> None:
    async with core(new_store()) as running:
        holder = await running.bus.durable("work", "a.*")
        await running.bus.drop_durable("work")
        with pytest.raises(LeaseLost, match="work was dropped"):
            await anext(holder)
        with pytest.raises(NotFound):
            await running.bus.drop_durable("work")
    async with core(new_store()) as running:
        assert running.bus.durables() == []


async def test_retention_is_told_up_to_where_nothing_is_needed(running: Core) -> None:
    durables = running.log.durables
    assert durables.settled("a.b") is None
    await publish(running, "a.b", 1, 2, 3)
    holder = await running.bus.durable("work", "a.*", start="earliest")
    assert durables.settled("a.b") == 0
    assert durables.settled("x.y") is None
    await take(holder, 3)
    holder.ack(2)
    assert durables.settled("a.b") == 2
    other = await running.bus.durable("other", "*", start=1)
    assert (durables.settled("a.b"), durables.settled("x.y")) == (1, 1)
    await running.bus.drop_durable("other")
    holder.ack(3)
    assert durables.settled("a.b") == 3
    await holder.release()
    await other.release()


async def test_closing_the_log_ends_leases_and_saves_the_last_acknowledgement(
    new_store: Callable[[], EventStore],
) -> None:
    async with core(new_store()) as running:
        holder = await running.bus.durable("work", "a.*")
        await publish(running, "a.b", 1, 2)
        await take(holder, 2)
        holder.ack(1)
    with pytest.raises(LeaseLost, match="the log ends"):
        holder.ack(2)
    with pytest.raises(StorageUnavailable):
        await running.bus.durable("other", "a.*")
    async with core(new_store()) as running:
        assert running.bus.durables()[0].position == 1


# --- saving while the disk refuses ----------------------------------------------------------


async def test_while_the_disk_refuses_no_lease_is_given_and_what_is_held_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("antiphon.bus.writer.PROBE_S", (0.01,))
    store = Refusing()
    async with core(store) as running:
        clock = by_hand(running)
        durables = running.log.durables
        holder = await running.bus.durable("work", "a.*")
        await publish(running, "a.b", 1, 2)
        store.full = True
        with pytest.raises(StorageUnavailable, match="database or disk is full"):
            await running.bus.durable("other", "a.*")
        assert [info.name for info in running.bus.durables()] == ["work"]
        assert await payloads(holder, 2) == [1, 2]
        holder.ack(2)
        failures = durables.counters["save_failures"]
        advance(clock, 0.1)
        await until(lambda: durables.counters["save_failures"] > failures)
        await until(lambda: durables._save_task is None)
        store.full = False
        saves = durables.counters["saves"]
        advance(clock, 1.0)
        await until(lambda: durables.counters["saves"] > saves)
        assert store._subs.keys() == {"work"}
        durables._closed = True
    async with core(store) as running:
        assert running.bus.durables()[0].position == 2


async def test_what_changes_during_a_save_is_saved_after_it(
    new_store: Callable[[], EventStore],
) -> None:
    async with core(new_store()) as running:
        clock = by_hand(running)
        durables = running.log.durables
        holder = await running.bus.durable("work", "a.*")
        advance(clock, 0.1)
        await publish(running, "a.b", 1, 2)
        await take(holder, 2)
        running.log.writer.park()
        await until(lambda: running.bus.status.state == "parked")
        holder.ack(1)
        advance(clock, 0.1)
        await until(durables._one_save.locked)
        holder.ack(2)
        advance(clock, 0.1)
        running.system.ref(STORE).kill()
        await until(lambda: durables._save_task is None)
        advance(clock, 0.1)
        await until(lambda: not durables._dirty and durables._save_task is None)
        durables._closed = True
    async with core(new_store()) as running:
        assert running.bus.durables()[0].position == 2


async def test_a_lease_is_not_waited_for_without_end(
    running: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antiphon.bus.durables.SAVE_WITHIN_S", 0.01)
    running.log.writer.park()
    await until(lambda: running.bus.status.state == "parked")
    with pytest.raises(StorageUnavailable, match="no answer in"):
        await running.bus.durable("work", "a.*")
    assert running.bus.durables() == []
    running.system.ref(STORE).kill()


async def test_a_name_may_be_dropped_while_a_lease_of_it_is_being_saved(running: Core) -> None:
    running.log.writer.park()
    await until(lambda: running.bus.status.state == "parked")
    asking = asyncio.ensure_future(running.bus.durable("work", "a.*"))
    await until(lambda: bool(running.bus.durables()))
    dropping = asyncio.ensure_future(running.bus.drop_durable("work"))
    await asyncio.sleep(0)
    assert running.bus.durables() == []
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    running.system.ref(STORE).kill()
    await asyncio.wait_for(dropping, 20)
    assert running.bus.durables() == []


async def test_a_save_that_nobody_waits_for_any_more_is_made_up_for(running: Core) -> None:
    """The writer is parked; whoever wanted the lease has given up; then the writer goes on."""
    running.log.writer.park()
    await until(lambda: running.bus.status.state == "parked")
    asking = asyncio.ensure_future(running.bus.durable("work", "a.*"))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    running.system.ref(STORE).kill()
    holder = await running.bus.durable("work", "a.*")
    await publish(running, "a.b", 1)
    assert await payloads(holder, 1) == [1]
    await holder.release()


# --- expiry and bounds ----------------------------------------------------------------------


async def test_what_nobody_holds_for_thirty_days_expires_and_that_is_told(
    new_store: Callable[[], EventStore],
) -> None:
    day = 86400.0
    async with core(new_store()) as running:
        clock = by_hand(running)
        now = [1e9]
        durables = running.log.durables
        durables.wall = lambda: now[0]
        durables._swept = (clock.now(), now[0])
        await (await running.bus.durable("unused", "a.*")).release()
        used = await running.bus.durable("used", "a.*", lease=float("inf"))
        durables._sweep()

        def pass_days(days: int) -> None:
            for _ in range(days * 24):
                now[0] += 3600
                advance(clock, 3600)

        pass_days(29)
        assert [info.name for info in running.bus.durables()] == ["unused", "used"]
        pass_days(2)
        assert [info.name for info in running.bus.durables()] == ["used"]
        now[0] += 365 * day  # the clock has jumped
        advance(clock, 3600)
        await used.release()
        await until(lambda: running.bus.head == 1)
        page = await running.bus.query(["_sys.durables.unused.expired"])
        [event] = [msgspec.json.decode(data, type=Event) for data in page.data]
        assert event.payload == {"owner": "system", "patterns": ["a.*"], "position": 0}
    async with core(new_store()) as running:
        assert running.bus.durables() == []  # the year 2001 was long ago


async def test_there_are_a_thousand_at_most(running: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.bus.durables.DURABLES", 2)
    for name in ("one", "two"):
        await (await running.bus.durable(name, "a.*")).release()
    with pytest.raises(Overloaded, match="the bound is 2"):
        await running.bus.durable("three", "a.*")
    assert running.log.durables.counters["refused"] == 1


async def test_nobody_but_an_admin_takes_more_than_a_share_of_them(
    running: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antiphon.bus.durables.OWNED", 1)
    guest = Principal("guest", Access(sub=("a.*",)))
    for name, principal in (("one", guest), ("two", ADMIN), ("three", ADMIN)):
        await (await running.bus.durable(name, "a.*", principal=principal)).release()
    with pytest.raises(Overloaded, match="guest has 1 durable subscriptions, the bound is 1"):
        await running.bus.durable("four", "a.*", principal=guest)
    await (await running.bus.durable("one", principal=guest)).release()


async def test_what_can_not_be_read_is_left_as_it_is(new_store: Callable[[], EventStore]) -> None:
    store = new_store()
    async with core(store) as running:
        await (await running.bus.durable("good", "a.*")).release()
        await running.log.in_writer(lambda: store.save_subs({"bad": b'{"of":"later"}'}))
    async with core(new_store()) as running:
        assert [info.name for info in running.bus.durables()] == ["good"]
    store = new_store()
    assert store.open().subs["bad"] == b'{"of":"later"}'
    store.close()
