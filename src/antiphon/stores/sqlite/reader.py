"""The reading side of the log's file: whole pages, nothing held open between calls.

SQLite gives up the GIL at each row, and beside a busy loop each may cost 5 ms; so a
page comes as one row: the seqs, topics and sizes as JSON, all data as one blob.

Every event of a topic is found by ``by_topic`` up to ``meta.indexed``, and by seq
after it. Many topics are found by scanning seqs in bounded ranges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import apsw
import msgspec

from antiphon.bus.store import Query, StoreCorrupt, Stored, StoreUnavailable
from antiphon.stores.sqlite import damage
from antiphon.stores.sqlite.failures import meanings
from antiphon.stores.sqlite.schema import DROPS, connect_readonly, rows, value

RANGE = 20_000
"""Seqs looked at by one statement of a scan."""
FEW_TOPICS = 32
"""So many topics are read one by one from the index."""
FEW_EVENTS = 20_000
"""So many events of any number of topics are sorted."""
GET_ROWS = 500
MAX_SEQ = 2**63 - 1

_PACKED = """
SELECT json_group_array(seq), json_group_array(topic_id), json_group_array(octet_length(data)),
    CAST(group_concat(data, '') AS BLOB)
FROM ({rows})
"""
_EVENTS = (
    "SELECT seq, topic_id, data FROM events AS e WHERE {where} ORDER BY seq {order} LIMIT :limit"
)
_SEQS = """
SELECT json_group_array(seq) FROM (
    SELECT b.seq AS seq FROM by_topic AS b CROSS JOIN events AS e ON e.seq = b.seq
    WHERE b.topic_id {topics} AND b.seq > :after AND b.seq < :before {where}
    ORDER BY b.seq {order} LIMIT :limit
)
"""
_PAGE = _PACKED.format(rows=_EVENTS.format(where="seq > :after", order="ASC"))
_SIZES = """
SELECT seq, octet_length(data) AS size FROM events WHERE seq > :after ORDER BY seq LIMIT :limit
"""
# The sum alone is quick, and most pages are far from the bound.
_WITHIN = f"""
seq > :after AND seq <= CASE
    WHEN (SELECT sum(size) FROM ({_SIZES})) < :size_bytes THEN {MAX_SEQ}
    ELSE (
        SELECT max(seq) FROM (
            SELECT seq, sum(size) OVER (ORDER BY seq) - size AS before FROM ({_SIZES})
        ) WHERE before < :size_bytes
    )
END
"""
_PAGE_WITHIN = _PACKED.format(rows=_EVENTS.format(where=_WITHIN, order="ASC"))
_GET = _PACKED.format(
    rows=_EVENTS.format(where="seq IN (SELECT value FROM json_each(:seqs))", order="ASC")
)
_SEQ_AT = """
WITH low AS (SELECT coalesce(max(seq), 0) AS seq FROM marks WHERE ts <= ?1),
    high AS (SELECT min(seq) AS seq FROM marks WHERE ts > ?1)
SELECT max(low.seq, coalesce((
    SELECT seq FROM events
    WHERE seq > low.seq AND seq < coalesce(high.seq, 9223372036854775807) AND ts <= ?1
    ORDER BY seq DESC LIMIT 1
), 0))
FROM low, high
"""
_RANGE = "seq > :after AND seq < :before"
_IN_IDS = "IN (SELECT value FROM json_each(:ids))"
_FILTERS = {
    "since_us": "e.ts >= :since_us",
    "until_us": "e.ts <= :until_us",
    "id": "e.data ->> '$.id' = :id",
    "type": "e.data ->> '$.type' = :type",
    "source": "e.data ->> '$.source' = :source",
    "correlation_id": "e.data ->> '$.correlation_id' = :correlation_id",
}

_encode = msgspec.json.Encoder().encode
_numbers = msgspec.json.Decoder(list[int]).decode


class SqliteStoreReader:
    """Reads one log's file over a read-only connection of its own; for one thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db = connect_readonly(path)
        self._names: dict[int, str] = {}
        self._ids: dict[str, int] = {}
        self._drops = 0

    def page(self, after: int, limit: int, size_bytes: int | None = None) -> list[Stored]:
        """The next events of all topics after seq *after*, ascending."""
        bindings = {"after": after, "limit": limit}
        with self._reading():
            if size_bytes is None:
                return self._rows(_PAGE, bindings)
            return self._rows(_PAGE_WITHIN, {**bindings, "size_bytes": size_bytes})

    def get(self, seqs: Iterable[int]) -> list[Stored]:
        """Those of *seqs* that are stored, ascending."""
        wanted = sorted(set(seqs))
        with self._reading():
            return self._get(wanted)

    def select(self, query: Query) -> list[Stored]:
        """Events by *query*, at most ``query.limit``, in its order."""
        with self._reading():
            return self._select(query)

    def seq_at(self, recorded_us: int) -> int:
        """The highest seq recorded then or before, as far as known; 0 if none is."""
        with self._reading():
            found: int = value(self._db, _SEQ_AT, (recorded_us,))
            return found

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        self._db.close(True)

    # --- choosing a way -----------------------------------------------------------------

    def _select(self, query: Query) -> list[Stored]:
        bindings, where = self._filters(query)
        if query.topics is None:
            return self._scan(query, bindings, where)
        ids = self._ids_of(query.topics)
        if not ids:
            return []
        bindings["ids"] = _json(ids)
        if len(ids) > FEW_TOPICS and self._count(bindings) > FEW_EVENTS:
            # The unary plus keeps the planner from sorting every match before LIMIT.
            return self._scan(query, bindings, [*where, f"+topic_id {_IN_IDS}"])
        return self._by_topic(query, ids, bindings, where)

    def _filters(self, query: Query) -> tuple[dict[str, Any], list[str]]:
        """The statement's bindings, bounds narrowed by the marks, and its conditions."""
        asked = {name: getattr(query, name) for name in _FILTERS}
        bindings = {name: given for name, given in asked.items() if given is not None}
        after = query.after
        before = MAX_SEQ if query.before is None else query.before
        if query.since_us is not None:
            sql = "SELECT seq FROM marks WHERE ts < ? ORDER BY ts DESC LIMIT 1"
            after = max(after, value(self._db, sql, (query.since_us,)) or 0)
        if query.until_us is not None:
            sql = "SELECT seq FROM marks WHERE ts > ? ORDER BY ts LIMIT 1"
            before = min(before, value(self._db, sql, (query.until_us,)) or MAX_SEQ)
        where = [_FILTERS[name] for name in bindings]
        return {**bindings, "after": after, "before": before, "limit": query.limit}, where

    def _count(self, bindings: dict[str, Any]) -> int:
        found: int = value(
            self._db,
            f"SELECT sum(count) FROM topics WHERE topic_id {_IN_IDS}",
            {"ids": bindings["ids"]},
        )
        return found

    # --- by seq -------------------------------------------------------------------------

    def _scan(self, query: Query, bindings: dict[str, Any], where: list[str]) -> list[Stored]:
        """Read by seq, a bounded range at a time."""
        order = "DESC" if query.descending else "ASC"
        sql = _PACKED.format(rows=_EVENTS.format(where=" AND ".join([_RANGE, *where]), order=order))
        found: list[Stored] = []
        while (span := self._next_range(bindings, descending=query.descending)) is not None:
            low, high = span
            left = query.limit - len(found)
            found += self._rows(sql, {**bindings, "after": low, "before": high, "limit": left})
            if len(found) >= query.limit:
                break
            bindings["before" if query.descending else "after"] = (
                low + 1 if query.descending else high - 1
            )
        return found

    def _next_range(self, bindings: dict[str, Any], *, descending: bool) -> tuple[int, int] | None:
        """The next bounds, exclusive, that hold at least one event; seqs may have wide gaps."""
        after, before = bindings["after"], bindings["before"]
        edge = "max(seq)" if descending else "min(seq)"
        seq = value(
            self._db,
            f"SELECT {edge} FROM events WHERE seq > ? AND seq < ?",
            (after, before),
        )
        if seq is None:
            return None
        if descending:
            return max(after, seq - RANGE), seq + 1
        return seq - 1, min(before, seq + RANGE)

    # --- by topic -----------------------------------------------------------------------

    def _by_topic(
        self, query: Query, ids: list[int], bindings: dict[str, Any], where: list[str]
    ) -> list[Stored]:
        """Read by the index, and by seq what it doesn't reach yet, in one snapshot."""
        self._db.execute("BEGIN")
        try:
            indexed = value(self._db, "SELECT value FROM meta WHERE key = 'indexed'")
            tail = {**bindings, "after": max(bindings["after"], indexed)}
            tail_where = [*where, f"+topic_id {_IN_IDS}"]
            found = self._scan(query, tail, tail_where) if query.descending else []
            if len(found) < query.limit:
                found += self._by_index(query, ids, bindings, where)
            if len(found) < query.limit and not query.descending:
                found += self._scan(query, tail, tail_where)
            return found[: query.limit]
        finally:
            self._db.execute("COMMIT")

    def _by_index(
        self, query: Query, ids: list[int], bindings: dict[str, Any], where: list[str]
    ) -> list[Stored]:
        order = "DESC" if query.descending else "ASC"
        condition = "".join(f" AND {clause}" for clause in where)
        if len(ids) <= FEW_TOPICS:
            sql = _SEQS.format(topics="= :topic_id", where=condition, order=order)
            seqs = [seq for i in ids for seq in self._seqs(sql, {**bindings, "topic_id": i})]
            seqs.sort(reverse=query.descending)
            del seqs[query.limit :]
        else:
            sql = _SEQS.format(topics=_IN_IDS, where=condition, order=order)
            seqs = self._seqs(sql, bindings)
        found = self._get(sorted(seqs))
        return found[::-1] if query.descending else found

    def _seqs(self, sql: str, bindings: dict[str, Any]) -> list[int]:
        return _numbers(value(self._db, sql, bindings))

    # --- rows ---------------------------------------------------------------------------

    def _get(self, seqs: list[int]) -> list[Stored]:
        return [
            row
            for start in range(0, len(seqs), GET_ROWS)
            for row in self._rows(
                _GET, {"seqs": _json(seqs[start : start + GET_ROWS]), "limit": GET_ROWS}
            )
        ]

    def _rows(self, sql: str, bindings: dict[str, Any]) -> list[Stored]:
        """Run a packed statement and take its one row apart."""
        seqs, topics, sizes, data = rows(self._db, sql, bindings)[0]
        if data is None:
            return []
        ends = list(accumulate(_numbers(sizes)))
        parts = [data[a:b] for a, b in zip([0, *ends], ends, strict=False)]
        names = map(self._name, _numbers(topics))
        return list(map(Stored, _numbers(seqs), names, parts))

    def _name(self, topic_id: int) -> str:
        name = self._names.get(topic_id)
        if name is None:
            self._learn()
            name = self._names[topic_id]
        return name

    def _ids_of(self, topics: Iterable[str]) -> list[int]:
        """The ids of those *topics* that the log knows."""
        wanted = list(topics)
        drops = value(self._db, DROPS)
        if drops != self._drops:  # a topic that came again has another id
            self._ids.clear()
            self._names.clear()
            self._drops = drops
        if any(name not in self._ids for name in wanted):
            self._learn()
        return sorted(self._ids[name] for name in wanted if name in self._ids)

    def _learn(self) -> None:
        """Read the topics that came since; ids only grow, and a topic's never changes."""
        known = max(self._names, default=0)
        sql = "SELECT topic_id, name FROM topics WHERE topic_id > ?"
        for topic_id, name in rows(self._db, sql, (known,)):
            self._names[topic_id] = name
            self._ids[name] = topic_id

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            with meanings(self._path):
                yield
        except apsw.ConnectionClosedError as error:
            raise StoreUnavailable(f"{self._path}: the reader is closed") from error
        except StoreCorrupt as error:
            raise damage.met(self._path, error) from error


def _json(content: Any) -> str:
    return _encode(content).decode()
