"""``examine`` finds what is wrong with a log, and nothing in one that is whole."""

from __future__ import annotations

import re
from pathlib import Path

import apsw
import pytest
from tests.stores.sqlite.damaged import DAMAGES, content, make

from antiphon.bus.store import StoreCorrupt
from antiphon.errors import StartError
from antiphon.stores import SqliteEventStore
from antiphon.stores.sqlite.health import examine
from antiphon.testing.store_contract import START_US, event


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def _run(path: Path, sql: str) -> None:
    db = apsw.Connection(str(path))
    db.execute(sql).fetchall()
    db.close()


@pytest.mark.parametrize("closed", [True, False])
def test_a_whole_log_has_no_troubles(path: Path, closed: bool) -> None:
    """Trimmed or not, closed in order or killed."""
    make(path, content(200), closed=closed)
    before = path.read_bytes()
    seen: list[tuple[int, int]] = []
    health = examine(path, progress=lambda done, total: seen.append((done, total)))
    assert (health.events, health.head, health.troubles) == (200, 200, [])
    assert seen[-1] == (200, 200)
    assert path.read_bytes() == before, "it looks only"


def test_it_looks_beside_a_writer(path: Path) -> None:
    store = SqliteEventStore(path)
    store.open()
    try:
        for at in range(1, 300, 10):
            store.append([event(i, f"t{i % 3}") for i in range(at, at + 10)], START_US)
            if at % 50 == 1:
                store.trim("t0", at)
            store.tend(idle=False)
            assert examine(path).troubles == []
    finally:
        store.close()


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_pages_are_found(path: Path, kind: str) -> None:
    make(path, content(300))
    DAMAGES[kind](path)
    try:
        troubles = examine(path).troubles
    except StoreCorrupt as error:
        troubles = [str(error)]
    assert troubles


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("DELETE FROM events WHERE seq = 20", "1 entries of the index have no event.* seq 20"),
        ("DELETE FROM by_topic WHERE seq IN (7, 8)", "2 events are missing in the index.* seq 7"),
        ("UPDATE topics SET count = 1 WHERE name = 't1'", "1 topics are counted wrongly"),
        ("UPDATE topics SET last_seq = 500 WHERE name = 't1'", "after the head, one of them is t1"),
        ("UPDATE events SET topic_id = 99 WHERE seq = 5", "1 events belong to no topic.* seq 5"),
        ("UPDATE events SET data = '{\"seq\":1}' WHERE seq = 5", "JSON that is not theirs.* seq 5"),
        ("UPDATE events SET data = 'x' WHERE seq = 5", "JSON that is not theirs.* seq 5"),
        ("INSERT INTO epochs (epoch, first_seq) VALUES ('e', 400)", "begin after the head"),
        (
            "INSERT INTO epochs (epoch, first_seq) VALUES ('e', 101), ('f', 50)",
            "epochs begin before earlier ones",
        ),
        ("INSERT INTO marks VALUES (1, 50), (2, 3)", "time marks are out of order"),
        ("DELETE FROM meta WHERE key = 'schema'", "schema version None"),
    ],
)
def test_tables_that_disagree_are_found(path: Path, sql: str, says: str) -> None:
    make(path, content(100, size=10))
    _run(path, sql)
    try:
        troubles = "\n".join(examine(path).troubles)
    except StartError as error:
        troubles = str(error)
    assert re.search(says, troubles), troubles


def test_another_programs_file_is_told_as_such(path: Path) -> None:
    _run(path, "CREATE TABLE notes (text)")
    with pytest.raises(StartError, match="another program's"):
        examine(path)
