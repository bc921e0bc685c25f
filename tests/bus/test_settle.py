"""What each publish of a batch gets: a seq, a duplicate's seq, a conflict, a refusal."""

from datetime import UTC, datetime

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from antiphon.bus.intake import Pending
from antiphon.bus.settle import settle, unavailable
from antiphon.bus.store import Stored
from antiphon.errors import IdConflict, StorageUnavailable
from antiphon.messages import Event

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def pending(topic: str, id: str, payload: object, *, given: bool = True) -> Pending:
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
    return Pending(topic, id, body, key, False, None)


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
