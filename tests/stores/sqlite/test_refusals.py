"""Files and disks that the SQLite store can't use, and how it says so."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw
import pytest

from antiphon.bus.store import StoreCorrupt, StoreUnavailable
from antiphon.errors import StartError
from antiphon.stores import SqliteEventStore
from antiphon.stores.sqlite import places
from antiphon.testing.store_contract import START_US, event, reading, stored

from .conftest import SmallDisk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteEventStore]:
    store = SqliteEventStore(path)
    yield store
    store.close()


def _run(path: Path, sql: str) -> None:
    db = apsw.Connection(str(path))
    db.execute(sql).fetchall()
    db.close()


# --- files --------------------------------------------------------------------------------


def test_a_newer_schema_is_refused_by_its_version(store: SqliteEventStore, path: Path) -> None:
    store.open()
    store.append([event(1)], START_US)
    store.close()
    _run(path, "UPDATE meta SET value = 7 WHERE key = 'schema'")
    with pytest.raises(StartError, match=r"log\.db: it has schema version 7.* knows 2"):
        store.open()
    _run(path, "UPDATE meta SET value = 2 WHERE key = 'schema'")
    assert store.open().head == 1


def test_another_programs_database_is_refused_untouched(
    store: SqliteEventStore, path: Path
) -> None:
    _run(path, "CREATE TABLE notes (text)")
    before = path.read_bytes()
    with pytest.raises(StartError, match="another program's database"):
        store.open()
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_untouched(
    store: SqliteEventStore, path: Path
) -> None:
    path.write_bytes(b"not a database, but long enough to be read as one\n" * 100)
    before = path.read_bytes()
    with pytest.raises(StoreCorrupt, match="not a database"):
        store.open()
    assert path.read_bytes() == before


def _damage(path: Path, start: float, stop: float) -> None:
    """Overwrite the pages between two shares of the file."""
    pages = path.stat().st_size // 4096
    first, last = int(pages * start), int(pages * stop)
    with path.open("r+b") as file:
        file.seek(first * 4096)
        file.write(b"\xff" * (last - first) * 4096)


def _read_to_the_damage(store: SqliteEventStore) -> None:
    """The first events can be read; the whole can't, and that is said."""
    with reading(store) as reader:
        assert [row.seq for row in reader.page(0, 10)] == list(range(1, 11))
        with pytest.raises(StoreCorrupt, match="malformed"):
            reader.page(0, 500)


def test_damage_at_the_end_is_told_at_once(store: SqliteEventStore, path: Path) -> None:
    """Without the newest events there is no knowing the head, so nothing is written."""
    store.open()
    store.append([event(i, "a", "x" * 2000) for i in range(1, 201)], START_US)
    store.close()
    _damage(path, 0.7, 1.0)
    with pytest.raises(StoreCorrupt, match="malformed"):
        store.open()
    _read_to_the_damage(store)


def test_damage_amid_old_events_is_told_by_whoever_reads_there(
    store: SqliteEventStore, path: Path
) -> None:
    store.open()
    store.append([event(i, "a", "x" * 2000) for i in range(1, 201)], START_US)
    store.close()
    _damage(path, 0.4, 0.5)
    assert store.open().head == 200
    _read_to_the_damage(store)
    with reading(store) as reader:
        assert reader.page(190, 10)[-1].seq == 200


def test_a_missing_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="no such folder") as caught:
        SqliteEventStore(tmp_path / "none" / "log.db").open()
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_written_is_refused_in_one_line(small_disk: SmallDisk) -> None:
    small_disk.forbid_writing()
    with pytest.raises(StartError, match="cannot write the log") as caught:
        SqliteEventStore(small_disk.folder / "log.db").open()
    assert "\n" not in str(caught.value)


def test_a_log_that_cannot_be_written_is_refused_in_one_line(small_disk: SmallDisk) -> None:
    store = SqliteEventStore(small_disk.folder / "log.db")
    store.open()
    store.append([event(1)], START_US)
    store.close()
    small_disk.forbid_writing()
    with pytest.raises(StartError, match="cannot write the log"):
        store.open()


def test_network_file_systems_are_refused(
    store: SqliteEventStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "file_system", lambda folder: "nfs4")
    with pytest.raises(StartError, match="network file system"):
        store.open()
    assert not path.exists()


def test_the_local_file_system_is_known(tmp_path: Path) -> None:
    kind = places.file_system(tmp_path)
    assert kind
    assert kind not in places.NETWORK


def test_a_log_that_was_removed_is_not_written_on(store: SqliteEventStore, path: Path) -> None:
    """What goes to a file without a name would be acknowledged and lost."""
    store.open()
    store.append([event(1)], START_US)
    path.rename(path.with_name("elsewhere.db"))
    with pytest.raises(StoreCorrupt, match="removed or replaced"):
        store.tend(idle=True)


@pytest.mark.parametrize("replaced", [True, False])
def test_a_log_that_was_removed_is_not_begun_anew(
    store: SqliteEventStore, path: Path, replaced: bool
) -> None:
    """A new file in its place would give seqs again that were given."""
    store.open()
    store.append([event(1)], START_US)
    path.rename(path.with_name("elsewhere.db"))
    if replaced:
        path.write_bytes(b"")
    with pytest.raises(StoreCorrupt, match="removed or replaced"):
        store.reopen()
    assert path.exists() == replaced


def test_a_full_disk_at_the_start_is_told_and_is_no_crash(small_disk: SmallDisk) -> None:
    if not small_disk.mounted:
        pytest.skip("needs a disk of its own")
    ballast = small_disk.folder / "ballast"
    with suppress(OSError), ballast.open("wb") as file:
        while True:
            file.write(b"x" * 4096)
            file.flush()
    store = SqliteEventStore(small_disk.folder / "log.db")
    with pytest.raises((StoreUnavailable, StartError), match=r"log\.db.*(full|disk)") as caught:
        store.open()
    assert "\n" not in str(caught.value)
    ballast.unlink()
    assert store.open().head == 0
    store.close()


# --- disks --------------------------------------------------------------------------------


def _fill(store: SqliteEventStore, topic: str) -> int:
    """Append until the disk refuses; the last seq that was stored."""
    head = store.head()
    try:
        while head < 10_000:
            batch = [event(head + i, topic, "x" * 4000) for i in range(1, 11)]
            store.append(batch, START_US)
            head += 10
    except StoreUnavailable as error:
        if error.unknown:
            raise
        return head
    raise AssertionError("the disk never refused")


def _check_refused(store: SqliteEventStore, head: int) -> None:
    """Nothing of the refused batch is there; reading goes on."""
    assert store.head() == head
    with reading(store) as reader:
        assert [row.seq for row in reader.page(0, 10_000)] == list(range(1, head + 1))


def test_a_full_disk_refuses_the_batch_and_recovers(small_disk: SmallDisk) -> None:
    """On a real small disk where the test may mount one, else with a limit of pages."""
    ballast = small_disk.folder / "ballast"
    ballast.write_bytes(b"x" * 1_000_000)
    store = SqliteEventStore(small_disk.folder / "log.db")
    store.open()
    if not small_disk.mounted:
        _limit_pages(store, 600)
    head = _fill(store, "a")
    assert head > 0
    _check_refused(store, head)
    with pytest.raises(StoreUnavailable):
        store.append([event(head + 1, "new", "x" * 3_000_000)], START_US)
    _check_refused(store, head)
    with suppress(StoreUnavailable):  # a probe, as the writer makes them
        store.reopen()
        store.append([], START_US)
    ballast.unlink()
    store.reopen()
    store.append([event(head + 1, "new")], START_US)
    store.append([], START_US)
    store.close()
    opened = store.open()
    assert opened.head == head + 1
    assert opened.topics["a"].count == head
    store.close()


def _limit_pages(store: SqliteEventStore, pages: int) -> None:
    assert store._db is not None
    store._db.execute(f"PRAGMA max_page_count = {pages}").fetchall()


def test_a_file_at_its_limit_of_pages_refuses_the_batch(store: SqliteEventStore) -> None:
    store.open()
    _limit_pages(store, 300)
    head = _fill(store, "a")
    _check_refused(store, head)
    store.reopen()  # which forgets the limit
    store.append([event(head + 1)], START_US)


def test_a_write_error_refuses_the_batch_and_recovers(store: SqliteEventStore, path: Path) -> None:
    """A real EFBIG, by a limit on the size of files."""
    store.open()
    store.append([event(1)], START_US)
    wal = path.with_name("log.db-wal")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (wal.stat().st_size + 10_000, hard))
        with pytest.raises(StoreUnavailable) as caught:
            store.append([event(2, "b", "x" * 100_000)], START_US)
        assert not caught.value.unknown
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    _check_refused(store, 1)
    store.append([event(2, "b")], START_US)
    _check_refused(store, 2)


def test_a_locked_file_refuses_the_batch(store: SqliteEventStore, path: Path) -> None:
    """Somebody else writes for longer than the store waits."""
    store.open()
    assert store._db is not None
    store._db.set_busy_timeout(10)
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    try:
        for topic in ("a", "b"):
            with pytest.raises(StoreUnavailable, match="locked") as caught:
                store.append([event(1, topic)], START_US)
            assert not caught.value.unknown
    finally:
        other.close(True)
    store.append([event(1)], START_US)
    _check_refused(store, 1)


class _Failing:
    """A connection whose next batch fails as told, after or before it was stored."""

    def __init__(self, db: apsw.Connection, *, stored: bool) -> None:
        self._db = db
        self._stored = stored

    def execute(self, sql: str, bindings: Any = None) -> Any:
        if "INSERT INTO events" not in sql:
            return self._db.execute(sql, bindings)
        if self._stored:
            self._db.execute(sql, bindings)
        raise apsw.IOError("IOError: disk I/O error")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)


def _fail_next(store: SqliteEventStore, *, stored: bool) -> None:
    assert store._db is not None
    store._db = _Failing(store._db, stored=stored)  # type: ignore[assignment]


@pytest.mark.parametrize("kept", [True, False])
def test_after_an_io_error_the_disk_is_asked_what_became_of_the_batch(
    store: SqliteEventStore, kept: bool
) -> None:
    store.open()
    store.append([event(1)], START_US)
    _fail_next(store, stored=kept)
    if kept:
        store.append([event(2)], START_US)
    else:
        with pytest.raises(StoreUnavailable) as caught:
            store.append([event(2)], START_US)
        assert not caught.value.unknown
    _check_refused(store, 1 + kept)
    store.append([event(2 + kept, "new")], START_US)


def test_the_outcome_is_unknown_only_while_the_disk_can_not_be_asked(
    store: SqliteEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then ``reopen`` and ``head`` tell, as soon as it can."""
    store.open()
    store.append([event(1)], START_US)
    _fail_next(store, stored=True)

    def gone() -> None:
        store._disconnect()
        raise StoreUnavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr(store, "reopen", gone)
        with pytest.raises(StoreUnavailable, match="outcome unknown") as caught:
            store.append([event(2)], START_US)
    assert caught.value.unknown
    with pytest.raises(StoreUnavailable):
        store.head()
    store.reopen()
    assert store.head() == 2
    store.append([event(3)], START_US)
    with reading(store) as reader:
        assert reader.page(0, 10) == stored([event(1), event(2), event(3)])
