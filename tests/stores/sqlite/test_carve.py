"""Events cut out of single pages agree with what SQLite wrote there."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.stores.sqlite.damaged import PAGE, content, make

from antiphon.stores import SqliteEventStore
from antiphon.stores.sqlite.carve import Carved, carve
from antiphon.stores.sqlite.pages import FilePages
from antiphon.testing.store_contract import START_US, event

sizes = st.lists(
    st.one_of(st.integers(0, 300), st.integers(3800, 4300), st.integers(8000, 20_000)),
    min_size=1,
    max_size=40,
)


def _carved(path: Path) -> list[Carved]:
    with FilePages(path) as pages:
        return sorted(
            event for number, page in pages.in_use() for event in carve(page, number, pages.read)
        )


@settings(max_examples=40, deadline=None)
@given(sizes=sizes, gap=st.integers(1, 2**40), closed=st.booleans())
def test_every_row_is_found_once_with_all_of_its_columns(
    sizes: list[int], gap: int, closed: bool
) -> None:
    """Small rows, rows near the size of a page, and rows over several; in the file or the WAL."""
    rows = [
        event(i * gap, f"t{i % 3}", "ü" * (size // 2), given=f"p\x1f{i}" if i % 2 else None)
        for i, size in enumerate(sizes, 1)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.db"
        store = SqliteEventStore(path)
        store.open()
        try:
            store.append(rows, START_US)
            if closed:
                store.close()
            found = _carved(path)
        finally:
            store.close()
    assert found == [Carved(r.seq, r.topic, START_US, r.given, r.data) for r in rows]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A page full of events."""
    path = tmp_path_factory.mktemp("carve") / "log.db"
    make(path, content(100, size=60))
    with FilePages(path) as pages:
        found = (page for n, page in pages.in_use() if len(list(carve(page, n, pages.read))) > 10)
        return next(found)


@settings(max_examples=200, deadline=None)
@given(
    flips=st.lists(st.tuples(st.integers(1, PAGE - 1), st.integers(0, 255)), max_size=60),
    size=st.integers(0, PAGE),
    number=st.integers(1, 2),
)
def test_a_broken_page_gives_whole_events_or_none(
    page: bytes, flips: list[tuple[int, int]], size: int, number: int
) -> None:
    """Whatever bytes are wrong: no error, and nothing whose JSON isn't its own."""
    broken = bytearray(page)
    for at, byte in flips:
        broken[at] = byte
    for tried in (bytes(broken), bytes(broken[:size])):
        for carved in carve(tried, number, lambda number: bytes(broken)):
            named = msgspec.json.decode(carved.data)
            assert (named["seq"], named["topic"]) == (carved.seq, carved.topic)


def test_what_was_trimmed_does_not_come_back(tmp_path: Path) -> None:
    """Pages on the list of free ones still hold it."""
    path = tmp_path / "log.db"
    store = SqliteEventStore(path)
    store.open()
    store.append([event(i, "a", "x" * 1000) for i in range(1, 201)], START_US)
    store.trim("a", 150)
    store.close()
    assert {event.seq for event in _carved(path)} >= set(range(151, 201))
    assert not {event.seq for event in _carved(path)} & set(range(1, 140))
