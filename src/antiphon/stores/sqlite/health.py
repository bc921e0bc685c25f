"""Whether a log's file is whole: SQLite's own check, and what its tables say of each other.

Reads only, in one snapshot, so it may run beside a server; the server's WAL grows
meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import apsw

from antiphon.stores.sqlite.copying import Progress
from antiphon.stores.sqlite.failures import DAMAGE, meanings
from antiphon.stores.sqlite.schema import HEAD, check_format, connect_readonly, rows, value

RANGE = 20_000
"""Events looked at by one statement."""
FOUND = 20
SHOWN = 3
"""Most of SQLite's own findings that are asked for, and told."""

_INDEXED = "(SELECT value FROM meta WHERE key = 'indexed')"

# Each gives how many places are wrong, and one of them.
_SMALL = {
    "epochs begin before earlier ones, the first of them number {}": """
        SELECT count(*), min(number) FROM (
            SELECT number, first_seq, lag(first_seq) OVER (ORDER BY number) AS before FROM epochs
        ) WHERE first_seq < before""",
    "epochs begin after the head, the first of them at seq {}": f"""
        SELECT count(*), min(first_seq) FROM epochs WHERE first_seq > ({HEAD}) + 1""",
    "topics name seqs after the head, one of them is {}": f"""
        SELECT count(*), min(name) FROM topics WHERE max(last_seq, trimmed_upto) > ({HEAD})""",
    "time marks are out of order, the first of them at seq {}": """
        SELECT count(*), min(seq) FROM (
            SELECT seq, lag(seq) OVER (ORDER BY ts) AS before FROM marks
        ) WHERE seq < before""",
    "entries of the index are after its end, the first of them at seq {}": f"""
        SELECT count(*), min(seq) FROM by_topic WHERE seq > {_INDEXED}""",
    "entries of the index have no event, the first of them at seq {}": """
        SELECT count(*), min(seq) FROM by_topic WHERE seq NOT IN (SELECT seq FROM events)""",
}
_BY_RANGE = {
    "events belong to no topic, the first of them is seq {}": """
        SELECT count(*), min(seq) FROM events
        WHERE seq > :after AND seq <= :upto AND topic_id NOT IN (SELECT topic_id FROM topics)""",
    "events are missing in the index, the first of them is seq {}": f"""
        SELECT count(*), min(seq) FROM events AS e
        WHERE seq > :after AND seq <= :upto AND seq <= {_INDEXED} AND NOT EXISTS (
            SELECT 1 FROM by_topic AS b WHERE b.topic_id = e.topic_id AND b.seq = e.seq
        )""",
    "events hold JSON that is not theirs, the first of them is seq {}": """
        SELECT count(*), min(seq) FROM events JOIN topics USING (topic_id)
        WHERE seq > :after AND seq <= :upto AND iif(
            json_valid(data), data ->> '$.seq' IS NOT seq OR data ->> '$.topic' IS NOT name, true
        )""",
}
_COUNTED = f"""
SELECT topic_id, count(*), sum(octet_length(data)), min(seq) FROM events
WHERE seq > :after AND seq <= :upto AND seq <= {_INDEXED} GROUP BY topic_id
"""
_TOPICS = "SELECT topic_id, count, bytes, first_seq FROM topics"


class Health(NamedTuple):
    """What was found.

    Attributes:
        schema: The file's version.
        troubles: What is wrong, one clause each; empty if the log is whole.
    """

    schema: int
    events: int
    head: int
    troubles: list[str]


def examine(log: Path, *, progress: Progress | None = None) -> Health:
    """Look at all of the file *log*.

    Raises:
        StartError: It is another program's, or a newer Antiphon's.
        StoreCorrupt: It is no database, or too damaged to say anything about it.
        StoreUnavailable: It can't be read now.
    """
    with meanings(log):
        db = connect_readonly(log)
        try:
            schema = check_format(db, log)
            db.execute("BEGIN")
            return _examine(db, schema, progress or (lambda done, total: None))
        finally:
            db.close(True)


def _examine(db: apsw.Connection, schema: int, progress: Progress) -> Health:
    troubles: list[str] = []
    with _told(troubles):
        _check_structure(db, troubles)
    for what, sql in _SMALL.items():
        with _told(troubles):
            _note(troubles, what, *rows(db, sql)[0])
    events = head = 0
    with _told(troubles):
        head = value(db, HEAD)
    with _told(troubles):
        events = _examine_events(db, troubles, progress)
    return Health(schema, events, head, list(dict.fromkeys(troubles)))


def _check_structure(db: apsw.Connection, troubles: list[str]) -> None:
    """SQLite's own check of every page, table and index."""
    text = "\n".join(row[0] for row in rows(db, f"PRAGMA integrity_check({FOUND})"))
    found = [line for line in text.splitlines() if line != "ok" and not line.startswith("***")]
    troubles += [f"SQLite: {line}" for line in found[:SHOWN]]
    if len(found) > SHOWN:
        more = "at least " if len(found) >= FOUND else ""
        troubles.append(f"SQLite: {more}{len(found) - SHOWN} more of that kind")


def _examine_events(db: apsw.Connection, troubles: list[str], progress: Progress) -> int:
    """Look at each event, some thousand at a time; how many there are."""
    events = 0
    wrong = dict.fromkeys(_BY_RANGE, (0, 0))
    counted: dict[int, tuple[int, int, int]] = {}
    total = value(db, "SELECT sum(count) FROM topics") or 0
    for after, upto, count in _ranges(db):
        bounds = {"after": after, "upto": upto}
        for what, sql in _BY_RANGE.items():
            found, first = rows(db, sql, bounds)[0]
            if found:
                wrong[what] = (wrong[what][0] + found, wrong[what][1] or first)
        for topic_id, n, size, low in rows(db, _COUNTED, bounds):
            before = counted.get(topic_id, (0, 0, low))
            counted[topic_id] = (before[0] + n, before[1] + size, before[2])
        events += count
        progress(events, max(events, total))
    for what, places in wrong.items():
        _note(troubles, what, *places)
    known = {topic_id: tuple(facts) for topic_id, *facts in rows(db, _TOPICS)}
    off = [i for i, facts in known.items() if facts != counted.get(i, (0, 0, 0))]
    _note(
        troubles, "topics are counted wrongly, the first of them is number {}", len(off), *off[:1]
    )
    return events


def _ranges(db: apsw.Connection) -> Iterator[tuple[int, int, int]]:
    """The seqs of all events in ranges (after, upto], with how many events each has."""
    after = 0
    sql = (
        "SELECT max(seq), count(*) FROM (SELECT seq FROM events WHERE seq > ? ORDER BY seq LIMIT ?)"
    )
    while True:
        upto, count = rows(db, sql, (after, RANGE))[0]
        if upto is None:
            return
        yield after, upto, count
        after = upto


def _note(troubles: list[str], what: str, count: int, example: object = None) -> None:
    if count:
        troubles.append(f"{count} {what.format(example)}")


@contextmanager
def _told(troubles: list[str]) -> Iterator[None]:
    """Damage in the way of one look is a finding; the others are taken all the same."""
    try:
        yield
    except (*DAMAGE, apsw.SQLError) as error:
        troubles.append(f"SQLite: {error}")
