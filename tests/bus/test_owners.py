"""The owners may die at any time: nothing acknowledged is lost or doubled."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from antiphon.actors import ActorRef, Status
from antiphon.app import Core, core
from antiphon.bus import BUS, STORE, EventStore, publish_event, writer
from antiphon.bus.store import Opened, Row, Stored, StoreUnavailable
from antiphon.errors import StorageUnavailable
from antiphon.messages import Published
from antiphon.stores import MemoryEventStore

from .conftest import until

UNKNOWN = "outcome unknown, repeat with the same id"


async def _load(running: Core, count: int, then: Callable[[int], None]) -> list[int]:
    """Publish *count* events with ids, calling *then* on the way; the seqs, in order."""
    futures = []
    for n in range(count):
        futures.append(publish_event(running.bus, "a.b", n, id=str(n)))
        then(n)
        if n % 50 == 0:
            await asyncio.sleep(0)
    return [(await asyncio.wait_for(future, 20)).seq or 0 for future in futures]


@pytest.mark.parametrize("key", [STORE, BUS])
async def test_killing_an_owner_under_load_loses_and_doubles_nothing(
    running: Core, key: Any
) -> None:
    seen: list[int] = []
    events = running.bus.events("a.b")

    async def read() -> None:
        async for event in events:
            seen.append(event.payload)  # noqa: PERF401 - seen while it goes on

    reader = asyncio.ensure_future(read())
    ref = running.system.ref(key)

    def kill(n: int) -> None:
        if n in (300, 1500):
            ref.kill()

    seqs = await _load(running, 2000, kill)
    assert seqs == sorted(set(seqs))
    await until(lambda: len(seen) == 2000)
    assert seen == list(range(2000))
    events.close()
    await reader


async def test_after_the_store_died_the_same_writer_goes_on(running: Core) -> None:
    store = running.system.ref(STORE)
    thread = running.log.writer._thread
    store.kill()
    await store.wait_generation()
    answer = await asyncio.wait_for(publish_event(running.bus, "a.b", 1), 10)
    assert answer.seq == 1
    assert running.log.writer._thread is thread


async def test_closing_stores_what_waits_and_answers_everybody(
    new_store: Callable[[], EventStore],
) -> None:
    async with core(new_store()) as running:
        futures = [publish_event(running.bus, "a.b", n) for n in range(500)]
    answers = await asyncio.gather(*futures, return_exceptions=True)
    stored = [a.seq for a in answers if not isinstance(a, BaseException)]
    async with core(new_store()) as running:
        assert running.bus.head == len(stored) == 500


class Faulty(MemoryEventStore):
    """A store whose disk fails when told to.

    Attributes:
        bugs: So many appends still end in an error of our own.
        upkeep_bugs: As many turns of upkeep.
        full: It takes nothing.
        away: Nor can it be asked.
        unreadable: It gives no stored event.
        lose_answer: Of so many appends the answer gets lost; every second one is stored.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bugs = 0
        self.upkeep_bugs = 0
        self.full = False
        self.away = False
        self.unreadable = False
        self.lose_answer = 0

    def append(self, rows: Sequence[Row], recorded_us: int) -> None:
        if self.bugs:
            self.bugs -= 1
            raise RuntimeError("a bug")
        if self.full or (self.away and not self.lose_answer):
            raise StoreUnavailable("database or disk is full")
        if self.lose_answer and rows:
            self.lose_answer -= 1
            if self.lose_answer % 2:
                super().append(rows, recorded_us)
            raise StoreUnavailable("the answer to COMMIT was lost", unknown=True)
        super().append(rows, recorded_us)

    def tend(self, *, idle: bool) -> None:
        if self.upkeep_bugs:
            self.upkeep_bugs -= 1
            raise RuntimeError("a bug")

    def reopen(self) -> None:
        if self.away:
            raise StoreUnavailable("disk I/O error")
        super().reopen()

    def find_given(self, keys: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], Stored]:
        if self.unreadable:
            raise StoreUnavailable("disk I/O error")
        return super().find_given(keys)


@pytest.fixture
def adopt_now(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """No owner adopts the writer before this is set."""
    adopt, now = writer.Writer.adopt, threading.Event()

    def late(self: writer.Writer, timeout: float) -> bool:
        return now.wait(timeout) and adopt(self, timeout)

    monkeypatch.setattr(writer.Writer, "adopt", late)
    return now


async def test_a_full_disk_refuses_publishes_and_recovers_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("antiphon.bus.writer.PROBE_S", (0.01,))
    store = Faulty()
    async with core(store) as running:
        await publish_event(running.bus, "a.b", 1)
        store.full = True
        with pytest.raises(StorageUnavailable) as refused:
            await publish_event(running.bus, "a.b", 2)
        assert refused.value.retry_after_ms > 0
        assert running.bus.status.state == "unavailable"
        assert "full" in (running.bus.status.message or "")
        assert len((await running.bus.query()).data) == 1
        store.full = False
        await until(lambda: running.bus.status.state == "ok")
        assert (await publish_event(running.bus, "a.b", 2)).seq == 2


async def test_a_disk_that_can_not_be_read_refuses_a_repeated_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As any other publish: no owner dies of it, and repeated later it is a duplicate."""
    monkeypatch.setattr(writer, "PROBE_S", (0.01,))
    store = Faulty()
    async with core(store) as running:
        first = await publish_event(running.bus, "a.b", 1, id="one")
        store.unreadable = True
        with pytest.raises(StorageUnavailable):
            await asyncio.wait_for(publish_event(running.bus, "a.b", 1, id="one"), 10)
        store.unreadable = False
        await until(lambda: running.bus.status.state == "ok")
        again = await asyncio.wait_for(publish_event(running.bus, "a.b", 1, id="one"), 10)
        assert (again.seq, again.duplicate) == (first.seq, True)
        assert _restarts(running) == 0


async def test_a_new_owner_waits_for_a_disk_that_refuses(
    monkeypatch: pytest.MonkeyPatch, adopt_now: threading.Event
) -> None:
    """What waits is refused, no further owner dies, and it recovers by itself."""
    monkeypatch.setattr(writer, "PROBE_S", (0.01,))
    store = Faulty()
    async with core(store) as running:
        store.away = True
        with pytest.raises(StorageUnavailable):
            await asyncio.wait_for(publish_event(running.bus, "a.b", 1), 10)
        running.system.ref(STORE).kill()
        await until(lambda: running.bus.status.state == "parked")
        waiting = publish_event(running.bus, "a.b", 1)
        adopt_now.set()
        with pytest.raises(StorageUnavailable):
            await asyncio.wait_for(waiting, 10)
        assert running.bus.status.state == "unavailable"
        store.away = False
        await until(lambda: running.bus.status.state == "ok")
        assert (await asyncio.wait_for(publish_event(running.bus, "a.b", 1), 10)).seq == 1
        assert _restarts(running) == 1


@pytest.mark.parametrize("lost", [1, 2], ids=["not stored", "stored"])
@pytest.mark.parametrize("kills", [0, 1, 3])
async def test_a_batch_whose_outcome_is_unknown_waits_for_the_disk(
    monkeypatch: pytest.MonkeyPatch, lost: int, kills: int
) -> None:
    """While it can't be asked; under whichever owner. What else comes is refused."""
    monkeypatch.setattr(writer, "PROBE_S", (0.01,))
    store = Faulty()
    async with core(store) as running:
        store.away, store.lose_answer = True, lost
        waiting = publish_event(running.bus, "a.b", 1, id="one")
        await until(lambda: running.bus.status.state == "unavailable")
        owner = running.system.ref(STORE)
        for n in range(kills):
            owner.kill()
            await until(partial(_is_running, owner, n + 2))
            await until(lambda: running.bus.status.state == "unavailable")
        assert isinstance(publish_event(running.bus, "a.b", 2).exception(), StorageUnavailable)
        assert not waiting.done()
        store.away, store.lose_answer = False, 0
        assert (await asyncio.wait_for(waiting, 10)).seq == 1
        assert (await asyncio.wait_for(publish_event(running.bus, "a.b", 2), 10)).seq == 2
        assert len((await running.bus.query()).data) == 2


async def test_a_batch_in_hand_is_kept_when_what_waits_behind_it_is_refused(
    monkeypatch: pytest.MonkeyPatch, adopt_now: threading.Event
) -> None:
    monkeypatch.setattr(writer, "PROBE_S", (0.01,))
    store = Faulty()
    async with core(store) as running:
        store.away, store.lose_answer = True, 2
        in_hand = publish_event(running.bus, "a.b", 1)
        await until(lambda: running.bus.status.state == "unavailable")
        running.system.ref(STORE).kill()
        await until(lambda: running.bus.status.state == "parked")
        behind = publish_event(running.bus, "a.b", 2)
        adopt_now.set()
        with pytest.raises(StorageUnavailable):
            await asyncio.wait_for(behind, 10)
        running.system.ref(STORE).kill()
        await until(partial(_is_running, running.system.ref(STORE), 3))
        store.away = False
        assert (await asyncio.wait_for(in_hand, 10)).seq == 1
        assert len((await running.bus.query()).data) == 1


async def test_an_outcome_that_stays_unknown_is_told_so_at_the_end() -> None:
    store = Faulty()
    async with core(store) as running:
        store.away, store.lose_answer = True, 2
        waiting = publish_event(running.bus, "a.b", 1, id="one")
        await until(lambda: running.bus.status.state == "unavailable")
    with pytest.raises(StorageUnavailable, match=UNKNOWN):
        await asyncio.wait_for(waiting, 10)
    store.away = False
    async with core(store) as running:
        again = await publish_event(running.bus, "a.b", 1, id="one")
        assert (again.seq, again.duplicate) == (1, True)


async def test_closing_before_an_adoption_answers_what_is_in_hand_and_what_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writer.Writer, "adopt", lambda self, timeout: False)
    store = Faulty()
    async with core(store) as running:
        store.bugs = 1
        waiting = [publish_event(running.bus, "a.b", 1)]
        await until(lambda: running.bus.status.state == "parked")
        waiting += [publish_event(running.bus, "a.b", n) for n in (2, 3)]
    for one in waiting:
        with pytest.raises(StorageUnavailable, match=UNKNOWN):
            await asyncio.wait_for(one, 10)


async def test_a_damaged_log_stays_damaged_whatever_is_said_of_the_disk() -> None:
    """Nobody writes on a damaged file because the disk was full meanwhile."""
    store = Faulty()
    async with core(store) as running:
        store.full = True
        with pytest.raises(StorageUnavailable):
            await publish_event(running.bus, "a.b", 1)
        running.log.writer.damaged("a page is broken")  # as a reader tells it
        store.full = False
        done = asyncio.Event()
        running.log.step(lambda: None, lambda _: done.set())
        await asyncio.wait_for(done.wait(), 10)
        assert running.bus.status.state == "corrupt"
        with pytest.raises(StorageUnavailable, match="a page is broken"):
            await publish_event(running.bus, "a.b", 1)


async def test_an_unknown_commit_is_settled_by_the_head_on_disk() -> None:
    """Whether it was stored or not: one event, one seq, one answer."""
    store = Faulty()
    async with core(store) as running:
        events = running.bus.events("a.b")
        for n in range(4):
            store.lose_answer = 2 if n % 2 else 1
            answer = await asyncio.wait_for(publish_event(running.bus, "a.b", n), 10)
            assert answer.seq == n + 1
            store.lose_answer = 0
        assert [(await anext(events)).payload for _ in range(4)] == [0, 1, 2, 3]
        assert len((await running.bus.query()).data) == 4
        events.close()


async def test_a_bug_in_the_writer_restarts_its_owner_and_the_batch_is_kept() -> None:
    store = Faulty()
    async with core(store) as running:
        store.bugs = 1
        answer = await asyncio.wait_for(publish_event(running.bus, "a.b", 1), 10)
        assert answer.seq == 1
        assert _restarts(running) == 1


async def test_a_bug_right_after_an_adoption_is_told_to_the_new_owner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Even if its ``pre_start`` isn't through by then."""
    adopt = writer.Writer.adopt
    adoptions: list[bool] = []

    def linger(self: writer.Writer, timeout: float) -> bool:
        adoptions.append(adopt(self, timeout))
        return self._parked.wait(5) if len(adoptions) == 1 else adoptions[-1]

    monkeypatch.setattr(writer.Writer, "adopt", linger)
    store = Faulty()
    async with core(store) as running:
        store.bugs = 2
        answer = await asyncio.wait_for(publish_event(running.bus, "a.b", 1), 10)
        assert answer.seq == 1
        assert (await running.bus.query()).data
        assert _restarts(running) == 2


async def test_a_bug_right_after_the_opening_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    open_it = writer.Writer.open

    def linger(self: writer.Writer) -> Opened:
        opened = open_it(self)
        assert self._parked.wait(5)
        return opened

    monkeypatch.setattr(writer.Writer, "open", linger)
    store = Faulty()
    store.upkeep_bugs = 1
    async with core(store) as running:
        assert (await asyncio.wait_for(publish_event(running.bus, "a.b", 1), 10)).seq == 1
        assert _restarts(running) == 1


async def test_a_bug_told_while_nobody_owns_the_writer_is_told_to_the_next_owner() -> None:
    async with core(Faulty()) as running:
        store = running.system.ref(STORE)
        tell = running.log.on_crash
        assert tell is not None
        store.kill()
        await store.wait_generation()
        tell(RuntimeError("a bug"))
        await until(lambda: _restarts(running) == 2)
        assert (await asyncio.wait_for(publish_event(running.bus, "a.b", 1), 10)).seq == 1


def _is_running(ref: ActorRef[Any], generation: int) -> bool:
    return ref.generation == generation and ref.status is Status.RUNNING


def _restarts(running: Core) -> int:
    return next(i.restarts for i in running.system.actors() if i.key == STORE.name)


async def test_recorded_never_goes_back(
    new_store: Callable[[], EventStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when the clock is set back, nor at the next start."""
    now = 2_000_000_000_000_000_000
    clock = SimpleNamespace(time_ns=lambda: now, monotonic=time.monotonic, sleep=time.sleep)
    monkeypatch.setattr(writer, "time", clock)
    seen = []
    for hour in (0, -1, -2, 1):
        now = 2_000_000_000_000_000_000 + hour * 3_600_000_000_000
        async with core(new_store()) as running:
            for _ in range(2):
                await publish_event(running.bus, "a.b", hour)
            async with running.bus.events("a.b", start="earliest") as events:
                stored = [await anext(events) for _ in range(running.bus.head)]
            seen = [event.recorded for event in stored if event.recorded is not None]
    assert len(seen) == 8
    assert seen == sorted(seen)
    assert len(set(seen)) == 2


class Stuck(MemoryEventStore):
    """A store whose disk hangs while the gate is shut."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.threads: set[int] = set()

    def append(self, rows: Sequence[Row], recorded_us: int) -> None:
        self.threads.add(threading.get_ident())
        self.gate.wait(20)
        super().append(rows, recorded_us)


async def test_an_owner_fails_while_the_writer_does_not_park(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So there is never a second writer, and what waits is stored once the disk goes on."""
    store = Stuck()
    async with core(store) as running:
        waiting = publish_event(running.bus, "a.b", 1)
        await until(lambda: bool(store.threads))
        with monkeypatch.context() as patched:
            patched.setattr("antiphon.bus.log.PARK_TIMEOUT_S", 0.02)
            with pytest.raises(StorageUnavailable, match=r"did not park in 0\.02 s"):
                await running.log.open()  # what ``pre_start`` of a new owner does
        assert not waiting.done()
        running.system.ref(STORE).kill()
        store.gate.set()
        assert (await asyncio.wait_for(waiting, 20)).seq == 1
        assert (await asyncio.wait_for(publish_event(running.bus, "a.b", 2), 20)).seq == 2
    assert len(store.threads) == 1


async def test_a_refusing_disk_is_told_once_and_asked_ever_more_rarely(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """New publishes are refused at once meanwhile, without asking it."""
    assert (writer.PROBE_S[0], writer.PROBE_S[-1]) == (1.0, 30.0)
    assert list(writer.PROBE_S) == sorted(writer.PROBE_S)
    attempts: list[int] = []
    pause = writer.Writer._pause

    def note(self: writer.Writer, attempt: int) -> None:
        attempts.append(attempt)
        pause(self, attempt)

    monkeypatch.setattr(writer, "PROBE_S", (0.001,))
    monkeypatch.setattr(writer.Writer, "_pause", note)
    store = Faulty()
    async with core(store) as running:
        store.full = True
        with caplog.at_level(logging.ERROR, "antiphon.bus.writer"):
            with pytest.raises(StorageUnavailable):
                await publish_event(running.bus, "a.b", 1)
            refused = publish_event(running.bus, "a.b", 2)
            assert isinstance(refused.exception(), StorageUnavailable)  # already
            await until(lambda: len(attempts) >= 10)
        assert attempts[:10] == list(range(10))
        assert len([r for r in caplog.records if "disk is full" in r.getMessage()]) == 1
        store.full = False
        await until(lambda: running.bus.status.state == "ok")


async def _refuses(running: Core, *waiting: asyncio.Future[Published]) -> None:
    """Each of *waiting* is told that its outcome is unknown, and the next is refused at once."""
    for one in waiting:
        with pytest.raises(StorageUnavailable, match=UNKNOWN):
            await asyncio.wait_for(one, 10)
    refused = publish_event(running.bus, "a.b", 9).exception()  # already
    assert isinstance(refused, StorageUnavailable)
    with pytest.raises(StorageUnavailable):
        await running.log.in_writer(lambda: None)


async def test_when_the_logs_actors_have_given_up_nobody_waits_for_them() -> None:
    """What is in hand, and what waits behind it."""
    store = Faulty()
    async with core(store) as running:
        assert (await publish_event(running.bus, "a.b", 1)).seq == 1
        store.bugs = 1_000_000
        in_hand = publish_event(running.bus, "a.b", 2)
        await until(lambda: running.bus.status.state == "parked")
        behind = publish_event(running.bus, "a.b", 3)
        await asyncio.wait_for(running.system.wait(), 20)
        await _refuses(running, in_hand, behind)
        assert len((await running.bus.query()).data) == 1


async def test_when_the_system_ends_in_the_block_what_waits_is_stored_and_the_rest_refused(
    new_store: Callable[[], EventStore],
) -> None:
    async with core(new_store()) as running:
        waiting = [publish_event(running.bus, "a.b", n) for n in range(500)]
        await running.system.close()
        answers = await asyncio.wait_for(asyncio.gather(*waiting), 20)
        assert [answer.seq for answer in answers] == list(range(1, 501))
        await _refuses(running)
        assert len((await running.bus.query(limit=500)).data) == 500
    async with core(new_store()) as running:
        assert running.bus.head == 500


async def test_who_waits_for_room_is_woken_when_the_log_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("antiphon.bus.log.LOCAL_WAITING", 1)
    store = Stuck()
    async with core(store) as running:
        waiting = publish_event(running.bus, "a.b", 1)
        room = asyncio.ensure_future(running.bus.room())
        await until(lambda: bool(store.threads))
        await running.system.close()
        await asyncio.wait_for(room, 10)
        await _refuses(running)
        store.gate.set()
        assert (await asyncio.wait_for(waiting, 20)).seq == 1


async def test_closing_answers_also_what_a_disk_that_hangs_has_in_hand() -> None:
    store = Stuck()
    async with core(store) as running:
        waiting = [publish_event(running.bus, "a.b", 1)]
        await until(lambda: bool(store.threads))
        waiting.append(publish_event(running.bus, "a.b", 2))
        await running.log.aclose(0.02)
        await _refuses(running, *waiting)
        store.gate.set()
