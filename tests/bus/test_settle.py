"""What each publish of a batch gets: a seq, a duplicate's seq, a conflict, a refusal."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.bus.intake import Pending
from antiphon.bus.settle import expecting, given_keys, settle, unavailable
from antiphon.bus.store import Stored
from antiphon.errors import IdConflict, StorageUnavailable, WrongExpectedSeq
from antiphon.messages import Event

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def pending(
    topic: str, id: str, payload: object, *, given: bool = True, expect: int | None = None
) -> Pending:
    event = Event(
        id=id,
        topic=topic,
        type="custom.event",
        source="/clients/ann",
        principal="ann",
        time=NOON,
        payload=payload,
    )
    body = msgspec.json.encode(event)[1:]
    key = f"ann\x1f{id}" if given else None
    return Pending(topic, id, body, key, False, False, None, expect)


def event(p: Pending) -> Event:
    return msgspec.json.decode(b"{" + p.body, type=Event)


def test_seqs_follow_the_head_and_the_row_is_the_event_as_on_the_wire() -> None:
    batch = [pending("a.b", "1", {"n": 1}), pending("a.c", "2", [None], given=False)]
    settled = settle(batch, 41, 1_700_000_000_123_456, {})
    assert [row.seq for row in settled.rows] == [42, 43]
    assert (settled.after, settled.upto) == (41, 43)
    decoded = [msgspec.json.decode(row.data, type=Event) for row in settled.rows]
    recorded = datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC)
    assert decoded == [
        msgspec.structs.replace(event(p), seq=p.seq, recorded=recorded) for p in batch
    ]
    assert settled.size_bytes == sum(len(p.body) for p in batch)
    assert settled.rows[1].given is None
    assert settled.sizes["a.b"][2:] == [42, 42]


def test_the_same_id_and_content_gets_the_first_seq() -> None:
    first = pending("a.b", "1", {"n": 1})
    stored = settle([first], 0, 1, {}).rows[0]
    again = pending("a.b", "1", {"n": 1})
    settled = settle([again], 9, 2, {("a.b", "ann\x1f1"): Stored(1, "a.b", stored.data)})
    assert settled.rows == []
    assert settled.upto == 9
    assert settled.duplicates == [(again, 1)]


def test_the_same_id_with_other_content_is_a_conflict() -> None:
    stored = settle([pending("a.b", "1", {"n": 1})], 0, 1, {}).rows[0]
    other = pending("a.b", "1", {"n": 2})
    settled = settle([other], 9, 2, {("a.b", "ann\x1f1"): Stored(1, "a.b", stored.data)})
    [(refused, error)] = settled.refused
    assert refused is other
    assert isinstance(error, IdConflict)


def is_repeat(first: object, second: object) -> bool:
    """Whether the second is a duplicate, in one batch as well as of what is stored."""
    one, two = pending("a.b", "1", first), pending("a.b", "1", second)
    together = settle([one, two], 0, 1, {})
    stored = Stored(1, "a.b", together.rows[0].data)
    later = settle([two], 9, 2, {("a.b", "ann\x1f1"): stored})
    assert bool(together.duplicates) == bool(later.duplicates)
    return bool(together.duplicates)


@pytest.mark.parametrize(
    ("first", "second"), [(1, True), (0, False), (1, 1.0), (0.0, -0.0), (1, "1"), (None, {})]
)
def test_values_that_are_written_differently_are_other_content(
    first: object, second: object
) -> None:
    assert not is_repeat(first, second)
    assert not is_repeat({"a": [first]}, {"a": [second]})
    assert is_repeat([first, second], [first, second])


def test_the_order_of_names_is_no_content() -> None:
    assert is_repeat({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1})


def test_unavailable_refuses_everything_and_moves_nothing() -> None:
    batch = [pending("a.b", "1", 1), pending("a.b", "2", 2)]
    settled = unavailable(batch, 7, "disk full", retry_after_ms=1000)
    assert (settled.after, settled.upto, settled.rows) == (7, 7, [])
    assert all(isinstance(error, StorageUnavailable) for _, error in settled.refused)
    assert len(settled.refused) == 2


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a.b", "a.c"]),
            st.sampled_from("123"),
            st.integers(0, 1),
            st.booleans(),
        ),
        max_size=30,
    )
)
def test_each_publish_gets_exactly_one_answer_and_the_first_of_an_id_wins(
    asked: list[tuple[str, str, int, bool]],
) -> None:
    batch = [pending(topic, id, payload, given=g) for topic, id, payload, g in asked]
    settled = settle(batch, 0, 1, {})
    answered = [
        *settled.stored,
        *(p for p, _ in settled.duplicates),
        *(p for p, _ in settled.refused),
    ]
    assert sorted(map(id, answered)) == sorted(map(id, batch))
    assert [row.seq for row in settled.rows] == list(range(1, len(settled.rows) + 1))
    first: dict[tuple[str, str], Pending] = {}
    for p in batch:
        if p.given is None:
            continue
        winner = first.setdefault((p.topic, p.given), p)
        if winner is p:
            assert p in settled.stored
        elif event(winner).payload == event(p).payload:
            assert (p, winner.seq) in settled.duplicates
        else:
            assert p in [q for q, _ in settled.refused]


def test_the_last_seqs_are_asked_for_only_if_something_depends_on_them() -> None:
    depends = pending("a.b", "1", 1, expect=0)
    assert settle([pending("a.b", "2", 2), depends], 0, 1, {}) is None
    assert expecting([pending("a.b", "2", 2), depends]) == [depends]
    assert given_keys([depends]) == [("a.b", "ann\x1f1")]


def test_of_two_with_the_same_expectation_in_one_batch_the_first_wins() -> None:
    first, second = (pending("a.b", id, id, given=False, expect=7) for id in "12")
    settled = settle([first, second], 9, 1, {}, {"a.b": 7})
    assert settled.stored == [first]
    [(refused, error)] = settled.refused
    assert refused is second
    assert isinstance(error, WrongExpectedSeq)
    assert error.last_seq == first.seq == 10


def test_a_duplicate_stays_one_whatever_is_expected() -> None:
    stored = settle([pending("a.b", "1", 1, expect=0)], 0, 1, {}, {}).rows[0]
    again = pending("a.b", "1", 1, expect=0)
    existing = {("a.b", "ann\x1f1"): Stored(1, "a.b", stored.data)}
    assert settle([again], 1, 2, existing, {"a.b": 1}).duplicates == [(again, 1)]


TOPICS = ("a.b", "a.c")
asked_for = st.tuples(
    st.sampled_from(TOPICS),
    st.one_of(st.none(), st.integers(0, 12)),
    st.one_of(st.none(), st.sampled_from("123")),
)


@given(st.lists(st.lists(asked_for, max_size=8), max_size=6))
def test_expectations_agree_with_a_plain_list(
    batches: list[list[tuple[str, int | None, str]]],
) -> None:
    """Batch by batch the same as one event after the other, each looked at alone."""
    log: list[tuple[str, str | None]] = []  # its index + 1 is the seq
    existing: dict[tuple[str, str], Stored] = {}
    for asked in batches:
        batch = [
            pending(topic, id or "none", 0, given=id is not None, expect=expect)
            for topic, expect, id in asked
        ]
        head = len(log)
        last_seqs = {
            name: max(at for at, kept in enumerate(log, 1) if kept[0] == name)
            for name in {kept[0] for kept in log}
        }
        settled = settle(batch, head, 1, existing, last_seqs)
        refused = {id(p): error for p, error in settled.refused}
        duplicates = {id(p): seq for p, seq in settled.duplicates}
        for p in batch:
            seqs = [at for at, kept in enumerate(log, 1) if kept == (p.topic, p.given)]
            last = max((at for at, kept in enumerate(log, 1) if kept[0] == p.topic), default=0)
            if p.given is not None and seqs:
                assert duplicates.pop(id(p)) == seqs[0]
            elif p.expect is not None and p.expect != last:
                assert refused.pop(id(p)).last_seq == last
            else:
                log.append((p.topic, p.given))
                assert p.seq == len(log)
        assert not refused
        assert not duplicates
        assert settled.upto == len(log)
        for row in settled.rows:
            if row.given is not None:
                existing[row.topic, row.given] = Stored(row.seq, row.topic, row.data)
