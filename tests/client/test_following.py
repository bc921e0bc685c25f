"""One subscription over its connections: where it goes on, what it says it has handled."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from antiphon.client.following import Following
from antiphon.client.frames import RawEv
from antiphon.errors import BusError, Forbidden, SubscriptionGap, SubscriptionReset
from antiphon.messages import Event, Gap, Lag, Reset

from .model import TIME


def ev(*seqs: int | None, at: int | None = None, **more: str) -> RawEv:
    said = {"topic": "t", "type": "x", "source": "s", "principal": "p", "time": TIME}
    events = [{"seq": seq, "id": f"i{seq}", "payload": None, **said, **more} for seq in seqs]
    raw = [msgspec.Raw(json.dumps(event).encode()) for event in events]
    return RawEv(sid="s1", events=raw, cursor=f"e1.{seqs[-1] if at is None else at}")


def sub(following: Following) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(following.sub(1))
    return found


def said(frame: bytes | None) -> dict[str, Any] | None:
    return None if frame is None else json.loads(frame)


def seq_of(found: Event | BusError | None) -> int | None:
    assert isinstance(found, Event), found
    return found.seq


def test_a_new_one_starts_where_it_was_told_and_goes_on_from_what_it_was_given() -> None:
    following = Following("s1", ("a", "b"), start="last", window=10, narrow=True)
    first = sub(following)
    assert (first["patterns"], first["from"], first["window"]) == (["a", "b"], "last", 10)
    following.opened(None)
    following.events(ev(1, 2))
    following.events(ev(3))
    assert seq_of(following.next()) == 1
    again = sub(following)
    assert (again["after"], again.get("from"), again["narrow"]) == ("e1.2", None, True)
    assert seq_of(following.next()) == 2
    assert following.next() is None, "what was not begun comes again"


def test_now_is_when_it_was_first_opened() -> None:
    following = Following("s1", ("*",))
    sub(following)
    following.opened("e1.7")
    assert sub(following)["after"] == "e1.7"
    following.opened("e1.7")
    following.pos("e1.9")
    assert sub(following)["after"] == "e1.9"


def test_a_bare_seq_becomes_a_cursor() -> None:
    following = Following("s1", ("*",), after=5)
    assert sub(following)["after"] == 5
    following.opened("e1.5")
    assert sub(following)["after"] == "e1.5"


def test_a_position_does_not_pass_what_waits_to_be_read() -> None:
    following = Following("s1", ("*",), after="e1.0")
    sub(following)
    following.events(ev(1))
    following.pos("e1.4")
    assert sub(following)["after"] == "e1.0"


def test_the_cursor_is_after_the_last_event_that_was_handed_out() -> None:
    following = Following("s1", ("*",), after="e1.0")
    sub(following)
    assert following.cursor == "e1.0"
    following.events(ev(3, 5))
    following.events(ev(None, at=6))
    assert following.cursor == "e1.0"
    cursors = [(seq_of(following.next()), following.cursor) for _ in range(3)]
    assert cursors == [(3, "e1.3"), (5, "e1.5"), (None, "e1.6")]


@pytest.mark.parametrize(("window", "every"), [(1, 1), (4, 1), (40, 10)])
def test_it_says_what_was_handled_well_before_the_window_is_full(window: int, every: int) -> None:
    following = Following("s1", ("*",), window=window)
    sub(following)
    following.events(ev(*range(1, 41)))
    acked = []
    for seq in range(1, 41):
        following.next()
        if (frame := said(following.handled())) is not None:
            assert frame == {"op": "ack", "sid": "s1", "seq": seq}
            acked.append(seq)
        assert following.handled() is None, "once for each"
    assert acked == list(range(every, 41, every))


def test_what_came_by_an_old_connection_is_not_acknowledged_on_a_new_one() -> None:
    for options in ({"durable": "d"}, {"window": 1}):
        following = Following("s1", ("*",), **options)
        sub(following)
        following.events(ev(1))
        following.next()
        sub(following)
        assert following.handled() is None


def test_each_event_of_a_durable_one_is_acknowledged_or_given_back() -> None:
    following = Following("s1", (), durable="d", start="earliest")
    assert sub(following)["durable"] == "d"
    following.opened("e1.0")
    following.events(ev(1, 2, 3))
    following.next()
    assert said(following.handled()) == {"op": "ack", "sid": "s1", "seq": 1}
    following.next()
    failed = said(following.failed(1.5, "x" * 5000))
    assert failed == {"op": "nack", "sid": "s1", "seq": 2, "delay_ms": 1500, "reason": "x" * 1000}
    assert following.handled() is None
    assert following.cursor is None, "the server keeps the place"
    again = sub(following)
    assert (again.get("after"), again.get("from")) == (None, None)
    assert following.next() is None, "what was in hand went back"


def test_what_is_behind_a_failed_event_in_its_lane_waits_until_it_came_again() -> None:
    following = Following("s1", (), durable="d")
    sub(following)
    following.events(ev(1, 2))
    following.events(ev(3))
    following.events(ev(4, 5, key="other"))
    assert seq_of(following.next()) == 1
    assert following.failed(0, "no") is not None
    following.events(ev(1, 2, 3))
    assert [seq_of(following.next()) for _ in range(5)] == [4, 5, 1, 2, 3]


def test_what_crossed_a_failure_in_its_lane_is_left_alone() -> None:
    """It is not in hand any more: the server sends it again behind the failed one."""
    following = Following("s1", (), durable="d")
    sub(following)
    following.events(ev(1))
    following.next()
    assert said(following.failed(0, "no", request=7))["id"] == 7
    following.events(ev(2))
    following.events(ev(3, key="other"))
    following.given_back(7)
    following.events(ev(1, 2))
    assert [seq_of(following.next()) for _ in range(3)] == [3, 1, 2]


def test_a_failure_that_the_connection_took_along_holds_nothing_up() -> None:
    following = Following("s1", (), durable="d")
    sub(following)
    following.events(ev(1))
    following.next()
    following.failed(0, "no", request=7)
    sub(following)
    following.events(ev(1, 2))
    assert [seq_of(following.next()) for _ in range(2)] == [1, 2]


def test_a_live_one_gives_nothing_back() -> None:
    following = Following("s1", ("*",))
    sub(following)
    following.events(ev(1))
    following.next()
    assert following.failed(None, "no") is None


def test_what_is_missing_is_said_in_its_place_and_it_goes_on_behind() -> None:
    following = Following("s1", ("*",), after="e1.0")
    sub(following)
    following.events(ev(1))
    following.gap(Gap(sid="s1", first=2, last=8, cursor="e1.8"))
    following.events(ev(9))
    assert seq_of(following.next()) == 1
    gap = following.next()
    assert isinstance(gap, SubscriptionGap)
    assert (gap.first, gap.last, following.cursor) == (2, 8, "e1.8")
    assert seq_of(following.next()) == 9
    following.reset(Reset(sid="s1", message="another history", cursor="e2.4"))
    assert isinstance(following.next(), SubscriptionReset)
    assert sub(following)["after"] == "e2.4"


def test_a_gap_that_was_not_told_yet_is_told_by_the_next_connection() -> None:
    following = Following("s1", ("*",), after="e1.0")
    sub(following)
    following.gap(Gap(sid="s1", first=1, last=8, cursor="e1.8"))
    assert sub(following)["after"] == "e1.0"
    assert following.next() is None


def test_what_was_dropped_is_counted_and_the_end_comes_last() -> None:
    following = Following("s1", ("*",))
    sub(following)
    following.lag(Lag(sid="s1", dropped=3))
    following.lag(Lag(sid="s1", dropped=4))
    assert following.dropped == 7
    following.events(ev(1))
    following.end(Forbidden("no more"))
    assert seq_of(following.next()) == 1
    assert isinstance(following.next(), Forbidden)
    assert isinstance(following.next(), Forbidden)
