"""From an older schema to this one: a copy first, then all of it or nothing."""

from __future__ import annotations

import logging
import random
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from tests.stores.sqlite.power import KINDS, Image, power_disk, restored

from antiphon.bus.store import Query
from antiphon.errors import StartError
from antiphon.stores import SqliteEventStore
from antiphon.stores.sqlite import schema
from antiphon.stores.sqlite.health import examine
from antiphon.stores.sqlite.schema import SCHEMA, connect_readonly, rows, value
from antiphon.testing.store_contract import START_US, event, reading, stored

# As the first release made it.
SCHEMA_1 = """
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE epochs (
    number INTEGER PRIMARY KEY, epoch TEXT NOT NULL UNIQUE, first_seq INTEGER NOT NULL
);
CREATE TABLE topics (
    topic_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    count INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    first_seq INTEGER NOT NULL DEFAULT 0,
    last_seq INTEGER NOT NULL DEFAULT 0,
    trimmed_upto INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    topic_id INTEGER NOT NULL,
    ts INTEGER NOT NULL,
    given_id TEXT,
    data TEXT NOT NULL
);
CREATE UNIQUE INDEX given ON events (topic_id, given_id) WHERE given_id IS NOT NULL;
CREATE TABLE by_topic (
    topic_id INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (topic_id, seq)
) WITHOUT ROWID;
CREATE TABLE marks (ts INTEGER PRIMARY KEY, seq INTEGER NOT NULL);
INSERT INTO meta VALUES
    ('schema', 1), ('head', 0), ('recorded', 0), ('indexed', 0), ('clean', 0), ('probe', 0);
INSERT INTO epochs (epoch, first_seq) VALUES ('0123456789ab', 1);
INSERT INTO topics (topic_id, name) VALUES (1, 'a'), (2, 'b');
PRAGMA application_id = 1097757808;
"""
ROWS = [event(i, "ab"[i % 2], {"n": i}, given=f"p\x1f{i}" if i % 3 else None) for i in range(1, 61)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log of schema 1 that was not closed: all of its events are in the WAL."""
    made = tmp_path / "made.db"
    db = apsw.Connection(str(made))
    db.execute(SCHEMA_1).fetchall()
    db.executemany(
        "INSERT INTO events VALUES (?, ?, ?, ?, CAST(? AS TEXT))",
        [(r.seq, 1 + "ab".index(r.topic), START_US + r.seq, r.given, r.data) for r in ROWS],
    )
    path = tmp_path / "log.db"
    for suffix in ("", "-wal"):
        shutil.copy(f"{made}{suffix}", f"{path}{suffix}")
    db.close()
    return path


def _check_same(path: Path) -> None:
    """Everything reads as it was written, and the log goes on."""
    store = SqliteEventStore(path)
    opened = store.open()
    try:
        assert opened.head == 60
        assert opened.epochs[0] == ("0123456789ab", 1)
        assert {name: state.count for name, state in opened.topics.items()} == {"a": 30, "b": 30}
        with reading(store) as reader:
            assert reader.page(0, 100) == stored(ROWS)
            found = reader.select(Query(topics=frozenset({"b"}), after=30))
            assert found == stored(r for r in ROWS if r.topic == "b" and r.seq > 30)
        assert store.find_given([("b", "p\x1f1")]).keys() == {("b", "p\x1f1")}
        store.append([event(61, "new")], START_US + 61)
    finally:
        store.close()
    assert examine(path).troubles == []


def test_an_older_log_is_copied_then_upgraded_and_reads_the_same(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The warning says from where to where, how large the copy is, and where it is."""
    with caplog.at_level(logging.WARNING):
        _check_same(path)
    copy = path.with_name("log.schema-1.db")
    (told,) = [r.getMessage() for r in caplog.records if "upgrading" in r.getMessage()]
    assert f"from schema 1 to {SCHEMA}" in told
    assert f"{copy.stat().st_size} bytes" in told
    assert str(copy) in told
    assert copy.stat().st_mode & 0o777 == 0o600
    assert examine(path).schema == SCHEMA


def test_the_copy_is_the_old_log_whole_and_can_be_upgraded_itself(path: Path) -> None:
    SqliteEventStore(path).open()
    copy = path.with_name("log.schema-1.db")
    db = apsw.Connection(str(copy))
    assert value(db, "SELECT value FROM meta WHERE key = 'schema'") == 1
    assert value(db, "SELECT count(*) FROM events") == 60
    db.close()
    _check_same(copy)


def test_without_room_for_the_copy_nothing_is_changed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        p.name: p.read_bytes() for p in path.parent.iterdir() if p.suffix in (".db", ".db-wal")
    }
    with monkeypatch.context() as patch:
        usage = namedtuple("usage", "total used free")
        patch.setattr("shutil.disk_usage", lambda folder: usage(10**6, 10**6 - 5000, 5000))
        with pytest.raises(StartError, match=r"needs \d{5} bytes in .*, and 5000 are free"):
            SqliteEventStore(path).open()
    assert {name: (path.parent / name).read_bytes() for name in files} == files
    _check_same(path)


KILLED_MIDWAY = """
import os, signal, sys
from pathlib import Path
import apsw
from antiphon.stores import SqliteEventStore

def trap(db):
    def traced(event):
        if event["sql"].startswith("CREATE TABLE subs"):
            os.kill(os.getpid(), signal.SIGKILL)
    db.trace_v2(apsw.SQLITE_TRACE_STMT, traced)

apsw.connection_hooks.append(trap)
SqliteEventStore(Path(sys.argv[1])).open()
"""


def test_a_kill_amid_an_upgrade_leaves_the_old_log(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED_MIDWAY, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    db = apsw.Connection(str(path))
    assert value(db, "SELECT value FROM meta WHERE key = 'schema'") == 1
    assert rows(db, "SELECT name FROM sqlite_schema WHERE name IN ('subs', 'by_key')") == []
    db.close()
    _check_same(path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_power_cut_amid_an_upgrade_leaves_the_old_log_or_the_new_one(
    path: Path, tmp_path: Path, kind: str
) -> None:
    """At every write and sync of it."""
    images: list[Image] = []
    chance = random.Random(kind)
    with power_disk() as disk:
        disk.on_change = lambda: images.append(disk.cut(kind, chance))
        store = SqliteEventStore(path)
        store.open()
        store.close()
    schemas = set()
    for number, image in enumerate(images):
        left = restored(tmp_path / str(number), image)
        with closing(connect_readonly(left)) as db:
            schemas.add(value(db, "SELECT value FROM meta WHERE key = 'schema'"))
        _check_same(left)
    assert schemas == {1, SCHEMA}


def test_an_error_amid_an_upgrade_leaves_the_old_log(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(schema.MIGRATIONS, 1, f"{schema.MIGRATIONS[1]} CREATE TABLE subs (x);")
        with pytest.raises(apsw.SQLError, match="already exists"):
            SqliteEventStore(path).open()
    _check_same(path)


def test_a_fresh_log_has_the_tables_of_an_upgraded_one(path: Path, tmp_path: Path) -> None:
    """By names and columns; only the order of a table's columns may differ."""
    tables: list[dict[str, set[str]]] = []
    for place in (path, tmp_path / "fresh.db"):
        store = SqliteEventStore(place)
        store.open()
        db = store._connection()
        names = [row[0] for row in rows(db, "SELECT name FROM sqlite_schema WHERE type = 'table'")]
        tables.append(
            {
                n: {c[0] for c in rows(db, "SELECT name FROM pragma_table_info(?)", (n,))}
                for n in names
            }
        )
        store.close()
    assert tables[0] == tables[1]
