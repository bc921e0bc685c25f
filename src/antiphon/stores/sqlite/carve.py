"""Events cut out of single pages, for a file whose tree of pages is broken. Pure.

A row of ``events`` proves itself: its JSON names the same seq as the row. So a page
that still has such rows is used, whatever became of the pages that led to it.
Source: https://sqlite.org/fileformat2.html#record_format.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from antiphon.bus.topics import check_topic
from antiphon.errors import InvalidTopic

TABLE_LEAF = 0x0D
FIRST_HEADER = 100
COLUMNS = 5
INT_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
MAX_PAYLOAD = 1 << 24
"""No event is larger by far."""

ReadPage = Callable[[int], bytes]


class Carved(NamedTuple):
    """One row of ``events``, its topic by name."""

    seq: int
    topic: str
    ts: int
    given: str | None
    data: bytes


class _Named(msgspec.Struct):
    seq: int
    topic: str


class _Broken(Exception):
    """These bytes are no row."""


_decode = msgspec.json.Decoder(_Named).decode


def carve(page: bytes, number: int, read: ReadPage) -> Iterator[Carved]:
    """The events on one page.

    Args:
        read: Gives further pages, for events larger than one.
    """
    at = FIRST_HEADER if number == 1 else 0
    if len(page) < at + 8 or page[at] != TABLE_LEAF:
        return
    cells = int.from_bytes(page[at + 3 : at + 5], "big")
    for place in range(at + 8, at + 8 + 2 * cells, 2):
        cell = int.from_bytes(page[place : place + 2], "big")
        try:
            yield _row(page, cell, read)
        except (_Broken, IndexError, InvalidTopic, msgspec.DecodeError, UnicodeDecodeError):
            continue


def _row(page: bytes, cell: int, read: ReadPage) -> Carved:
    size, at = _varint(page, cell)
    seq, at = _varint(page, at)
    record = _payload(page, at, size, read)
    topic_id, ts, given, data = _columns(record)
    named = _decode(data.decode())  # msgspec alone passes over bad bytes in what it skips
    check_topic(named.topic)
    if named.seq != seq or topic_id <= 0 or ts < 0:
        raise _Broken
    return Carved(seq, named.topic, ts, None if given is None else given.decode(), data)


def _columns(record: bytes) -> tuple[int, int, bytes | None, bytes]:
    """Take apart (NULL, topic_id, ts, given_id, data); the first stands for the seq."""
    end, at = _varint(record, 0)
    kinds: list[int] = []
    while at < end:
        kind, at = _varint(record, at)
        kinds.append(kind)
    if at != end or len(kinds) != COLUMNS or kinds[0] != 0:
        raise _Broken
    topic_id, at = _integer(record, end, kinds[1])
    ts, at = _integer(record, at, kinds[2])
    given: bytes | None = None
    if kinds[3] != 0:
        given, at = _text(record, at, kinds[3])
    data, at = _text(record, at, kinds[4])
    if at != len(record):
        raise _Broken
    return topic_id, ts, given, data


def _integer(record: bytes, at: int, kind: int) -> tuple[int, int]:
    if kind in (8, 9):
        return kind - 8, at
    size = INT_BYTES.get(kind)
    if size is None or at + size > len(record):
        raise _Broken
    return int.from_bytes(record[at : at + size], "big", signed=True), at + size


def _text(record: bytes, at: int, kind: int) -> tuple[bytes, int]:
    size = (kind - 13) // 2
    if kind < 13 or kind % 2 == 0 or at + size > len(record):
        raise _Broken
    return record[at : at + size], at + size


def _payload(page: bytes, at: int, size: int, read: ReadPage) -> bytes:
    """The record's bytes, those on overflow pages included."""
    if size > MAX_PAYLOAD:
        raise _Broken
    usable = len(page)
    most, least = usable - 35, (usable - 12) * 32 // 255 - 23
    if size <= most:
        local = size
    else:
        local = least + (size - least) % (usable - 4)
        local = local if local <= most else least
    if at + local > usable:
        raise _Broken
    parts = [page[at : at + local]]
    left = size - local
    following = page[at + local : at + local + 4]
    while left > 0:
        more = read(int.from_bytes(following, "big"))
        if len(more) < usable:
            raise _Broken
        following = more[:4]
        parts.append(more[4 : 4 + left])
        left -= usable - 4
    return b"".join(parts)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of 1 to 9 bytes, and where it ends."""
    number = 0
    for place in range(at, at + 8):
        byte = data[place]
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            return number, place + 1
    return number << 8 | data[at + 8], at + 9
