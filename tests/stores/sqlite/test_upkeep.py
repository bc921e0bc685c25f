"""The writer's upkeep: settings of the file, deferred index, marks, checkpoints, trimming."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from antiphon.bus.store import Query, StoreUnavailable
from antiphon.stores import SqliteEventStore
from antiphon.stores.sqlite.schema import WAL_LIMIT, rows, value
from antiphon.testing.store_contract import START_US, event, reading


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[SqliteEventStore]:
    store = SqliteEventStore(tmp_path / "log.db", monotonic=clock)
    store.open()
    yield store
    store.close()


def _ask(store: SqliteEventStore, sql: str) -> object:
    return value(store._connection(), sql)


def test_commits_are_durable_and_the_wal_is_bounded(store: SqliteEventStore) -> None:
    """Both after ``open`` and after ``reopen``."""
    for _ in range(2):
        assert _ask(store, "PRAGMA journal_mode") == "wal"
        assert _ask(store, "PRAGMA synchronous") == 2
        assert _ask(store, "PRAGMA fullfsync") == 1
        assert _ask(store, "PRAGMA checkpoint_fullfsync") == 1
        assert _ask(store, "PRAGMA auto_vacuum") == 2
        assert _ask(store, "PRAGMA journal_size_limit") == WAL_LIMIT
        assert _ask(store, "PRAGMA temp_store") == 2
        store.reopen()


def test_the_files_are_for_their_owner_alone(store: SqliteEventStore, tmp_path: Path) -> None:
    """Whatever the mode of the folder."""
    store.append([event(1, "a")], START_US)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"log.db": 0o600, "log.db-wal": 0o600, "log.db-shm": 0o600}


def test_a_batch_is_one_statement(store: SqliteEventStore) -> None:
    """Each statement is a chance to lose the GIL to a busy loop for 5 ms."""
    store.append([event(1, "a"), event(2, "b")], START_US)
    seen: list[str] = []
    store._connection().trace_v2(
        1,
        lambda trace: seen.append(trace["sql"]),  # SQLITE_TRACE_STMT
    )
    store.append([event(i, "ab"[i % 2], given=f"id{i}") for i in range(3, 1003)], START_US)
    assert len([sql for sql in seen if not sql.startswith("--")]) == 1


def test_the_index_is_filled_about_five_times_a_second(
    store: SqliteEventStore, clock: Clock
) -> None:
    """Not at each batch; what it doesn't reach yet is read by seq."""
    store.tend(idle=False)
    for seq in range(1, 11):
        clock.now += 0.0625
        store.append([event(seq)], START_US)
        store.tend(idle=False)
        with reading(store) as reader:
            for descending in (False, True):
                found = reader.select(Query(topics=frozenset({"a"}), descending=descending))
                assert sorted(row.seq for row in found) == list(range(1, seq + 1))
    assert _ask(store, "SELECT count(*) FROM by_topic") == 8
    store.tend(idle=True)
    assert _ask(store, "SELECT count(*) FROM by_topic") == 10


def test_an_index_that_fell_behind_catches_up_at_every_batch(
    store: SqliteEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antiphon.stores.sqlite.store.INDEX_ROWS", 20)
    store.append([event(i) for i in range(1, 51)], START_US)
    for indexed in (20, 40, 50, 50):
        store.tend(idle=False)
        assert _ask(store, "SELECT count(*) FROM by_topic") == indexed


def test_marks_are_a_second_apart(store: SqliteEventStore, clock: Clock) -> None:
    for seq in range(1, 41):
        store.append([event(seq)], START_US + seq * 250_000)
        clock.now += 0.25
        store.tend(idle=False)
    marks = rows(store._connection(), "SELECT ts, seq FROM marks ORDER BY ts")
    assert [seq for _, seq in marks] == list(range(1, 41, 4))
    assert all(ts == START_US + seq * 250_000 for ts, seq in marks)


def test_the_wal_is_emptied_at_rest(store: SqliteEventStore) -> None:
    store.append([event(i, "a", "x" * 1000) for i in range(1, 101)], START_US)
    assert store._wal_bytes() > 0
    store.tend(idle=True)
    assert store._wal_bytes() == 0


def test_the_wal_stays_small_under_load(store: SqliteEventStore, clock: Clock) -> None:
    """40 MB in batches, with a reader that comes and goes."""
    peak = 0
    for batch in range(80):
        first = batch * 50 + 1
        store.append([event(i, "a", "x" * 10_000) for i in range(first, first + 50)], START_US)
        clock.now += 0.1
        store.tend(idle=False)
        if batch % 10 == 0:
            with reading(store) as reader:
                reader.page(first - 1, 50)
        peak = max(peak, store._wal_bytes())
    assert peak < 16 * 1024 * 1024


def test_a_reader_in_the_way_only_puts_the_checkpoint_off(
    store: SqliteEventStore, clock: Clock
) -> None:
    store.append([event(1)], START_US)
    with reading(store) as reader:
        reader._db.execute("BEGIN")  # type: ignore[attr-defined]
        reader.page(0, 1)
        store.append([event(2)], START_US)
        store.tend(idle=True)
        assert store._wal_bytes() > 0
        store.append([event(3)], START_US)
        reader._db.execute("COMMIT")  # type: ignore[attr-defined]
    clock.now += 10
    store.tend(idle=True)
    assert store._wal_bytes() == 0


def test_trimming_gives_the_space_back_step_by_step(store: SqliteEventStore) -> None:
    store.append([event(i, "a", "x" * 4000) for i in range(1, 1001)], START_US)
    store.tend(idle=True)
    before = store.size_bytes()
    assert store.trim("a", 900) == 900
    for _ in range(20):
        store.tend(idle=True)
    store._truncate_wal()
    assert store.size_bytes() < before / 4


def test_the_trimmed_mark_is_kept_with_the_topic(store: SqliteEventStore) -> None:
    """Without ``close``: it is in the trim's own transaction."""
    store.append([event(i) for i in range(1, 11)], START_US)
    store.trim("a", 7)
    found = rows(
        store._connection(),
        "SELECT count, first_seq, last_seq, trimmed_upto FROM topics WHERE name = 'a'",
    )
    assert found == [(3, 8, 10, 7)]


def test_marks_go_with_the_events_they_led_to(store: SqliteEventStore, clock: Clock) -> None:
    for seq in range(1, 6):
        store.append([event(seq)], START_US + seq * 2_000_000)
        clock.now += 1
        store.tend(idle=False)
    store.trim("a", 3)
    found = rows(store._connection(), "SELECT seq FROM marks ORDER BY seq")
    assert found == [(3,), (4,), (5,)], "of those that went, the last of the day stays"
    with reading(store) as reader:
        assert [r.seq for r in reader.select(Query(since_us=START_US + 10_000_000))] == [5]
        assert [r.seq for r in reader.select(Query(until_us=START_US + 8_000_000))] == [4]


def test_many_topics_are_read_by_scanning_seqs(
    store: SqliteEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All three ways to read topics give the same."""
    store.append([event(i, f"t{i % 50}") for i in range(1, 2001)], START_US)
    store.tend(idle=True)
    names = frozenset(f"t{i}" for i in range(40))
    for few_topics, few_events in ((32, 20_000), (32, 10), (100, 0)):
        monkeypatch.setattr("antiphon.stores.sqlite.reader.FEW_TOPICS", few_topics)
        monkeypatch.setattr("antiphon.stores.sqlite.reader.FEW_EVENTS", few_events)
        monkeypatch.setattr("antiphon.stores.sqlite.reader.RANGE", 70)
        for descending in (False, True):
            query = Query(topics=names, after=100, before=1500, limit=500, descending=descending)
            with reading(store) as reader:
                found = [row.seq for row in reader.select(query)]
            expected = [i for i in range(101, 1500) if i % 50 < 40]
            assert found == (expected[::-1] if descending else expected)[:500]


def test_a_reader_holds_nothing_open_between_pages(store: SqliteEventStore) -> None:
    """Else the WAL could not be emptied, and a page would be old."""
    store.open()
    store.append([event(i, f"t{i % 40}") for i in range(1, 2001)], START_US)
    with reading(store) as reader:
        assert len(reader.page(0, 500)) == 500
        assert len(reader.get(range(100))) == 99
        assert len(reader.select(Query(topics=frozenset({"t1", "t2"}), limit=10))) == 10
        assert len(reader.select(Query(type="t", descending=True, limit=10))) == 10
        assert store._db is not None
        busy, left, _ = store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0]
        assert (busy, left) == (0, 0)


def test_a_bounded_log_stays_as_large_under_load(store: SqliteEventStore, clock: Clock) -> None:
    """Freed pages are used again, at once; nothing waits for rest."""
    seq, sizes = 0, []
    for batch in range(90):
        store.append([event(seq + i, "a", "x" * 1000) for i in range(1, 101)], START_US + batch)
        seq += 100
        clock.now += 0.1
        store.tend(idle=False)
        store.sweep({"a": seq - 1000}, 1000)
        sizes.append(store.path.stat().st_size)
    assert max(sizes[30:]) <= 1.1 * sizes[29]


def test_a_sweep_is_one_transaction(store: SqliteEventStore) -> None:
    """Cut off anywhere inside, all of it is undone: rows, index, counts, keys and marks."""
    store.append([event(i, "ab"[i % 2], key="xyz"[i % 3]) for i in range(1, 101)], START_US)
    while store.compact("a").events:
        pass
    store.tend(idle=True)
    tables = ("events", "by_topic", "topics", "by_key", "marks", "meta")

    def everything() -> list[list[object]]:
        return [rows(store._connection(), f"SELECT * FROM {table}") for table in tables]

    before = everything()
    for fail_at in range(1, 12):
        writes = itertools.count(1)

        def cut_off(cursor: object, sql: str, bindings: object) -> bool:
            if sql.lstrip()[:6] in ("DELETE", "UPDATE") and next(writes) == fail_at:  # noqa: B023
                raise apsw.IOError("cut off")
            return True

        store._connection().exec_trace = cut_off
        try:
            store.sweep({"a": 90, "b": 90}, 50)
        except StoreUnavailable:
            store._connection().exec_trace = None
            assert everything() == before
        else:
            store._connection().exec_trace = None
            break
    assert fail_at > 5, "so many statements a sweep has"
    assert everything() != before


def test_trimming_everything_leaves_the_head_on_disk(store: SqliteEventStore) -> None:
    """Without ``close``: the trim's own transaction keeps what it can't be read from any more."""
    store.append([event(i) for i in range(1, 4)], START_US)
    assert store.trim("a", 3) == 3
    store.reopen()
    assert store.head() == 3


def test_dropped_events_leave_no_mark_of_a_trim(store: SqliteEventStore) -> None:
    store.append([event(i) for i in range(1, 4)], START_US)
    store.drop([1, 3])
    found = rows(store._connection(), "SELECT count, first_seq, last_seq, trimmed_upto FROM topics")
    assert found == [(1, 2, 2, 0)]


def test_the_id_of_a_dropped_topic_is_never_given_again(store: SqliteEventStore) -> None:
    """Not even after ``reopen``: readers keep the names of ids."""
    store.append([event(1, "a"), event(2, "b")], START_US)
    store.sweep({"b": 2})
    with reading(store) as reader:
        store.drop_topics(["b"])
        store.reopen()
        store.append([event(3, "c")], START_US)
        store.append([event(4, "b")], START_US)
        assert rows(store._connection(), "SELECT topic_id, name FROM topics ORDER BY 1") == [
            (1, "a"),
            (3, "c"),
            (4, "b"),
        ]
        assert [row.topic for row in reader.page(2, 10)] == ["c", "b"]
