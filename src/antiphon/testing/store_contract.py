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
