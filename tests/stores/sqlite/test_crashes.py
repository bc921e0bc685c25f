"""What survives a killed process and a damaged end of the WAL."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from tests.stores.sqlite.kills import POINTS, kill_rounds

from antiphon.bus.store import Opened, Query
from antiphon.stores import SqliteEventStore
from antiphon.stores.sqlite.health import examine
from antiphon.testing.store_contract import START_US, event, reading, stored

APPENDER = Path(__file__).with_name("appender.py")
LONGEST_BATCH = 60


def _kill_midway(path: Path, seed: int) -> int:
    """Let a child append, kill it after some batches; the last seq it was told is stored."""
    chance = random.Random(seed)
    with subprocess.Popen(
        [sys.executable, str(APPENDER), str(path), str(seed)], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        acknowledged = [int(child.stdout.readline()) for _ in range(chance.randint(2, 80))]
        child.kill()
        rest = child.stdout.read().splitlines(keepends=True)
    acknowledged += [int(line) for line in rest if line.endswith(b"\n")]
    assert acknowledged == sorted(acknowledged)
    return acknowledged[-1]


def _check_whole(store: SqliteEventStore, opened: Opened) -> None:
    """Every seq up to the head once, and counts and index that agree with them."""
    with reading(store) as reader:
        rows = reader.page(0, opened.head + 10)
        by_topic = [
            row
            for name in sorted(opened.topics)
            for row in reader.select(Query(topics=frozenset({name}), limit=opened.head + 10))
        ]
    assert [row.seq for row in rows] == list(range(1, opened.head + 1))
    assert all(row.data == b'{"seq":%d}' % row.seq for row in rows)
    assert sorted(by_topic) == rows
    counts = Counter(row.topic for row in rows)
    assert {name: state.count for name, state in opened.topics.items()} == dict(counts)
    for name, state in opened.topics.items():
        mine = [row for row in rows if row.topic == name]
        assert (state.first_seq, state.last_seq) == (mine[0].seq, mine[-1].seq)
        assert state.size_bytes == sum(len(row.data) for row in mine)


def _kill_rounds(path: Path, rounds: int) -> None:
    epochs = 0
    for seed in range(rounds):
        acknowledged = _kill_midway(path, seed)
        store = SqliteEventStore(path)
        opened = store.open()
        try:
            assert not opened.clean
            assert acknowledged <= opened.head <= acknowledged + LONGEST_BATCH
            assert opened.recorded_us == START_US + opened.head
            assert len(opened.epochs) == epochs + 2  # the child's and ours
            epochs = len(opened.epochs)
            assert opened.epochs[-1].first_seq == opened.head + 1
            _check_whole(store, opened)
        finally:
            store.close()


def test_what_was_acknowledged_survives_a_killed_process(tmp_path: Path) -> None:
    """Each acknowledged event is there once, the head is right, and so are the counts."""
    _kill_rounds(tmp_path / "log.db", 4)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_many_kills(tmp_path: Path) -> None:
    """The same, over and over on one file."""
    _kill_rounds(tmp_path / "log.db", 60)


def _abandon(store: SqliteEventStore, path: Path, copy: Path) -> SqliteEventStore:
    """The store as a power cut would leave it: a copy of its files while it is open."""
    for suffix in ("", "-wal"):
        copy.with_name(copy.name + suffix).write_bytes(
            path.with_name(path.name + suffix).read_bytes()
        )
    store.close()
    return SqliteEventStore(copy)


def test_deferred_work_is_completed_by_the_next_open(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    store = SqliteEventStore(path)
    store.open()
    rows = [event(i, f"t{i % 3}") for i in range(1, 31)]
    store.append(rows, START_US)
    left = _abandon(store, path, tmp_path / "copy.db")
    opened = left.open()
    try:
        assert not opened.clean
        assert {name: state.count for name, state in opened.topics.items()} == {
            "t0": 10,
            "t1": 10,
            "t2": 10,
        }
        with reading(left) as reader:
            assert reader.select(Query(topics=frozenset({"t1"}))) == stored(
                row for row in rows if row.topic == "t1"
            )
    finally:
        left.close()


def test_a_trimmed_log_keeps_its_head_through_a_kill(tmp_path: Path) -> None:
    """Also when its newest events were the ones that went, and nothing was closed in order."""
    path = tmp_path / "log.db"
    store = SqliteEventStore(path)
    store.open()
    store.append([event(i) for i in range(1, 31)], START_US)
    store.trim("a", 30)
    left = _abandon(store, path, tmp_path / "copy.db")
    opened = left.open()
    left.close()
    assert opened.head == 30
    assert opened.epochs[-1].first_seq == 31


@pytest.mark.parametrize("cut", [1, 24, 1000, 4096 + 24, 9000])
def test_a_wal_cut_short_loses_whole_batches_from_its_end(tmp_path: Path, cut: int) -> None:
    """What is left is a state that once was; never half a batch."""
    path = tmp_path / "log.db"
    store = SqliteEventStore(path)
    store.open()
    for first in range(1, 101, 10):
        store.append([event(i, "a", "x" * 200) for i in range(first, first + 10)], START_US)
    copy = tmp_path / "copy.db"
    left = _abandon(store, path, copy)
    wal = copy.with_name("copy.db-wal")
    wal.write_bytes(wal.read_bytes()[:-cut])
    opened = left.open()
    try:
        assert opened.head % 10 == 0
        assert 70 <= opened.head < 100
        assert opened.topics["a"].count == opened.head
        with reading(left) as reader:
            assert [row.seq for row in reader.page(0, 200)] == list(range(1, opened.head + 1))
        left.append([event(opened.head + 1)], START_US)
    finally:
        left.close()


@pytest.mark.parametrize("share", [0.1, 0.35, 0.6, 0.9])
def test_a_damaged_wal_loses_whole_batches_from_there_on(tmp_path: Path, share: float) -> None:
    """Its checksums tell what can't be trusted; nothing after that is taken."""
    path = tmp_path / "log.db"
    store = SqliteEventStore(path)
    store.open()
    store.append([event(i, "a", "x" * 200) for i in range(1, 11)], START_US)
    store.tend(idle=True)
    for first in range(11, 101, 10):
        store.append([event(i, "a", "x" * 200) for i in range(first, first + 10)], START_US)
    copy = tmp_path / "copy.db"
    left = _abandon(store, path, copy)
    wal = copy.with_name("copy.db-wal")
    content = bytearray(wal.read_bytes())
    at = int(len(content) * share)
    content[at : at + 10] = b"\xff" * 10
    wal.write_bytes(content)
    opened = left.open()
    left.close()
    assert opened.head % 10 == 0
    assert 10 <= opened.head < 100
    health = examine(copy)
    assert (health.events, health.head, health.troubles) == (opened.head, opened.head, [])


# --- the whole log, with publishers and readers ---------------------------------------------


def test_a_log_killed_at_a_chosen_point_says_what_it_said(tmp_path: Path) -> None:
    """Acknowledged and shown events are there once, no seq is given twice, cursors go on."""
    counts = kill_rounds(tmp_path / "log.db", 3)
    assert counts["acknowledged"] > 0


@pytest.mark.long
@pytest.mark.timeout(300)
def test_many_kills_at_chosen_points(tmp_path: Path) -> None:
    counts = kill_rounds(tmp_path / "log.db", 20, seed=2)
    assert {f"killed_{name.replace('-', '_')}" for name in POINTS} <= counts.keys()
    assert counts["unanswered_but_stored"] > 0, "no kill came between commit and reply"


SWEEPER = """
import sys, itertools
from pathlib import Path
from antiphon.stores import SqliteEventStore
from antiphon.testing.store_contract import START_US, event

store = SqliteEventStore(Path(sys.argv[1]))
seq = store.open().head
for _ in itertools.count():
    new = [event(seq + i, f"t{(seq + i) % 3}", key=str(i % 5)) for i in range(1, 31)]
    store.append(new, START_US)
    seq += 30
    print(seq, flush=True)
    store.sweep({f"t{n}": seq - 100 for n in range(3)}, 25)
    store.compact("t1", 20)
    store.drop([seq - 7])
"""


def _kill_while_sweeping(path: Path, seed: int) -> int:
    chance = random.Random(seed)
    with subprocess.Popen(
        [sys.executable, "-c", SWEEPER, str(path)], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        last = [int(child.stdout.readline()) for _ in range(chance.randint(2, 60))][-1]
        child.kill()
    return last


def test_a_kill_while_events_are_removed_leaves_all_exact(tmp_path: Path) -> None:
    """Each step is there whole or not at all: rows, index, counts; and no seq comes again."""
    path = tmp_path / "log.db"
    for seed in range(4):
        acknowledged = _kill_while_sweeping(path, seed)
        store = SqliteEventStore(path)
        opened = store.open()
        try:
            assert opened.head >= acknowledged
            with reading(store) as reader:
                rows = reader.page(0, opened.head)
                for name, state in opened.topics.items():
                    mine = [row for row in rows if row.topic == name]
                    found = reader.select(Query(topics=frozenset({name}), limit=opened.head))
                    assert found == mine
                    assert state.count == len(mine)
                    assert state.size_bytes == sum(len(row.data) for row in mine)
                    assert state.first_seq == mine[0].seq > state.trimmed_upto
        finally:
            store.close()
