"""Taking events out of the log's file: what is found to go, and all that goes with it.

Each function works inside the caller's transaction and leaves index, counts, keys and
marks exact. What is to go is read as one row, and told to SQLite as one JSON text, since
it gives up the GIL at each row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import takewhile
from typing import Any, NamedTuple

import apsw
import msgspec

from antiphon.bus.store import Removed
from antiphon.stores.sqlite.schema import GONE, rows, value

DAY_US = 86_400_000_000

_OLDEST = """
SELECT json_group_array(json_array(topic_id, seq, octet_length(data)))
FROM (
    SELECT b.seq AS old FROM json_each(?1) AS w CROSS JOIN by_topic AS b
        ON b.topic_id = w.value ->> 0 AND b.seq <= w.value ->> 1
    ORDER BY b.seq LIMIT ?2
) CROSS JOIN events ON seq = old
"""
_THESE = """
SELECT json_group_array(json_array(topic_id, seq, octet_length(data)))
FROM json_each(?) CROSS JOIN events ON seq = value
"""
_KEYS_AHEAD = """
SELECT json_group_array(json_array(ahead, data ->> '$.key'))
FROM (
    SELECT b.seq AS ahead FROM by_topic AS b
    WHERE b.topic_id = ?1 AND b.seq > (SELECT compacted_upto FROM topics WHERE topic_id = ?1)
    ORDER BY b.seq LIMIT ?2
) CROSS JOIN events ON seq = ahead
"""
_NEWEST = """
SELECT json_group_object(k.key, k.seq)
FROM json_each(?2) AS w CROSS JOIN by_key AS k ON k.topic_id = ?1 AND k.key = w.value
"""
_UPSERT_KEYS = """
INSERT OR REPLACE INTO by_key SELECT ?1, key, value FROM json_each(?2)
"""
_DROP_KEYS = """
DELETE FROM by_key WHERE (topic_id, key, seq) IN (
    SELECT topic_id, data ->> '$.key', seq FROM events WHERE seq IN (
        SELECT value ->> 1 FROM json_each(?)
    )
)
"""
_DROP_EVENTS = "DELETE FROM events WHERE seq IN (SELECT value ->> 1 FROM json_each(?))"
_DROP_INDEX = """
DELETE FROM by_topic WHERE (topic_id, seq) IN (
    SELECT value ->> 0, value ->> 1 FROM json_each(?)
)
"""
_COUNT_OUT = """
UPDATE topics SET
    count = count - (w.value ->> 1),
    bytes = bytes - (w.value ->> 2),
    trimmed_upto = CASE WHEN ?2 THEN max(trimmed_upto, w.value ->> 3) ELSE trimmed_upto END,
    first_seq = coalesce((SELECT min(seq) FROM by_topic AS b WHERE b.topic_id = w.value ->> 0), 0),
    last_seq = CASE WHEN ?2 THEN last_seq ELSE coalesce(
        (SELECT max(seq) FROM by_topic AS b WHERE b.topic_id = w.value ->> 0), last_seq
    ) END
FROM json_each(?1) AS w WHERE topic_id = w.value ->> 0
"""
_DROP_MARKS = f"""
DELETE FROM marks WHERE ts < (SELECT ts FROM events ORDER BY seq LIMIT 1) AND seq NOT IN (
    SELECT max(seq) FROM marks
    WHERE ts < (SELECT ts FROM events ORDER BY seq LIMIT 1) GROUP BY ts / {DAY_US}
)
"""
_PLACES = """
SELECT json_group_array(json_array(topic_id, first_seq, last_seq)) FROM topics
WHERE topic_id IN (SELECT value FROM json_each(?))
"""
_DROP_TOPICS = """
DELETE FROM topics WHERE count = 0 AND name IN (SELECT value FROM json_each(?))
RETURNING topic_id, name, trimmed_upto
"""
NAMES = "SELECT topic_id, name FROM topics WHERE topic_id IN (SELECT value FROM json_each(?))"
_KEEP_META = "INSERT OR REPLACE INTO meta VALUES (?, ?)"

_encode = msgspec.json.Encoder().encode


class Doomed(NamedTuple):
    """One event that is to go."""

    topic_id: int
    seq: int
    size_bytes: int


_doomed = msgspec.json.Decoder(list[Doomed]).decode
_keys = msgspec.json.Decoder(list[tuple[int, str | None]]).decode
_newest = msgspec.json.Decoder(dict[str, int]).decode
_places = msgspec.json.Decoder(list[tuple[int, int, int]]).decode


def find_oldest(
    db: apsw.Connection, uptos: Iterable[tuple[int, int]], limit: int, size_bytes: int | None
) -> list[Doomed]:
    """The oldest events of these (topic_id, upto), by seq, within the bounds."""
    found = _doomed(value(db, _OLDEST, (_json(list(uptos)), limit)))
    if size_bytes is None:
        return found
    left = size_bytes

    def is_needed(one: Doomed) -> bool:
        nonlocal left
        needed = left > 0
        left -= one.size_bytes
        return needed

    return list(takewhile(is_needed, found))


def find_these(db: apsw.Connection, seqs: Iterable[int]) -> list[Doomed]:
    """Those of *seqs* that are stored."""
    return _doomed(value(db, _THESE, (_json(sorted(set(seqs))),)))


def remove(
    db: apsw.Connection, doomed: Collection[Doomed], *, trimmed: bool, keyed: bool
) -> dict[int, Removed]:
    """Delete these events; what went of each topic, by its id.

    Args:
        trimmed: They are the oldest, and readers who miss them hear of a gap.
        keyed: Some are of compacted topics.
    """
    if not doomed:
        return {}
    text = _json(doomed)
    if keyed:
        db.execute(_DROP_KEYS, (text,))
    db.execute(_DROP_EVENTS, (text,))
    db.execute(_DROP_INDEX, (text,))
    sums: dict[int, list[int]] = {}
    for topic_id, seq, size in doomed:
        one = sums.setdefault(topic_id, [0, 0, 0])
        one[0] += 1
        one[1] += size
        one[2] = max(one[2], seq)
    db.execute(_COUNT_OUT, (_json([(i, *one) for i, one in sums.items()]), trimmed))
    db.execute(_DROP_MARKS)
    places = {i: place for i, *place in _places(value(db, _PLACES, (_json(list(sums)),)))}
    return {
        i: Removed(events, size, upto, places[i][0], None if trimmed else places[i][1])
        for i, (events, size, upto) in sums.items()
    }


def compact(db: apsw.Connection, topic_id: int, limit: int) -> Removed:
    """Look at the topic's next events; keep of each key the newest so far."""
    ahead = _keys(value(db, _KEYS_AHEAD, (topic_id, limit)))
    asked = _json(sorted({key for _, key in ahead if key is not None}))
    newest = _newest(value(db, _NEWEST, (topic_id, asked)))
    older: list[int] = []
    for seq, key in ahead:
        if key is not None:
            if key in newest:
                older.append(newest[key])
            newest[key] = seq
    removed = remove(db, find_these(db, older), trimmed=False, keyed=True).get(topic_id)
    db.execute(_UPSERT_KEYS, (topic_id, _json(newest)))
    if ahead:
        db.execute(
            "UPDATE topics SET compacted_upto = ? WHERE topic_id = ?", (ahead[-1][0], topic_id)
        )
    first, upto = rows(
        db, "SELECT first_seq, compacted_upto FROM topics WHERE topic_id = ?", (topic_id,)
    )[0]
    done = removed or Removed(0, 0, 0, first)
    return done._replace(last_seq=None, compacted_upto=upto)


def drop_topics(db: apsw.Connection, names: Collection[str]) -> dict[str, int]:
    """Delete those of these topics that hold nothing; their ids by name."""
    dropped = rows(db, _DROP_TOPICS, (_json(list(names)),))
    gone = {name: i for i, name, _ in dropped}
    if gone:
        upto = max(value(db, GONE), *(trimmed for _, _, trimmed in dropped))
        last = value(db, "SELECT value FROM meta WHERE key = 'last_topic'") or 0
        drops = value(db, "SELECT value FROM meta WHERE key = 'drops'") or 0
        db.execute(_KEEP_META, ("last_topic", max(last, *gone.values())))
        db.execute(_KEEP_META, ("drops", drops + 1))
        db.execute(_KEEP_META, ("gone_upto", upto))
        db.execute(
            "DELETE FROM by_key WHERE topic_id IN (SELECT value FROM json_each(?))",
            (_json(list(gone.values())),),
        )
    return gone


def first_seqs(db: apsw.Connection, topic_ids: Iterable[int]) -> dict[int, int]:
    """The first seq of each of these topics, as counted."""
    return {i: first for i, first, _ in _places(value(db, _PLACES, (_json(list(topic_ids)),)))}


def _json(content: Any) -> str:
    return _encode(content).decode()
