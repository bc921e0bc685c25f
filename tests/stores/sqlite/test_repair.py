"""A damaged log is made whole: what can be read is saved, what is lost is never silent."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw
import pytest
from tests.bus.conftest import until
from tests.stores.sqlite.damaged import DAMAGES, PAGE, content, make, overwrite
from tests.stores.sqlite.ledger import read_on

from antiphon.app import core
from antiphon.bus import STORE, Gap, Reset
from antiphon.bus.store import Row, StoreCorrupt, StoreUnavailable
from antiphon.errors import AntiphonError, StartError, StorageUnavailable
from antiphon.stores import SqliteEventStore
from antiphon.stores.sqlite import damage
from antiphon.stores.sqlite.health import examine
from antiphon.stores.sqlite.repair import ROOM, Repaired, repair
from antiphon.stores.sqlite.schema import SCHEMA
from antiphon.testing.store_contract import START_US, event, reading, stored


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def _readable(path: Path, rows: list[Row]) -> set[int]:
    """The seqs whose whole JSON still stands in the files, in one piece."""
    wal = path.with_name("log.db-wal")
    files = path.read_bytes() + (wal.read_bytes() if wal.exists() else b"")
    return {row.seq for row in rows if row.data in files}


def _check(path: Path, rows: list[Row], least: set[int], done: Repaired) -> set[int]:
    """The new log is whole, holds at least *least* as they were, and says what it lacks."""
    assert examine(path).troubles == []
    store = SqliteEventStore(path)
    opened = store.open()
    try:
        with reading(store) as reader:
            found = reader.page(0, len(rows) + 10)
        saved = {row.seq for row in found}
        assert found == stored(row for row in rows if row.seq in saved)
        assert least <= saved
        assert done.saved == len(saved)
        missing = {row.seq for row in rows if row.seq <= done.head} - saved
        assert missing <= {seq for low, high in done.lost for seq in range(low, high + 1)}
        assert opened.head >= done.head
        store.append([event(opened.head + 1)], START_US + opened.head + 1)
    finally:
        store.close()
    return saved


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "killed"])
@pytest.mark.parametrize("kind", DAMAGES)
def test_every_event_that_can_be_read_is_saved(path: Path, kind: str, closed: bool) -> None:
    """Whichever pages are damaged, those of the tree's inside and the header included."""
    rows = make(path, content(400), closed=closed)
    DAMAGES[kind](path)
    readable = _readable(path, rows)
    done = repair(path)
    saved = _check(path, rows, readable, done)
    assert len(saved) >= 200
    assert done.kept.exists()
    assert not closed or done.head == 400


@pytest.mark.parametrize("kind", ["header", "cut short"])
def test_what_the_other_tables_say_outlives_a_lost_header_and_a_lost_end(
    path: Path, kind: str
) -> None:
    """Head, epochs and durable subscriptions, though SQLite itself reads nothing of the file."""
    store = SqliteEventStore(path)
    epoch = store.open().epochs[-1]
    store.save_subs({"mail": b'{"position":7}'})
    store.append([event(1, "gone")], START_US)
    store.sweep({"gone": 1})
    store.drop_topics(["gone"])
    store.append(content(400)[1:], START_US)
    store.close()
    DAMAGES[kind](path)
    done = repair(path)
    opened = store.open()
    store.close()
    assert done.head == opened.head == 400
    assert epoch in opened.epochs
    assert opened.subs == {"mail": b'{"position":7}'}
    assert opened.gone_upto == 1


def test_events_over_several_pages_are_saved(path: Path) -> None:
    rows = make(path, content(60, size=20_000))
    overwrite(path, 0.5, 0.55)
    done = repair(path)
    assert len(_check(path, rows, set(), done)) >= 50


def test_what_was_trimmed_stays_away(path: Path) -> None:
    """Old pages may still hold it; the index knows better."""
    rows = content(300)
    store = SqliteEventStore(path)
    store.open()
    store.append(rows, START_US)
    store.trim("t1", 200)
    store.close()
    overwrite(path, 0.9, 0.92)
    repair(path)
    store = SqliteEventStore(path)
    opened = store.open()
    with reading(store) as reader:
        kept = reader.page(0, 1000)
    store.close()
    assert not [row for row in kept if row.topic == "t1" and row.seq <= 200]
    assert opened.topics["t1"].trimmed_upto >= 199


async def _cursors(path: Path) -> dict[int, str]:
    """Publish, and hand out a cursor for each event."""
    async with core(SqliteEventStore(path)) as running:
        for number in range(120):
            await running.bus.publish_event(f"load.t{number % 2}", "x" * 1500)
        return {seq: running.bus.cursor(seq) for seq in range(1, 121)}


@pytest.mark.parametrize("share", [(0.4, 0.5), (0.8, 0.95)])
async def test_cursors_before_a_loss_hear_a_gap_and_those_after_it_go_on(
    path: Path, share: tuple[float, float]
) -> None:
    cursors = await _cursors(path)
    overwrite(path, *share)
    done = repair(path)
    ((low, high),) = done.lost
    async with core(SqliteEventStore(path)) as running:
        for seq in (1, low - 1, high, 119):
            got, notices = await read_on(running, cursors[seq])
            kept = [s for s in range(seq + 1, 121) if not low <= s <= high]
            assert got == kept
            assert [type(n) for n in notices] == ([Gap] if seq < high else [])


async def test_a_cursor_past_what_is_known_after_a_kill_is_reset(
    path: Path, tmp_path: Path
) -> None:
    """And the seqs that may have been given beyond are not given again."""
    rows = make(path, content(400), closed=False)
    path.with_name("log.db-wal").unlink()
    made = SqliteEventStore(path).open()  # what is in the file alone
    last = f"{made.epochs[0].name}.{rows[-1].seq}"
    overwrite(path, 0.5, 0.55)
    done = repair(path)
    assert done.head < 400
    async with core(SqliteEventStore(path)) as running:
        _, notices = await read_on(running, last)
        assert [type(notice) for notice in notices[:1]] == [Reset]
        published = await running.bus.publish_event("load.t", 1)
        assert published.seq is not None
        assert published.seq > done.head + ROOM


def test_a_second_repair_keeps_what_the_first_one_saved(path: Path) -> None:
    rows = make(path, content(300))
    overwrite(path, 0.4, 0.45)
    first = repair(path)
    again = repair(path)
    assert again.saved == first.saved
    _check(path, rows, set(), again._replace(lost=[*first.lost, *again.lost]))


def test_the_damaged_log_is_kept_as_it_was(path: Path) -> None:
    make(path, content(300), closed=False)
    overwrite(path, 0.4, 0.45)
    before = [path.read_bytes(), path.with_name("log.db-wal").read_bytes()]
    kept = repair(path).kept
    assert [kept.read_bytes(), kept.with_name(f"{kept.name}-wal").read_bytes()] == before


def test_a_repair_that_was_broken_off_is_taken_up_by_the_next_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its worst moment: the WAL was put aside, the new file is not in its place yet."""
    rows = make(path, content(400), closed=False)
    overwrite(path, 0.4, 0.5)
    readable = _readable(path, rows)

    def killed(new: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            repair(path)
    assert not path.with_name("log.db-wal").exists()
    store = SqliteEventStore(path)
    with pytest.raises(StoreCorrupt, match="doctor --repair"):
        store.open()
    _check(path, rows, readable, repair(path))


def test_a_noted_damage_keeps_the_log_closed_until_it_was_looked_at(path: Path) -> None:
    """A file that opens all the same is not written to."""
    make(path, content(300))
    overwrite(path, 0.4, 0.45)
    store = SqliteEventStore(path)
    store.open()
    with reading(store) as reader, pytest.raises(StoreCorrupt):
        reader.page(0, 1000)
    store.close()
    with pytest.raises(StoreCorrupt, match="antiphon doctor"):
        store.open()
    repair(path)
    assert damage.noted(path) is None
    store.open()
    store.close()


async def test_damage_met_by_a_reader_refuses_writes_and_reading_goes_on(path: Path) -> None:
    """Also after the store's actor was restarted, and after a restart of all, until a repair."""
    await _cursors(path)
    overwrite(path, 0.4, 0.5)
    async with core(SqliteEventStore(path)) as running:
        with pytest.raises(StoreCorrupt):
            await running.log.pages.run(lambda reader: reader.page(0, 500))
        subscription = running.bus.open_subscription(["load.*"], start="earliest", on_ready=int)
        assert subscription.take() is None
        await until(lambda: running.bus.status.state == "corrupt")
        actor = running.system.ref(STORE)
        actor.kill()
        await actor.wait_generation()
        with pytest.raises(StorageUnavailable, match="malformed"):
            await running.bus.publish_event("load.t1", 1)
        assert len((await running.bus.query(["load.t1"], order="desc", limit=10)).data) == 10
        subscription.close()
    with pytest.raises(StartError, match="antiphon doctor"):
        async with core(SqliteEventStore(path)):
            pass
    repair(path)
    async with core(SqliteEventStore(path)) as running:
        await running.bus.publish_event("load.t1", 1)


async def test_damage_met_by_a_query_refuses_writes_too(path: Path) -> None:
    make(path, content(300))
    overwrite(path, 0.4, 0.5)
    async with core(SqliteEventStore(path)) as running:
        with pytest.raises(StoreCorrupt):
            await running.bus.query(limit=300)
        assert running.bus.status.state == "corrupt"
        with pytest.raises(StorageUnavailable, match="malformed"):
            await running.bus.publish_event("load.t1", 1)


async def test_a_log_that_cannot_be_opened_says_what_to_do(path: Path) -> None:
    make(path, content(300))
    DAMAGES["end"](path)
    with pytest.raises(StartError, match=r"^cannot open the log .*log\.db: .*malformed.* doctor$"):
        async with core(SqliteEventStore(path)):
            pass


def test_without_room_the_log_is_untouched(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(path, content(100))
    overwrite(path, 0.4, 0.45)
    before = path.read_bytes()
    monkeypatch.setattr("antiphon.stores.sqlite.repair.free_bytes", lambda folder: PAGE)
    with pytest.raises(StoreUnavailable, match=r"needs \d+ bytes .* 4096 are free"):
        repair(path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["log.db"]


@pytest.mark.parametrize(("kind", "times"), [("middle", 1), ("header", 2)])
def test_room_is_asked_for_a_copy_only_if_one_is_made(
    path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, times: int
) -> None:
    make(path, content(100))
    DAMAGES[kind](path)
    size = path.stat().st_size
    monkeypatch.setattr("antiphon.stores.sqlite.repair.free_bytes", lambda folder: times * size - 1)
    with pytest.raises(StoreUnavailable, match=f"needs {times * size} bytes"):
        repair(path)
    monkeypatch.setattr("antiphon.stores.sqlite.repair.free_bytes", lambda folder: times * size)
    assert repair(path).saved > 80


def test_an_older_schema_is_repaired_into_this_one(path: Path) -> None:
    """What its tables say is kept, with its header or without."""
    for kind in ("middle", "header"):
        store = SqliteEventStore(path)
        epoch = store.open().epochs[0]
        store.append(content(200), START_US)
        store.close()
        with closing(apsw.Connection(str(path))) as db:
            db.execute(
                "DROP TABLE by_key; DROP TABLE subs;"
                "ALTER TABLE topics DROP COLUMN compacted_upto;"
                "UPDATE meta SET value = 1 WHERE key = 'schema';"
            ).fetchall()
        DAMAGES[kind](path)
        repair(path)
        assert examine(path).troubles == []
        assert examine(path).schema == SCHEMA
        opened = store.open()
        store.close()
        assert opened.epochs[0] == epoch
        assert opened.head == 200
        path.unlink()


def test_no_log_is_told(path: Path) -> None:
    with pytest.raises(AntiphonError, match="no log to repair"):
        repair(path)
