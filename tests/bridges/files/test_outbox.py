"""What is told reaches the log once, whatever fails. docs/semantics/files.md#exactly-once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from antiphon.bridges.files import outbox as module
from antiphon.bridges.files.journal import Journal
from antiphon.bridges.files.outbox import Outbox, Stopped
from antiphon.bridges.files.problems import Problems
from antiphon.bridges.files.tree import Change, FileState
from antiphon.errors import Forbidden, Overloaded, StorageUnavailable

from .folding import Recorder, eventually

CHANGES = [Change("created", f"f{i}", FileState(i, i, i)) for i in range(5)]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "j.db", "/root")
    journal.open()
    yield journal
    journal.close()


class Desk:
    """An outbox and what it touches."""

    def __init__(self, journal: Journal) -> None:
        self.recorder = Recorder()
        self.problems: list[str] = []
        self.stop = asyncio.Event()
        self.outbox = Outbox(
            journal,
            self.recorder,
            source="/watch/x",
            problems=Problems(self.problems.append),
            stop=self.stop,
        )


@pytest.fixture
def desk(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(module, "PATIENCE_S", 0.002)
    return Desk(journal)


@pytest.mark.parametrize(
    "failure",
    [
        Overloaded("too much", retry_after_ms=1),
        StorageUnavailable("disk full", retry_after_ms=1),
        ConnectionRefusedError("no server"),
    ],
)
async def test_what_may_pass_is_tried_again_with_the_same_ids(
    desk: Desk, journal: Journal, failure: Exception
) -> None:
    desk.recorder.accept, desk.recorder.failure = 3, failure
    task = asyncio.create_task(desk.outbox.tell(CHANGES))
    await eventually(lambda: desk.problems)
    desk.recorder.accept = None
    await task

    assert desk.recorder.told() == [("created", f"f{i}") for i in range(5)]
    assert len(desk.problems) == 1
    assert str(failure) in desk.problems[0]
    assert journal.pending() == []


async def test_a_refusal_is_raised_and_the_batch_stays_written_down(
    desk: Desk, journal: Journal
) -> None:
    desk.recorder.accept, desk.recorder.failure = 2, Forbidden("no")

    with pytest.raises(Forbidden):
        await desk.outbox.tell(CHANGES)

    assert len(journal.pending()) == 5
    assert journal.files() == []


async def test_after_a_crash_midway_the_rest_is_told_and_nothing_twice(
    desk: Desk, journal: Journal
) -> None:
    desk.recorder.accept, desk.recorder.failure = 2, Forbidden("no")
    with pytest.raises(Forbidden):
        await desk.outbox.tell(CHANGES)
    desk.recorder.accept = None

    await desk.outbox.replay()
    await desk.outbox.replay()

    assert desk.recorder.told() == [("created", f"f{i}") for i in range(5)]
    assert len(journal.files()) == 5


async def test_a_stop_ends_the_tries_and_keeps_the_batch(desk: Desk, journal: Journal) -> None:
    desk.recorder.accept, desk.recorder.failure = 0, ConnectionRefusedError("no server")
    task = asyncio.create_task(desk.outbox.tell(CHANGES))
    await eventually(lambda: desk.recorder.tries > 1)
    desk.stop.set()

    with pytest.raises(Stopped):
        await task
    assert len(journal.pending()) == 5


async def test_only_so_many_events_are_in_flight(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 2)

    await desk.outbox.tell(CHANGES)

    assert desk.recorder.tries == 3
    assert len(desk.recorder.events) == 5


async def test_taken_ids_are_replaced(desk: Desk, journal: Journal) -> None:
    taken = journal.stage(CHANGES[:1], desk.outbox._event)
    await desk.recorder.publish_batch([type(taken[0])(topic="file.created", id=taken[0].id)])
    desk.recorder.events.clear()

    await desk.outbox.replay()

    assert desk.recorder.told() == [("created", "f0")]
    assert len(desk.problems) == 1


async def test_a_problem_is_told_once_a_minute() -> None:
    told: list[str] = []
    now = 0.0
    problems = Problems(told.append, clock=lambda: now)
    for now in (0.0, 1.0, 59.0, 60.0, 61.0):
        problems.report("a", f"a {now:g}")
    problems.over("a")
    problems.report("a", "a again")

    assert told == ["a 0", "a 60", "a again"]
