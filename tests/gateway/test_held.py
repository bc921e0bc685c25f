"""Durable subscriptions and groups over a real socket: whose an event is, and until when."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from antiphon.bus import Access
from antiphon.bus.event_bus import SCOPE
from antiphon.errors import BusError
from antiphon.gateway.hand import Hand
from antiphon.gateway.held import HeldStream

from .test_ws import publish

Until = Callable[[Callable[[], bool]], Any]


async def hold(client: Any, sid: str = "s", **fields: Any) -> dict[str, Any]:
    """Hold what *fields* say, by default the durable subscription ``mail`` of ``a.*``."""
    fields = {"patterns": ["a.*"], **fields}
    if "group" not in fields:
        fields.setdefault("durable", "mail")
    await client.send("sub", id=1, sid=sid, **fields)
    return await client.expect("ok", "err")


async def ask_and_hear(client: Any, op: str, **fields: Any) -> list[dict[str, Any]]:
    """Send a frame, then all that comes before the answer to a request behind it."""
    await client.send(op, **fields)
    await client.send("unsub", id=77, sid="nothing")
    heard = []
    while (frame := await client.frame()).get("id") != 77:
        heard.append(frame)
    return heard


def seqs(frame: dict[str, Any]) -> list[int]:
    return [event["seq"] for event in frame["events"]]


async def more(client: Any, count: int) -> list[int]:
    """The seqs of the next *count* events."""
    found: list[int] = []
    while len(found) < count:
        found += seqs(await client.expect("ev"))
    return found


# --- one holder ---------------------------------------------------------------------------


async def test_exactly_what_was_not_acknowledged_comes_to_the_next_holder(
    desk: Any, until: Until
) -> None:
    async with desk.client() as one:
        ok = await hold(one)
        assert (ok["effective"], ok["pos"].endswith(".0")) == (["a.*"], True)
        fence = ok["fence"]
        await publish(desk, 4)
        assert await more(one, 4) == [1, 2, 3, 4]
        await one.send("ack", sid="s", seq=3)
        await one.send("ack", sid="s", seq=1)
    await until(lambda: not desk.connections())
    async with desk.client() as two:
        ok = await hold(two, patterns=[])
        assert (ok["effective"], ok["pos"].endswith(".1")) == (["a.*"], True)
        assert ok["fence"] > fence
        frame = await two.expect("ev")
        assert seqs(frame) == [2, 4]
        assert "attempts" not in frame  # a socket that ends blames nothing
        assert frame["cursor"].endswith(".1")


async def test_it_is_one_holders_alone_and_goes_to_the_next_the_moment_its_socket_ends(
    desk: Any, until: Until
) -> None:
    async with desk.client() as one, desk.client() as two:
        await hold(one)
        await publish(desk, 1)
        await more(one, 1)
        held = await hold(two)
        assert (held["op"], held["code"]) == ("err", "lease_held")
        assert one.welcome["conn"] in held["message"]
        one.connection.transport.abort()
        await until(lambda: not desk.bus.durables()[0].holders)
        assert (await hold(two))["op"] == "ok"
        assert await more(two, 1) == [1]


async def test_a_client_that_answers_no_ping_keeps_nothing(
    desk: Any, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    async with desk.client() as good:
        monkeypatch.setattr("antiphon.gateway.session.PING_S", 0.05)
        monkeypatch.setattr("antiphon.gateway.session.PONG_S", 0.05)
        async with desk.client() as silent:
            await hold(silent)
            await publish(desk, 1)
            await until(lambda: not desk.bus.durables()[0].holders)
            assert (await hold(good))["op"] == "ok"
            assert await more(good, 1) == [1]


async def test_the_lease_lasts_as_long_as_pings_are_answered(
    desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antiphon.gateway.session.PING_S", 0.05)
    monkeypatch.setattr("antiphon.gateway.holdings.LEASE_S", 0.3)
    async with desk.client() as one:
        await hold(one)
        await publish(desk, 1)
        await more(one, 1)  # and then it works on that, longer than the lease
        for _ in range(12):
            await one.expect("ping")
            await one.send("pong")
        assert desk.bus.durables()[0].in_hand == 1


async def test_no_more_than_the_window_is_in_hand(desk: Any) -> None:
    await publish(desk, 6)
    async with desk.client() as one:
        await hold(one, window=2, **{"from": "earliest"})
        assert await more(one, 2) == [1, 2]
        assert await ask_and_hear(one, "pong") == []
        await one.send("ack", sid="s", seq=2)
        assert await more(one, 1) == [3]
        assert await ask_and_hear(one, "pong") == []


async def test_an_ack_twice_is_one_and_of_what_was_never_sent_an_error(desk: Any) -> None:
    async with desk.client() as one:
        await hold(one)
        await publish(desk, 2)
        await more(one, 2)
        assert await ask_and_hear(one, "ack", sid="s", seq=1) == []
        assert await ask_and_hear(one, "ack", sid="s", seq=1) == []
        (error,) = await ask_and_hear(one, "ack", sid="s", seq=3)
        assert (error["op"], error["code"]) == ("err", "bad_request")
        assert desk.bus.durables()[0].in_hand == 1


async def test_a_start_counts_for_a_new_one_only(desk: Any) -> None:
    await publish(desk, 3)
    async with desk.client() as one:
        await hold(one, after=1)
        assert await more(one, 2) == [2, 3]
        await one.send("unsub", id=2, sid="s")
        await one.expect("ok")
        await hold(one, after=0)
        assert await more(one, 2) == [2, 3]
        other = await hold(one, "t", durable="other", after="nosuchepoch.3")
        assert (other["op"], other["code"]) == ("err", "reset")


async def test_frames_have_64_kib_at_most(desk: Any) -> None:
    async with desk.client() as one:
        await hold(one)
        await asyncio.gather(*(desk.bus.publish_event("a.b", "x" * 30_000) for _ in range(7)))
        found: list[int] = []
        while len(found) < 7:
            frame = await one.expect("ev")
            assert len(frame["events"]) <= 2
            found += seqs(frame)
        assert found == [1, 2, 3, 4, 5, 6, 7]


# --- failures -----------------------------------------------------------------------------


async def test_what_is_given_back_comes_again_counted_and_the_rest_of_its_lane_after_it(
    desk: Any,
) -> None:
    async with desk.client() as one:
        await hold(one)
        await publish(desk, 2)
        await publish(desk, 1, "a.c")
        await more(one, 3)
        await one.send("nack", sid="s", seq=1, delay_ms=0)
        frame = await one.expect("ev")
        assert (seqs(frame), frame["attempts"]) == ([1, 2], [2, 1])
        await one.send("nack", sid="s", seq=3, delay_ms=60_000)
        assert await ask_and_hear(one, "pong") == []


async def test_a_failure_with_an_id_is_answered_before_anything_comes_again(desk: Any) -> None:
    """So a client knows which events are not in hand any more, and which are anew."""
    async with desk.client() as one:
        await hold(one)
        await publish(desk, 2)
        await more(one, 2)
        await one.send("nack", id=7, sid="s", seq=1, delay_ms=0)
        assert await one.frame() == {"op": "ok", "id": 7}
        assert seqs(await one.frame()) == [1, 2]
        await one.send("nack", id=8, sid="gone", seq=1)
        assert await one.frame() == {"op": "ok", "id": 8}
        await one.send("nack", id=9, sid="s", seq=99)
        error = await one.frame()
        assert (error["op"], error["id"]) == ("err", 9)


async def test_an_event_that_failed_too_often_is_a_dead_letter_with_its_reason(desk: Any) -> None:
    async with desk.client() as one, desk.client() as letters:
        await letters.sub("l", "_sys.dlq.*")
        await hold(one, tries=2)
        await publish(desk, 1)
        for _ in range(2):
            await more(one, 1)
            await one.send("nack", sid="s", seq=1, delay_ms=0, reason="no such mailbox")
        (letter,) = (await letters.until("ev"))["events"]
        assert letter["topic"] == "_sys.dlq.mail"
        assert "no such mailbox" in str(letter)


async def test_one_that_stops_at_a_failure_says_so_and_its_sid_is_free(desk: Any) -> None:
    async with desk.client() as one:
        await hold(one, tries=1, on_exhausted="stop")
        await publish(desk, 2)
        await more(one, 2)
        await one.send("nack", sid="s", seq=1)
        ended = await one.expect("ended")
        assert (ended["sid"], ended["code"]) == ("s", "durable_stopped")
        assert (await hold(one))["code"] == "durable_stopped"
        assert await ask_and_hear(one, "ack", sid="s", seq=2) == []
        await desk.bus.resume_durable("mail", skip=True)
        assert (await hold(one))["op"] == "ok"
        assert await more(one, 1) == [2]


@pytest.mark.parametrize("delay_ms", [-1, 24 * 3600 * 1000 + 1])
async def test_a_delay_is_a_day_at_most(desk: Any, delay_ms: int) -> None:
    async with desk.client() as one:
        await hold(one)
        await publish(desk, 1)
        await more(one, 1)
        (error,) = await ask_and_hear(one, "nack", sid="s", seq=1, delay_ms=delay_ms)
        assert (error["code"], error["limit"]) == ("bad_request", 24 * 3600 * 1000)


# --- groups -------------------------------------------------------------------------------


async def test_a_group_shares_the_work_and_a_leaver_leaves_its_own_to_the_others(
    desk: Any, until: Until
) -> None:
    async with desk.client() as one, desk.client() as two:
        await hold(one, group="crew", member="anna")
        await hold(two, group="crew", member="bert")
        taken = await hold(two, "t", group="crew", member="anna")
        assert taken["code"] == "lease_held"
        for n in range(20):
            await desk.bus.publish_event("a.b", n, key=f"k{n % 10}")
        await until(lambda: desk.bus.durables()[0].in_hand == 20)
        first: list[int] = []
        while len(first) < 20:
            first += await more(one, 1)
            if len(first) + desk.bus.durables()[0].in_hand > 20:
                break
        assert 0 < len(first) < 20
        for seq in first:
            await one.send("ack", sid="s", seq=seq)
        await one.send("unsub", id=3, sid="s")
        await one.until("ok")
        rest = await more(two, 20 - len(first))
        assert sorted(first + rest) == list(range(1, 21))


async def test_a_group_is_no_durable_for_one_alone(desk: Any) -> None:
    async with desk.client() as one:
        await hold(one, group="crew")
        assert (await hold(one, "t", durable="crew"))["code"] == "bad_request"
        assert (await hold(one, "t", durable="x", group="y"))["code"] == "bad_request"


# --- ends ---------------------------------------------------------------------------------


async def test_who_loses_the_right_to_it_hears_that_at_once(desk: Any) -> None:
    async with desk.client() as one:
        await hold(one)
        await publish(desk, 1)
        await more(one, 1)
        desk.bus.log.regrant("admin", Access(sub=("b.*",)))
        ended = await one.expect("ended")
        assert (ended["sid"], ended["code"]) == ("s", "lease_lost")
        assert (await hold(one))["op"] == "ok"


async def test_a_name_that_is_dropped_ends_its_holders(desk: Any) -> None:
    async with desk.client() as one:
        await hold(one)
        await desk.bus.drop_durable("mail")
        assert (await one.expect("ended"))["code"] == "lease_lost"
        assert (await hold(one, patterns=[]))["code"] == "not_found"


async def test_what_was_trimmed_meanwhile_is_a_gap_told_once(desk: Any, until: Until) -> None:
    async with desk.client() as one:
        await hold(one)
        await publish(desk, 3)
        await more(one, 3)
    await until(lambda: not desk.connections())
    await desk.bus.log.trim("a.b", 2)
    async with desk.client() as two:
        await hold(two)
        gap = await two.expect("gap")
        assert (gap["sid"], gap["from"], gap["to"]) == ("s", 1, 2)
        assert await more(two, 1) == [3]
        await two.send("unsub", id=2, sid="s")
        await two.expect("ok")
        await hold(two)
        assert await more(two, 1) == [3]


async def test_its_groups_end_with_it(desk: Any) -> None:
    async with desk.client() as one:
        await hold(one)
        assert desk.system.groups.members(SCOPE, "a.*") == [desk.system.lookup(one.welcome["conn"])]
        await one.send("unsub", id=2, sid="s")
        await one.expect("ok")
        assert desk.system.groups.members(SCOPE, "a.*") == []
        assert desk.bus.durables()[0].holders == []


# --- whose it is --------------------------------------------------------------------------


async def test_only_who_sees_all_of_it_may_hold_it_and_a_name_is_its_makers(desk: Any) -> None:
    ann = await desk.issue("ann", sub=["a.*", "b.*"], deny=["a.secret"])
    bob = await desk.issue("bob", sub=["b.*"])
    async with desk.client(ann) as one, desk.client(bob) as two, desk.client() as admin:
        assert (await hold(one))["code"] == "forbidden"
        assert (await hold(one, patterns=["c"]))["code"] == "forbidden"
        assert (await hold(one, patterns=["b.*"]))["op"] == "ok"
        await one.send("unsub", id=2, sid="s")
        await one.expect("ok")
        assert (await hold(two, patterns=["b.*"]))["code"] == "forbidden"
        assert (await hold(admin, patterns=[]))["op"] == "ok"
        for client, names in ((ann, ["mail"]), (bob, [])):
            assert [row["name"] for row in await desk.get("/v1/durables", token=client)] == names
            assert await desk.get("/v1/subscriptions", token=client) == []
        for token, status in ((bob, 403), (ann, 204)):
            assert (await desk.ask("DELETE", "/v1/durables/mail", token=token)).status == status


async def test_a_revoked_token_gives_back_at_once_what_it_had_in_hand(desk: Any) -> None:
    ann = await desk.issue("ann", sub=["a.*"])
    async with desk.client(ann) as one, desk.client() as admin:
        await hold(one)
        await publish(desk, 1)
        taken = await more(one, 1)
        assert (await desk.ask("DELETE", "/v1/tokens/ann")).status == 204
        assert (await hold(admin))["op"] == "ok"
        assert await more(admin, 1) == taken


async def test_new_rights_end_it_even_while_it_opens(desk: Any, until: Until) -> None:
    ann = await desk.issue("ann", sub=["a.*", "b.*"])
    async with desk.client(ann) as one:
        slow = Slow(desk)
        await one.send("sub", id=1, sid="s", patterns=["a.*"], durable="mail")
        await until(slow.asked.is_set)
        await desk.issue("ann", sub=["b.*"], replace=True, overlap_s=60)
        slow.go.set()
        assert (await one.expect("ok"))["id"] == 1
        ended = await one.expect("ended")
        assert (ended["sid"], ended["code"]) == ("s", "lease_lost")
        assert (await hold(one))["code"] == "forbidden"


# --- between the bus and the socket -------------------------------------------------------


class Reader:
    """A stream that nobody pumps, over a real bus: seven large events, two a frame."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.lost: list[BusError] = []

    async def open(self, desk: Any) -> None:
        lease = await desk.bus.open_lease("mail", "a.*", on_ready=self.ready.set)
        self.stream = HeldStream(
            "s", lease, Hand(1000), cursor=desk.bus.cursor, lost=self.lost.append
        )
        for n in range(7):
            await desk.bus.publish_event("a.b", [n, "x" * 30_000])
        sent: list[int] = []
        while len(sent) < 7:
            sent += seqs(await self.frame())
        self.stream.nack(1, 0.0, "no")  # all of them wait now, to be taken at once

    async def frame(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            while (parts := self.stream.frame()) is None:
                await self.ready.wait()
                self.ready.clear()
        frame = json.loads(b"".join(parts))
        assert isinstance(frame, dict)
        return frame


async def test_what_goes_back_before_it_was_sent_is_sent_once(desk: Any) -> None:
    reader = Reader()
    await reader.open(desk)
    assert seqs(await reader.frame()) == [1, 2]
    reader.stream.nack(1, 0.0, "no")
    frames = [await reader.frame() for _ in range(4)]
    assert [seqs(frame) for frame in frames] == [[1, 2], [3, 4], [5, 6], [7]]
    assert frames[0]["attempts"] == [3, 1]
    assert reader.stream.frame() is None
    reader.stream.close()
    assert reader.lost == []


async def test_what_is_forgotten_before_it_was_sent_is_not_sent_and_takes_no_room(
    desk: Any,
) -> None:
    reader = Reader()
    await reader.open(desk)
    assert seqs(await reader.frame()) == [1, 2]
    desk.bus.log.durables.forget([1, 3, 4])
    assert seqs(await reader.frame()) == [5, 6]
    assert seqs(await reader.frame()) == [7]
    assert reader.stream.frame() is None
    assert reader.stream.lease.in_hand == 5  # the first was sent, and may be acknowledged


async def test_nothing_that_was_taken_is_sent_after_the_lease_has_ended(desk: Any) -> None:
    reader = Reader()
    await reader.open(desk)
    assert seqs(await reader.frame()) == [1, 2]
    await desk.bus.drop_durable("mail")
    assert reader.stream.frame() is None
    assert [error.code for error in reader.lost] == ["lease_lost"]


# --- while it opens -----------------------------------------------------------------------


class Slow:
    """Saving of durable subscriptions that waits until it is let go on."""

    def __init__(self, desk: Any) -> None:
        self.go = threading.Event()
        self.asked = threading.Event()
        save = desk.store.save_subs

        def slowly(changed: Any) -> None:
            self.asked.set()
            assert self.go.wait(20)
            save(changed)

        desk.store.save_subs = slowly


async def test_while_it_opens_its_sid_is_taken_and_unsub_calls_it_off(
    desk: Any, until: Until
) -> None:
    async with desk.client() as one:
        slow = Slow(desk)
        await one.send("sub", id=1, sid="s", patterns=["a.*"], durable="mail")
        await until(slow.asked.is_set)
        await one.send("sub", id=2, sid="s", patterns=["a.*"])
        error = await one.expect("err")
        assert (error["id"], error["code"]) == (2, "bad_request")
        await one.send("unsub", id=3, sid="s")
        off, done = await one.expect("err"), await one.expect("ok")
        assert (off["id"], off["code"], done["id"]) == (1, "bad_request", 3)
        slow.go.set()
        assert (await hold(one))["op"] == "ok"
        assert [info.holders for info in desk.bus.durables()] == [[f"{one.welcome['conn']}/s"]]


async def test_a_socket_that_ends_while_it_opens_holds_nothing(desk: Any, until: Until) -> None:
    async with desk.client() as one, desk.client() as two:
        slow = Slow(desk)
        await one.send("sub", id=1, sid="s", patterns=["a.*"], durable="mail")
        await until(slow.asked.is_set)
        one.connection.transport.abort()
        await until(lambda: desk.connections() == [two.welcome["conn"]])
        assert not any(info.holders for info in desk.bus.durables())
        slow.go.set()
        assert (await hold(two))["op"] == "ok"


async def test_a_connection_goes_on_while_one_opens(desk: Any, until: Until) -> None:
    async with desk.client() as one:
        await one.sub("live", "b")
        slow = Slow(desk)
        await one.send("sub", id=1, sid="s", patterns=["a.*"], durable="mail")
        await until(slow.asked.is_set)
        await one.sub("t", "c")
        slow.go.set()
        while (frame := await one.until("ok"))["id"] != 1 or frame["effective"] != ["a.*"]:
            pass
        await publish(desk, 1)
        assert (await one.until("ev"))["sid"] == "s"


# --- under load ---------------------------------------------------------------------------


class Worker:
    """Works on its share of a group until it is told to stop: in order, in bad order, or dead."""

    def __init__(self, desk: Any, name: str, dice: Random, done: dict[int, int]) -> None:
        self.desk = desk
        self.name = name
        self.dice = dice
        self.done = done

    async def live(self, frames: int) -> None:
        async with self.desk.client() as client:
            await client.send(
                "sub", id=1, sid="s", group="crew", patterns=["job.*"], member=self.name, window=20
            )
            if (await client.until("ok"))["effective"] != ["job.*"]:
                raise AssertionError
            for _ in range(frames):
                await self._work(client)
            if self.dice.random() < 0.7:
                client.connection.transport.abort()

    async def _work(self, client: Any) -> None:
        async with asyncio.timeout(0.3):
            frame = await client.frame()
        for seq in self.dice.sample(seqs(frame), len(frame["events"])):
            if self.dice.random() < 0.1:
                await client.send("nack", sid="s", seq=seq, delay_ms=self.dice.choice([0, 20]))
            else:
                self.done[seq] = self.done.get(seq, 0) + 1
                await client.send("ack", sid="s", seq=seq)


async def work_in_shifts(desk: Any, until: Until, events: int, seed: int) -> None:
    """Publish *events* while workers come, fail at some, leave and die, till all are done."""
    done: dict[int, int] = {}
    ended = asyncio.Event()

    async def shifts(number: int) -> None:
        dice = Random(seed * 100 + number)
        while not ended.is_set():
            try:
                await Worker(desk, f"w{number}", dice, done).live(dice.randint(1, 12))
            except (TimeoutError, AssertionError):
                await asyncio.sleep(0)  # nothing to do just now, or its last life is not over yet

    async def publish_all() -> None:
        for n in range(events):
            await desk.bus.publish_event("job.x", n, key=f"k{n % 17}")

    await (await desk.bus.join("crew", "job.*", tries=1000)).release()
    crew = [asyncio.create_task(shifts(number)) for number in range(4)]
    await publish_all()
    info = lambda: desk.bus.durables()[0]  # noqa: E731
    async with asyncio.timeout(60):
        while info().position < events or info().in_hand or info().waiting:
            await asyncio.sleep(0.01)
    ended.set()
    await asyncio.gather(*crew)
    assert sorted(done) == list(range(1, events + 1))
    assert (info().parked, info().lost) == (0, 0)
    await until(lambda: not desk.connections())


async def test_holders_that_come_fail_and_die_leave_nothing_undone(desk: Any, until: Until) -> None:
    await work_in_shifts(desk, until, 400, 1)


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(5))
async def test_many_holders_that_come_fail_and_die_leave_nothing_undone(
    desk: Any, until: Until, seed: int
) -> None:
    await work_in_shifts(desk, until, 5_000, seed)
