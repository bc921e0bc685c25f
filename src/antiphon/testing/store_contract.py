"""The contract of ``antiphon.bus.store``, as tests that every store must pass.

Subclass ``StoreContract`` in a test module and define the fixture ``store``: a new,
unopened store over an empty place, closed by the fixture in the end::

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store(self, tmp_path: Path) -> Iterator[EventStore]:
            store = MyStore(tmp_path)
            yield store
            store.close()

A store whose content ends with the object passes too: ``close`` then ``open`` of the
same object must keep everything.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import msgspec
import pytest

from antiphon.bus.store import (
    EventStore,
    GivenIdTaken,
    Query,
    Row,
    Stored,
    StoreReader,
    StoreUnavailable,
)

START_US = 1_790_000_000_000_000

AWKWARD: tuple[object, ...] = (
    None,
    "",
    '\u0000\u0001\u001f\u007f"\\/\b\f\n\r\t',
    "é ü ß 漢字 \U0001f600 \u2028\u2029 \ufeff \ufffd \uffff \U0010ffff",
    [2**53 - 1, -(2**53 - 1), 0, -0.0, 1e300, 5e-324, 0.1, 1.0, -1e-7, True, False],
    {"a": {}, "b": [], "": None, "a b": [[[[{}]]]], "$.type": 1, "null": "null"},
    ["'; DROP TABLE events; --", "{}", "[1,2", "\\u0000", "\\ud800"],
    "x" * 100_000,
)
"""Payloads that a store might not hand back byte by byte."""

T = TypeVar("T")
_encode = msgspec.json.Encoder().encode


def event(
    seq: int, topic: str = "a", payload: object = None, *, given: str | None = None, **fields: str
) -> Row:
    """A row with the whole event that belongs to it."""
    content = {"seq": seq, "topic": topic, "type": "t", "source": "/s", **fields}
    return Row(seq, topic, given, _encode({**content, "payload": payload}))


def stored(rows: Iterable[Row]) -> list[Stored]:
    """What reading *rows* gives."""
    return [Stored(row.seq, row.topic, row.data) for row in rows]


def key_of(row: Row) -> str:
    """The ``key`` of a row's event."""
    return str(msgspec.json.decode(row.data)["key"])


def _last(rows: Iterable[Row], topic: str) -> int:
    return max((row.seq for row in rows if row.topic == topic), default=0)


@contextmanager
def reading(store: EventStore) -> Iterator[StoreReader]:
    """A reader of *store*, closed in the end."""
    reader = store.reader()
    try:
        yield reader
    finally:
        reader.close()


class StoreContract:
    """What every store promises. Needs the fixture ``store``."""

    # --- opening ------------------------------------------------------------------------

    def test_a_new_store_is_empty_and_clean(self, store: EventStore) -> None:
        opened = store.open()
        assert (opened.head, opened.topics, opened.clean) == (0, {}, True)
        assert opened.recorded_us == 0
        assert [epoch.first_seq for epoch in opened.epochs] == [1]
        with reading(store) as reader:
            assert reader.page(0, 10) == []
            assert reader.select(Query()) == []
            assert reader.select(Query(topics=frozenset({"a"}))) == []

    def test_everything_is_there_after_close_and_open(self, store: EventStore) -> None:
        store.open()
        rows = [event(1, "a"), event(2, "b"), event(3, "a", "longer")]
        store.append(rows[:2], START_US)
        store.append(rows[2:], START_US + 5)
        store.close()
        opened = store.open()
        assert (opened.head, opened.recorded_us, opened.clean) == (3, START_US + 5, True)
        a = opened.topics["a"]
        assert (a.count, a.first_seq, a.last_seq, a.trimmed_upto) == (2, 1, 3, 0)
        assert a.size_bytes == len(rows[0].data) + len(rows[2].data)
        assert opened.topics["b"].count == 1
        with reading(store) as reader:
            assert reader.page(0, 10) == stored(rows)

    def test_every_open_begins_an_epoch_after_the_head(self, store: EventStore) -> None:
        first = store.open().epochs[-1]
        store.append([event(1), event(2)], START_US)
        store.close()
        opened = store.open()
        assert opened.epochs[0] == first
        assert opened.epochs[-1].first_seq == 3
        assert len({epoch.name for epoch in opened.epochs}) == 2

    def test_reopen_keeps_the_epochs_and_the_data(self, store: EventStore) -> None:
        store.open()
        store.append([event(1)], START_US)
        store.reopen()
        assert store.head() == 1
        store.append([event(2), event(3, "new")], START_US)
        store.close()
        assert len(store.open().epochs) == 2

    def test_close_can_be_called_twice(self, store: EventStore) -> None:
        store.open()
        store.close()
        store.close()

    def test_a_closed_store_refuses_and_can_be_opened_again(self, store: EventStore) -> None:
        store.open()
        store.close()
        with pytest.raises(StoreUnavailable):
            store.append([event(1)], START_US)
        store.open()
        store.append([event(1)], START_US)

    # --- appending ----------------------------------------------------------------------

    def test_data_comes_back_byte_by_byte(self, store: EventStore) -> None:
        store.open()
        rows = [event(i, "a", payload) for i, payload in enumerate(AWKWARD, 1)]
        store.append(rows, START_US)
        with reading(store) as reader:
            assert reader.page(0, 100) == stored(rows)
            assert reader.get(range(100)) == stored(rows)
            assert reader.select(Query(topics=frozenset({"a"}), type="t")) == stored(rows)

    def test_a_page_ends_with_the_event_that_brings_it_to_its_size(self, store: EventStore) -> None:
        """So whoever asked knows by its size whether more may follow, and goes on there."""
        store.open()
        rows = [event(i, f"t{i % 3}", "x" * (i * 37 % 500)) for i in range(1, 61)]
        store.append(rows, START_US)
        with reading(store) as reader:
            for size in (0, 1, 500, 3000, 10**9):
                read: list[Stored] = []
                while page := reader.page(read[-1].seq if read else 0, 25, size):
                    assert sum(len(row.data) for row in page[:-1]) < size
                    full = sum(len(row.data) for row in page) >= size or len(page) == 25
                    assert full or page[-1].seq == 60
                    read += page
                assert read == (stored(rows) if size else [])

    def test_the_head_moves_with_the_batch(self, store: EventStore) -> None:
        store.open()
        assert store.head() == 0
        store.append([event(1), event(2)], START_US)
        assert store.head() == 2

    def test_seqs_may_have_gaps_but_never_go_back(self, store: EventStore) -> None:
        store.open()
        rows = [event(5), event(9), event(10_000_000_000)]
        store.append(rows, START_US)
        with pytest.raises(ValueError, match="10000000000"):
            store.append([event(10)], START_US)
        store.tend(idle=True)
        with reading(store) as reader:
            assert reader.page(0, 10) == stored(rows)
            assert reader.page(9, 10) == stored(rows[2:])
            assert reader.select(Query(type="t")) == stored(rows)
            assert reader.select(Query(type="t", descending=True)) == stored(rows[::-1])

    def test_an_empty_batch_changes_nothing(self, store: EventStore) -> None:
        """It only tries whether the store takes writes."""
        store.open()
        store.append([event(1)], START_US)
        store.append([], START_US)
        assert store.head() == 1

    # --- given ids ----------------------------------------------------------------------

    def test_a_given_id_is_taken_once_for_each_topic(self, store: EventStore) -> None:
        store.open()
        first = event(1, "a", given="me\x1fone")
        store.append([first], START_US)
        store.append([event(2, "b", given="me\x1fone")], START_US)
        with pytest.raises(GivenIdTaken):
            store.append([event(3, "c"), event(4, "a", given="me\x1fone")], START_US)
        assert store.head() == 2
        with reading(store) as reader:
            assert [row.seq for row in reader.page(0, 10)] == [1, 2]
        store.append([event(3, "c"), event(4, "a", given="me\x1ftwo")], START_US)

    def test_the_last_seq_of_a_topic_counts_what_was_trimmed_and_what_is_not_indexed_yet(
        self, store: EventStore
    ) -> None:
        store.open()
        store.append([event(1, "a"), event(2, "b"), event(3, "a")], START_US)
        assert store.last_seqs(["a", "b", "c"]) == {"a": 3, "b": 2}
        store.tend(idle=True)
        assert store.last_seqs(["a", "b", "c"]) == {"a": 3, "b": 2}
        store.append([event(4, "a")], START_US)
        assert store.last_seqs(["a", "b"]) == {"a": 4, "b": 2}
        store.trim("b", 2)
        store.close()
        store.open()
        assert store.last_seqs(["a", "b"]) == {"a": 4, "b": 2}
        assert store.last_seqs([]) == {}

    def test_two_equal_given_ids_in_one_batch_are_refused(self, store: EventStore) -> None:
        store.open()
        with pytest.raises(GivenIdTaken):
            store.append([event(1, given="x"), event(2, given="x")], START_US)
        assert store.head() == 0

    def test_find_given_finds_what_is_stored(self, store: EventStore) -> None:
        store.open()
        given = 'who\x1fid "quoted" é'
        rows = [event(1, "a", given=given), event(2, "b", given=given), event(3, "a")]
        store.append(rows, START_US)
        keys = [("a", given), ("b", given), ("a", "other"), ("never", given)]
        found = store.find_given(keys)
        assert dict(found) == dict(zip(keys[:2], stored(rows[:2]), strict=True))
        assert store.find_given([]) == {}

    def test_a_trimmed_given_id_is_free_again(self, store: EventStore) -> None:
        """The window of idempotency is the event's own retention."""
        store.open()
        store.append([event(1, given="x"), event(2)], START_US)
        assert store.trim("a", 1) == 1
        assert store.find_given([("a", "x")]) == {}
        store.append([event(3, given="x")], START_US)

    # --- reading ------------------------------------------------------------------------

    def test_pages_are_continued_by_seq(self, store: EventStore) -> None:
        store.open()
        rows = [event(i, f"t{i % 3}") for i in range(1, 26)]
        store.append(rows, START_US)
        with reading(store) as reader:
            assert reader.page(0, 10) == stored(rows[:10])
            assert reader.page(10, 10) == stored(rows[10:20])
            assert reader.page(20, 10) == stored(rows[20:])
            assert reader.page(25, 10) == []

    def test_get_gives_what_is_there_ascending(self, store: EventStore) -> None:
        store.open()
        rows = [event(i, f"t{i % 3}") for i in range(1, 2001)]
        store.append(rows, START_US)
        with reading(store) as reader:
            assert reader.get([3, 1, 3, 5000]) == stored([rows[0], rows[2]])
            assert reader.get([]) == []
            assert reader.get(range(3000)) == stored(rows)

    def test_a_reader_sees_what_was_written_after_it_was_made(self, store: EventStore) -> None:
        store.open()
        with reading(store) as reader:
            assert reader.page(0, 10) == []
            store.append([event(1, "new")], START_US)
            assert reader.page(0, 10) == stored([event(1, "new")])
            store.append([event(2, "newer")], START_US)
            query = Query(topics=frozenset({"newer", "unknown"}))
            assert reader.select(query) == stored([event(2, "newer")])

    @pytest.mark.parametrize("seed", range(6))
    def test_select_agrees_with_a_filter_over_everything(
        self, store: EventStore, seed: int
    ) -> None:
        """Whatever is asked, before and after upkeep: the same as looking at each event."""
        chance = random.Random(seed)
        store.open()
        kept: list[tuple[Row, int]] = []
        now = START_US
        for _ in range(12):
            batch = self._random_batch(chance, kept)
            now += chance.choice([0, 1, 700_000, 3_000_000])
            store.append(batch, now)
            kept += [(row, now) for row in batch]
            if chance.random() < 0.4:
                store.tend(idle=chance.random() < 0.7)
        with reading(store) as reader:
            for _ in range(60):
                query = self._random_query(chance, kept)
                assert reader.select(query) == self._expected(query, kept), query

    @staticmethod
    def _random_batch(chance: random.Random, kept: list[tuple[Row, int]]) -> list[Row]:
        seq = kept[-1][0].seq if kept else 0
        batch = []
        for _ in range(chance.randint(1, 40)):
            seq += chance.choice([1, 1, 1, 3])
            fields = {"type": chance.choice("tuv"), "source": chance.choice(["/s", "/r"])}
            if chance.random() < 0.5:
                fields["correlation_id"] = chance.choice("xy")
            topic = f"t{min(chance.randrange(60), chance.randrange(60))}"
            batch.append(event(seq, topic, seq, **fields))
        return batch

    @staticmethod
    def _random_query(chance: random.Random, kept: list[tuple[Row, int]]) -> Query:
        def maybe(value: T) -> T | None:
            return value if chance.random() < 0.3 else None

        head = kept[-1][0].seq
        size = chance.choice([1, 3, 40, 60])
        times = [START_US - 1, *(ts for _, ts in kept), START_US * 2]
        return Query(
            topics=maybe(frozenset(f"t{i}" for i in chance.sample(range(70), size))),
            after=chance.choice([0, 0, chance.randint(0, head)]),
            before=maybe(chance.randint(1, head + 2)),
            descending=chance.random() < 0.5,
            since_us=maybe(chance.choice(times)),
            until_us=maybe(chance.choice(times)),
            type=maybe(chance.choice("tuvw")),
            source=maybe(chance.choice(["/s", "/none"])),
            correlation_id=maybe(chance.choice("xyz")),
            limit=chance.choice([1, 5, 50, 10_000]),
        )

    @staticmethod
    def _expected(query: Query, kept: list[tuple[Row, int]]) -> list[Stored]:
        def wanted(row: Row, ts: int) -> bool:
            fields = msgspec.json.decode(row.data)
            return (
                (query.topics is None or row.topic in query.topics)
                and row.seq > query.after
                and (query.before is None or row.seq < query.before)
                and (query.since_us is None or ts >= query.since_us)
                and (query.until_us is None or ts <= query.until_us)
                and all(
                    asked is None or fields.get(name) == asked
                    for name, asked in (
                        ("type", query.type),
                        ("source", query.source),
                        ("correlation_id", query.correlation_id),
                    )
                )
            )

        found = [row for row, ts in kept if wanted(row, ts)]
        return stored(found[::-1] if query.descending else found)[: query.limit]

    def test_readers_work_beside_the_writer(self, store: EventStore) -> None:
        """A reader in another thread sees whole batches, in order, none twice."""
        store.open()
        batches = 60
        done = threading.Event()
        seen: list[int] = []
        faults: list[BaseException] = []

        def read() -> None:
            try:
                with reading(store) as reader:
                    position = 0
                    while position < batches * 10:
                        ended = done.is_set()
                        page = reader.page(position, 10)
                        assert len(page) in (0, 10)
                        assert page or not ended
                        seen.extend(row.seq for row in page)
                        position = seen[-1] if seen else 0
            except BaseException as error:
                faults.append(error)

        thread = threading.Thread(target=read)
        thread.start()
        try:
            for batch in range(batches):
                first = batch * 10 + 1
                store.append([event(i, f"t{i % 7}") for i in range(first, first + 10)], START_US)
                store.tend(idle=False)
        finally:
            done.set()
            thread.join(30)
        assert not faults
        assert seen == list(range(1, batches * 10 + 1))

    # --- upkeep and trimming ------------------------------------------------------------

    def test_upkeep_changes_nothing_that_is_read(self, store: EventStore) -> None:
        store.open()
        rows = [event(i, f"t{i % 3}") for i in range(1, 51)]
        store.append(rows, START_US)
        query = Query(topics=frozenset({"t1"}))
        with reading(store) as reader:
            before = (reader.page(0, 100), reader.select(query))
            store.tend(idle=False)
            store.tend(idle=True)
            store.tend(idle=True)
            assert (reader.page(0, 100), reader.select(query)) == before

    def test_trim_removes_the_oldest_of_one_topic(self, store: EventStore) -> None:
        store.open()
        rows = [event(i, "ab"[i % 2], i) for i in range(1, 11)]
        store.append(rows, START_US)
        assert store.trim("a", 6, limit=2) == 2
        assert store.trim("a", 6, limit=2) == 1
        assert store.trim("a", 6, limit=2) == 0
        left = [row for row in rows if row.topic == "b" or row.seq > 6]
        with reading(store) as reader:
            assert reader.page(0, 100) == stored(left)
            assert reader.select(Query(topics=frozenset({"a"}))) == stored(
                row for row in left if row.topic == "a"
            )
        store.close()
        state = store.open().topics["a"]
        assert (state.count, state.first_seq, state.last_seq, state.trimmed_upto) == (2, 8, 10, 6)
        assert state.size_bytes == sum(len(row.data) for row in left if row.topic == "a")

    def test_trimming_an_unknown_topic_or_nothing_is_no_fault(self, store: EventStore) -> None:
        store.open()
        assert store.trim("never", 100) == 0
        store.append([event(5)], START_US)
        assert store.trim("a", 4) == 0
        store.close()
        assert store.open().topics["a"].trimmed_upto == 0

    def test_trimming_everything_resets_nothing(self, store: EventStore) -> None:
        """Head, time and the topic's row with its mark outlive the last event."""
        store.open()
        store.append([event(1), event(2)], START_US)
        store.append([event(3)], START_US + 7)
        assert store.trim("a", 3) == 3
        assert store.head() == 3
        store.close()
        opened = store.open()
        assert (opened.head, opened.recorded_us) == (3, START_US + 7)
        assert opened.epochs[-1].first_seq == 4
        state = opened.topics["a"]
        assert (state.count, state.size_bytes, state.first_seq) == (0, 0, 0)
        assert (state.last_seq, state.trimmed_upto) == (3, 3)
        store.append([event(4)], START_US + 8)
        store.close()
        state = store.open().topics["a"]
        assert (state.count, state.first_seq, state.last_seq, state.trimmed_upto) == (1, 4, 4, 3)

    # --- sweeping -----------------------------------------------------------------------

    def test_sweep_removes_the_oldest_of_several_topics_together(self, store: EventStore) -> None:
        store.open()
        rows = [event(i, "abc"[i % 3], i) for i in range(1, 31)]
        store.append(rows, START_US)
        removed = store.sweep({"a": 30, "b": 7, "never": 30}, limit=6)
        gone = [1, 3, 4, 6, 7, 9]
        assert {name: one.events for name, one in removed.items()} == {"a": 3, "b": 3}
        assert (removed["a"].upto, removed["a"].first_seq) == (9, 12)
        assert (removed["b"].upto, removed["b"].first_seq) == (7, 10)
        assert sum(one.size_bytes for one in removed.values()) == sum(
            len(row.data) for row in rows if row.seq in gone
        )
        self._is_whole(store, [row for row in rows if row.seq not in gone])
        states = store.open().topics
        assert [states[name].trimmed_upto for name in "abc"] == [9, 7, 0]
        assert [states[name].last_seq for name in "abc"] == [30, 28, 29]

    def test_sweep_stops_as_soon_as_so_many_bytes_are_gone(self, store: EventStore) -> None:
        store.open()
        rows = [event(i, "ab"[i % 2], "x" * i) for i in range(1, 21)]
        store.append(rows, START_US)
        size = sum(len(row.data) for row in rows[:5])
        assert store.sweep({"a": 20, "b": 20}, 1000, 0) == {}
        removed = store.sweep({"a": 20, "b": 20}, 1000, size - 1)
        assert sum(one.events for one in removed.values()) == 5
        removed = store.sweep({"a": 20, "b": 20}, 1000, 1)
        assert sum(one.events for one in removed.values()) == 1
        self._is_whole(store, rows[6:])

    def test_what_came_after_a_topic_was_swept_empty_counts_anew(self, store: EventStore) -> None:
        store.open()
        store.append([event(1), event(2)], START_US)
        store.tend(idle=True)
        store.append([event(3)], START_US)
        assert store.sweep({"a": 2})["a"].first_seq == 3
        assert store.sweep({"a": 3})["a"].first_seq == 0
        store.append([event(4)], START_US)
        self._is_whole(store, [event(4)])

    @pytest.mark.parametrize("seed", range(4))
    def test_removing_keeps_index_and_counts_exact(self, store: EventStore, seed: int) -> None:
        """Any mixture of sweeps, drops, compaction, appends and upkeep."""
        chance = random.Random(seed)
        store.open()
        kept: list[Row] = []
        seq = 0
        for _ in range(30):
            new = [
                event(seq + i, chance.choice("abcd"), i, key=chance.choice("xyz"))
                for i in range(1, chance.randint(2, 30))
            ]
            store.append(new, START_US + seq)
            kept += new
            seq = new[-1].seq
            if chance.random() < 0.4:
                store.tend(idle=chance.random() < 0.5)
            what = chance.choice(["sweep", "drop", "compact", "nothing"])
            if what == "sweep":
                uptos = {name: chance.randint(0, seq) for name in "abcd" if chance.random() < 0.7}
                limit = chance.randint(1, 20)
                store.sweep(uptos, limit)
                old = [row.seq for row in kept if row.seq <= uptos.get(row.topic, 0)][:limit]
            elif what == "drop":
                old = [row.seq for row in kept if chance.random() < 0.1]
                store.drop([*old, seq + 100])
            elif what == "compact":
                while store.compact("a", 7).compacted_upto != _last(kept, "a"):
                    pass
                mine = [row for row in kept if row.topic == "a"]
                newest = {key_of(row): row.seq for row in mine}
                old = [row.seq for row in mine if newest[key_of(row)] != row.seq]
            else:
                old = []
            kept = [row for row in kept if row.seq not in old]
        assert store.head() == seq
        self._is_whole(store, kept)

    @staticmethod
    def _is_whole(store: EventStore, kept: list[Row]) -> None:
        """By seq, by topic and by count, before and after it was opened again."""
        for _ in range(2):
            with reading(store) as reader:
                assert reader.page(0, 10_000) == stored(kept)
                for name in {row.topic for row in kept}:
                    mine = [row for row in kept if row.topic == name]
                    query = Query(topics=frozenset({name}), limit=10_000)
                    assert reader.select(query) == stored(mine)
            store.close()
            states = store.open().topics
            for name, state in states.items():
                mine = [row for row in kept if row.topic == name]
                assert state.count == len(mine)
                assert state.size_bytes == sum(len(row.data) for row in mine)
                assert state.first_seq == (mine[0].seq if mine else 0)
                if mine:
                    assert state.last_seq == mine[-1].seq

    # --- compaction ---------------------------------------------------------------------

    def test_compaction_keeps_the_newest_of_each_key_and_all_without_key(
        self, store: EventStore
    ) -> None:
        store.open()
        keys = ["x", "y", None, "x", "x", None, "y", "z"]
        rows = [event(i, "a", i, **({"key": k} if k else {})) for i, k in enumerate(keys, 1)]
        store.append([*rows, event(9, "other", key="x")], START_US)
        uptos = [store.compact("a", limit=3).compacted_upto for _ in range(4)]
        assert uptos == [3, 6, 8, 8]
        left = [row for row in rows if row.seq in (3, 5, 6, 7, 8)]
        self._is_whole(store, [*left, event(9, "other", key="x")])
        states = store.open().topics
        assert (states["a"].trimmed_upto, states["a"].compacted_upto) == (0, 8)
        store.append([event(10, "a", key="z")], START_US)
        removed = store.compact("a")
        assert (removed.events, removed.upto, removed.first_seq) == (1, 8, 3)
        assert store.compact("never").events == 0

    def test_compaction_knows_what_was_swept_or_dropped_meanwhile(self, store: EventStore) -> None:
        store.open()
        store.append([event(i, "a", key="xyz"[i % 3]) for i in range(1, 7)], START_US)
        store.compact("a")
        store.drop([6])
        store.sweep({"a": 4})
        store.append([event(7, "a", key="x"), event(8, "a", key="y")], START_US)
        assert store.compact("a").events == 0
        store.append([event(9, "a", key="z"), event(10, "a", key="z")], START_US)
        assert store.compact("a").events == 2
        self._is_whole(store, [event(i, "a", key=k) for i, k in ((7, "x"), (8, "y"), (10, "z"))])

    # --- forgetting ---------------------------------------------------------------------

    def test_drop_removes_events_wherever_they_stand_and_is_no_trim(
        self, store: EventStore
    ) -> None:
        store.open()
        rows = [event(i, "ab"[i % 2], i, given=f"p\x1f{i}") for i in range(1, 11)]
        store.append(rows, START_US)
        removed = store.drop([3, 10, 10, 4, 99])
        assert {name: one.events for name, one in removed.items()} == {"a": 2, "b": 1}
        assert removed["a"].last_seq == 8
        assert store.drop([3]) == {}
        assert store.find_given([("b", "p\x1f3")]) == {}
        left = [row for row in rows if row.seq not in (3, 4, 10)]
        self._is_whole(store, left)
        assert {state.trimmed_upto for state in store.open().topics.values()} == {0}
        assert store.head() == 10
        for _ in range(100):
            if store.scrub():
                break
        assert store.scrub()
        self._is_whole(store, left)

    def test_an_id_finds_its_events(self, store: EventStore) -> None:
        store.open()
        rows = [event(i, f"t{i % 3}", id=f"id{i // 2}") for i in range(1, 9)]
        store.append(rows, START_US)
        store.tend(idle=True)
        few, many = frozenset({"t0", "t1"}), frozenset({"t0", "t1", "t2"})
        with reading(store) as reader:
            assert reader.select(Query(id="id2")) == stored(rows[3:5])
            assert reader.select(Query(id="id2", topics=few)) == stored(rows[3:4])
            assert reader.select(Query(id="id2", topics=many)) == stored(rows[3:5])
            assert reader.select(Query(id="never")) == []

    # --- topics and times ---------------------------------------------------------------

    def test_only_empty_topics_are_dropped_and_may_come_again(self, store: EventStore) -> None:
        store.open()
        store.append([event(1, "a"), event(2, "b"), event(3, "c")], START_US)
        with reading(store) as reader:
            assert [row.topic for row in reader.page(0, 10)] == ["a", "b", "c"]
            store.sweep({"b": 2, "c": 3})
            assert reader.select(Query(topics=frozenset({"b", "c"}))) == []
            assert sorted(store.drop_topics(["a", "c", "never"])) == ["c"]
            store.append([event(4, "d")], START_US)
            store.append([event(5, "c")], START_US)
            assert reader.page(3, 10) == stored([event(4, "d"), event(5, "c")])
            assert reader.select(Query(topics=frozenset({"c"}))) == stored([event(5, "c")])
            assert reader.select(Query(topics=frozenset({"d"}))) == stored([event(4, "d")])
        store.close()
        opened = store.open()
        states = opened.topics
        assert sorted(states) == ["a", "b", "c", "d"]
        assert (states["c"].count, states["c"].trimmed_upto) == (1, 0)
        assert opened.gone_upto == 3
        store.drop_topics(["b"])
        store.close()
        assert store.open().gone_upto == 3, "b was trimmed up to 2 only"

    def test_seq_at_is_the_last_seq_of_a_time(self, store: EventStore) -> None:
        """Whether or not upkeep left a mark; and of what was trimmed, one a day."""
        store.open()
        second, day = 1_000_000, 86_400_000_000
        times = [START_US + i * second // 4 for i in range(40)] + [START_US + 3 * day]
        with reading(store) as reader:
            assert reader.seq_at(START_US * 2) == 0
            for seq, ts in enumerate(times, 1):
                store.append([event(seq)], ts)
                if seq % 7 == 0:
                    store.tend(idle=True)
            for seq, ts in enumerate(times, 1):
                assert reader.seq_at(ts) == seq
                assert reader.seq_at(ts - 1) == seq - 1
            store.tend(idle=True)
            store.sweep({"a": 41})
            store.append([event(42)], START_US + 4 * day)
            assert reader.seq_at(START_US + 5 * day) == 42
            assert reader.seq_at(START_US + 3 * day) == 41
            assert 0 < reader.seq_at(START_US + day) <= 40

    # --- durable subscriptions ----------------------------------------------------------

    def test_what_is_kept_of_subscriptions_is_there_after_close_and_open(
        self, store: EventStore
    ) -> None:
        assert store.open().subs == {}
        store.save_subs({"a": b'{"n":1}', "b": b'{"text":"\xc3\xa9 \\u0000"}'})
        store.save_subs({"a": b'{"n":2}', "c": b"{}"})
        store.save_subs({"c": None, "never": None})
        store.save_subs({})
        store.close()
        assert store.open().subs == {"a": b'{"n":2}', "b": b'{"text":"\xc3\xa9 \\u0000"}'}
        store.close()
        with pytest.raises(StoreUnavailable):
            store.save_subs({"a": b"{}"})

    def test_the_size_grows_with_the_data(self, store: EventStore) -> None:
        store.open()
        before = store.size_bytes()
        store.append([event(i, "a", "x" * 10_000) for i in range(1, 51)], START_US)
        assert store.size_bytes() >= before + 500_000
