"""A backup is one moment of the log, whole; and going back to it is never silent."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path

import pytest
from tests.stores.sqlite.damaged import content, make, overwrite
from tests.stores.sqlite.ledger import read_on

from antiphon.app import core
from antiphon.bus import Reset
from antiphon.bus.store import StoreCorrupt, StoreUnavailable
from antiphon.errors import AntiphonError
from antiphon.stores import SqliteEventStore
from antiphon.stores.sqlite.backup import back_up
from antiphon.stores.sqlite.health import examine
from antiphon.testing.store_contract import START_US, event, reading, stored


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder / "log.db"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "backup.db"


def test_a_backup_has_what_is_only_in_the_wal(path: Path, target: Path) -> None:
    """Beside an open log, whose file itself lacks the newest events."""
    rows = content(100)
    store = SqliteEventStore(path)
    store.open()
    store.append(rows[:50], START_US)
    store.tend(idle=True)
    store.append(rows[50:], START_US)
    seen: list[tuple[int, int]] = []
    done = back_up(path, target, progress=lambda at, total: seen.append((at, total)))
    store.close()
    assert done == (target, 100, target.stat().st_size)
    assert target.stat().st_mode & 0o777 == 0o600
    assert seen[-1][0] == seen[-1][1]
    assert [p.name for p in target.parent.iterdir() if p.is_file()] == ["backup.db"]
    assert examine(target).troubles == []
    copy = SqliteEventStore(target)
    assert copy.open().head == 100
    with reading(copy) as reader:
        assert reader.page(0, 1000) == stored(rows)
    copy.close()


def test_a_backup_is_one_moment_however_fast_the_log_grows(path: Path, target: Path) -> None:
    """It ends, and holds whole batches up to its head."""
    store = SqliteEventStore(path)
    store.open()
    store.append(content(1000), START_US)
    stop = threading.Event()

    def write() -> None:
        head = 1000
        while not stop.is_set():
            store.append([event(head + i, "t0", "x" * 500) for i in range(1, 11)], START_US)
            head += 10
            store.tend(idle=False)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        heads = [back_up(path, target, force=True).head for _ in range(5)]
    finally:
        stop.set()
        writer.join()
        store.close()
    assert heads == sorted(heads)
    health = examine(target)
    assert health.troubles == []
    assert health.head == health.events == heads[-1]
    assert heads[-1] % 10 == 0


def test_what_is_there_is_replaced_only_by_force(path: Path, target: Path) -> None:
    make(path, content(50))
    target.write_text("precious")
    with pytest.raises(AntiphonError, match="there already"):
        back_up(path, target)
    assert target.read_text() == "precious"
    back_up(path, target, force=True)
    assert examine(target).events == 50


@pytest.mark.parametrize("name", ["log.db", "log.db-wal"])
def test_the_log_itself_is_never_replaced(path: Path, name: str) -> None:
    make(path, content(50))
    with pytest.raises(AntiphonError, match="place of the log itself"):
        back_up(path, path.with_name(name), force=True)


def test_a_damaged_log_gives_no_backup(path: Path, target: Path) -> None:
    make(path, content(300))
    overwrite(path, 0.4, 0.5)
    with pytest.raises(StoreCorrupt, match="damaged as the log is") as caught:
        back_up(path, target)
    assert "\n" not in str(caught.value)
    assert not [p for p in target.parent.iterdir() if p.is_file()]


def test_without_room_nothing_is_left(
    path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(path, content(50))
    monkeypatch.setattr("antiphon.stores.sqlite.backup.free_bytes", lambda folder: 4096)
    with pytest.raises(StoreUnavailable, match=r"needs \d+ bytes .* 4096 are free"):
        back_up(path, target)
    assert not target.exists()


def test_missing_places_are_told(path: Path, target: Path) -> None:
    with pytest.raises(AntiphonError, match="no log to back up"):
        back_up(path, target)
    make(path, content(5))
    with pytest.raises(AntiphonError, match="no such folder"):
        back_up(path, target.parent / "none" / "b.db")
    with pytest.raises(AntiphonError, match="it is a folder"):
        back_up(path, target.parent, force=True)


async def test_after_going_back_cursors_go_on_or_are_reset_never_silently_past(
    path: Path, target: Path
) -> None:
    """Also after new events have taken the seqs that were lost."""
    cursors: dict[int, str] = {}

    async def publish(count: int) -> None:
        async with core(SqliteEventStore(path)) as running:
            for _ in range(count):
                seq = (await running.bus.publish_event("load.t", 1)).seq
                assert seq is not None
                cursors[seq] = running.bus.cursor(seq)

    await publish(20)
    back_up(path, target)
    await publish(20)  # an epoch that the backup doesn't know
    old = dict(cursors)
    shutil.copy(target, path)
    for suffix in ("-wal", "-shm"):
        path.with_name(f"log.db{suffix}").unlink(missing_ok=True)
    await publish(30)
    async with core(SqliteEventStore(path)) as running:
        for seq in (1, 19, 20):
            assert await read_on(running, old[seq]) == (list(range(seq + 1, 51)), [])
        for seq in (21, 30, 40):
            got, notices = await read_on(running, old[seq])
            assert [type(notice) for notice in notices] == [Reset]
            assert got == list(range(1, 51)), "from the beginning: the epoch is unknown"


async def test_a_cursor_of_the_epoch_in_the_backup_is_reset_to_where_they_part(
    path: Path, target: Path
) -> None:
    async with core(SqliteEventStore(path)) as running:
        for _ in range(10):
            await running.bus.publish_event("load.t", 1)
        await asyncio.to_thread(back_up, path, target)
        for _ in range(10):
            await running.bus.publish_event("load.t", 1)
        last = running.bus.cursor(20)
    shutil.copy(target, path)
    async with core(SqliteEventStore(path)) as running:
        for _ in range(15):
            await running.bus.publish_event("load.t", 2)
        got, (reset,) = await read_on(running, last)
        assert isinstance(reset, Reset)
        assert got == list(range(11, 26))
