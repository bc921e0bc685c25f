"""The tail: each event once and in order, across lost connections."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import pytest
from tests.client.servers import Talk, frame_server, http_server

from antiphon.client import Batch, Endpoint, NoServer, Tail, TailNotice
from antiphon.errors import BusError, Forbidden, Unauthorized


def events(*seqs: int) -> list[dict[str, Any]]:
    return [{"seq": seq, "topic": "a"} for seq in seqs]


def tail_of(url: str, **more: Any) -> Tail:
    return Tail(lambda: Endpoint(url, "t"), ["a.*"], **more)


def take(tail: Tail, count: int) -> list[Any]:
    return list(itertools.islice(tail, count))


def stay(talk: Talk) -> None:
    """Hold the connection until the client leaves."""
    talk.wait_for_end()


def test_events_arrive_as_the_server_wrote_them_and_are_acknowledged_once_consumed() -> None:
    acked: list[dict[str, Any]] = []

    def script(talk: Talk) -> None:
        assert talk.welcome()["from"] == "now"
        talk.say(op="ev", sid="tail", events=events(1, 2), cursor="e1.2")
        acked.append(talk.take())
        talk.say(op="live", sid="tail")
        stay(talk)

    with frame_server(script) as url:
        tail = tail_of(url)
        first, second = take(tail, 2)
        tail.close()
    assert first == Batch([b'{"seq": 1, "topic": "a"}', b'{"seq": 2, "topic": "a"}'], "e1.2")
    assert second.kind == "live"
    assert acked == [{"op": "ack", "sid": "tail", "seq": 2}]
    assert tail.cursor == "e1.2"


def test_after_a_lost_connection_it_goes_on_after_what_was_consumed() -> None:
    resumed: list[Any] = []

    def first(talk: Talk) -> None:
        talk.welcome()
        talk.say(op="ev", sid="tail", events=events(1), cursor="e1.1")
        talk.take()
        talk.drop()

    def second(talk: Talk) -> None:
        resumed.append(talk.welcome(pos="e1.1").get("after"))
        talk.say(op="ev", sid="tail", events=events(2), cursor="e1.2")
        stay(talk)

    with frame_server(first, second) as url:
        tail = tail_of(url)
        items = take(tail, 4)
        tail.close()
    assert [type(i) for i in items] == [Batch, TailNotice, TailNotice, Batch]
    assert [i.kind for i in items[1:3]] == ["lost", "back"]
    assert resumed == ["e1.1"]


def test_now_stays_where_it_first_was_when_the_server_goes_before_any_event() -> None:
    resumed: list[Any] = []

    def first(talk: Talk) -> None:
        talk.welcome(pos="e1.5")
        talk.drop()

    def second(talk: Talk) -> None:
        resumed.append(talk.welcome(pos="e1.5").get("after"))
        talk.say(op="ev", sid="tail", events=events(6), cursor="e1.6")
        stay(talk)

    with frame_server(first, second) as url:
        tail = tail_of(url)
        take(tail, 3)
        tail.close()
    assert resumed == ["e1.5"]


def test_it_finds_the_server_again_at_another_address() -> None:
    def first(talk: Talk) -> None:
        talk.welcome()
        talk.drop()

    def second(talk: Talk) -> None:
        talk.welcome()
        talk.say(op="live", sid="tail")
        stay(talk)

    with frame_server(first) as one, frame_server(second) as two:
        urls = iter([one])
        tail = Tail(lambda: Endpoint(next(urls, two)), ["*"])
        assert [item.kind for item in take(tail, 3)] == ["lost", "back", "live"]
        tail.close()


def test_a_ping_is_answered_and_a_position_moves_the_cursor() -> None:
    answered = threading.Event()

    def script(talk: Talk) -> None:
        talk.welcome()
        talk.say(op="ping")
        assert talk.take() == {"op": "pong"}
        answered.set()
        talk.say(op="pos", sid="tail", cursor="e1.40")
        talk.say(op="lag", sid="tail", dropped=3)
        stay(talk)

    with frame_server(script) as url:
        tail = tail_of(url)
        (lag,) = take(tail, 1)
        tail.close()
    assert answered.is_set()
    assert lag == TailNotice("lag", "3 ephemeral events were dropped")
    assert tail.cursor == "e1.40"


def test_a_gap_and_a_reset_are_told_and_followed() -> None:
    def script(talk: Talk) -> None:
        talk.welcome()
        talk.say(op="gap", sid="tail", to=9, cursor="e1.9", **{"from": 3})
        talk.say(op="reset", sid="tail", message="another history", cursor="e2.1")
        stay(talk)

    with frame_server(script) as url:
        tail = tail_of(url)
        gap, reset = take(tail, 2)
        tail.close()
    assert gap == TailNotice("gap", "events 3 to 9 were trimmed")
    assert reset == TailNotice("reset", "another history")
    assert tail.cursor == "e2.1"


def test_a_refused_subscription_raises_its_error() -> None:
    def script(talk: Talk) -> None:
        talk.take()
        talk.say(op="err", id=None, code="forbidden", message="not for you")
        talk.drop(4500, "see the error")

    with frame_server(script) as url, pytest.raises(Forbidden, match="not for you"):
        take(tail_of(url), 1)


def test_a_close_code_from_4500_ends_it() -> None:
    def script(talk: Talk) -> None:
        talk.welcome()
        talk.drop(4501, "token revoked")

    with frame_server(script) as url, pytest.raises(BusError, match="token revoked"):
        take(tail_of(url), 1)


def test_a_bye_that_forbids_to_come_back_ends_it() -> None:
    def script(talk: Talk) -> None:
        talk.welcome()
        talk.say(op="bye", code=4500, reason="no more", retry=False)
        stay(talk)

    with frame_server(script) as url, pytest.raises(BusError, match="no more"):
        take(tail_of(url), 1)


def test_nobody_at_the_first_connect_is_no_server() -> None:
    with frame_server(lambda talk: None) as url:
        pass
    with pytest.raises(NoServer):
        take(tail_of(url), 1)


def test_a_door_closed_by_http_is_told_apart_from_no_server() -> None:
    with http_server(lambda *_: (401, {})) as url, pytest.raises(Unauthorized):
        take(tail_of(url), 1)


def test_a_seq_that_is_not_reached_yet_is_told() -> None:
    def script(talk: Talk) -> None:
        assert talk.welcome(pos="e1.7")["after"] == 999
        talk.say(op="live", sid="tail")
        stay(talk)

    with frame_server(script) as url:
        tail = tail_of(url, after=999)
        first, second = take(tail, 2)
        tail.close()
    assert (first.kind, second.kind) == ("ahead", "live")
    assert "999" in first.message
    assert "after 7" in first.message
