"""The session's rules, without a socket: frames and time in, commands out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.errors import LeaseHeld, Overloaded, Unauthorized
from antiphon.gateway.closing import CloseCode
from antiphon.gateway.session import (
    Authenticate,
    Close,
    Command,
    End,
    Fail,
    Hold,
    Open,
    Publish,
    Renew,
    Resume,
    Send,
    Session,
    Settle,
    State,
)
from antiphon.messages import Bye, Err, Ok, Ping, Welcome


def frame(op: str, **fields: Any) -> str:
    return json.dumps({"op": op, **fields})


def sub(sid: str = "a", request: int = 1, **fields: Any) -> str:
    return frame("sub", id=request, sid=sid, patterns=["*"], **fields)


def opened_session() -> Session:
    session = Session("gateway/sessions/c1", 0.0)
    session.receive(frame("hello", v=1, token="t"))
    session.admitted("epoch", 10, 0.0)
    return session


def subscribe(session: Session, sid: str = "a", *, at: int = 10, window: int = 1000) -> None:
    (ask,) = session.receive(sub(sid, window=window))
    assert isinstance(ask, Open)
    session.opened(ask, f"epoch.{at}", at, ["*"])


def only_err(commands: list[Command]) -> Err:
    (command,) = commands
    assert isinstance(command, Send)
    assert isinstance(command.frame, Err)
    return command.frame


def ended_by(commands: list[Command]) -> CloseCode:
    goodbye, end = commands[-2:]
    assert isinstance(goodbye, Send)
    assert isinstance(goodbye.frame, Bye)
    assert isinstance(end, End)
    assert goodbye.frame.code == end.code
    assert goodbye.frame.retry is (end.code < 4500)
    return end.code


# --- the handshake ------------------------------------------------------------------------


def test_hello_asks_for_the_token_and_is_answered_by_welcome() -> None:
    session = Session("gateway/sessions/c1", 0.0)
    assert session.receive(frame("hello", v=1, token="t")) == [Authenticate("t")]
    (command,) = session.admitted("epoch", 10, 1.0)
    assert isinstance(command, Send)
    welcome = command.frame
    assert isinstance(welcome, Welcome)
    assert (welcome.conn, welcome.epoch, welcome.head) == ("gateway/sessions/c1", "epoch", 10)
    assert welcome.ping_ms == 25_000


def test_a_wrong_token_is_told_so_and_not_to_come_back() -> None:
    session = Session("c", 0.0)
    session.receive(frame("hello", v=1, token="t"))
    commands = session.denied(Unauthorized("this token is not known"))
    assert isinstance(commands[0], Send)
    assert isinstance(commands[0].frame, Err)
    assert commands[0].frame.code == "unauthorized"
    assert ended_by(commands) is CloseCode.UNAUTHORIZED


def test_too_many_connections_of_one_token_are_told_to_come_back() -> None:
    session = Session("c", 0.0)
    session.receive(frame("hello", v=1, token="t"))
    commands = session.denied(Overloaded("ann has 64 connections", limit=64))
    assert ended_by(commands) is CloseCode.CROWDED
    assert CloseCode.CROWDED.retry
    assert not CloseCode.TOKEN_ENDED.retry


def test_refresh_asks_for_the_token_and_is_answered_by_its_id() -> None:
    session = opened_session()
    (ask,) = session.receive(frame("refresh", id=7, token="t2"))
    assert ask == Renew(7, "t2")
    assert session.renewed(7) == [Send(Ok(id=7))]
    error = only_err(session.refused(7, Unauthorized("this token is not known")))
    assert (error.id, error.code) == (7, "unauthorized")
    early = Session("c", 0.0)
    assert ended_by(early.receive(frame("refresh", id=7, token="t2"))) is CloseCode.BAD_HELLO


def test_a_frame_with_a_token_that_cannot_be_read_is_not_repeated() -> None:
    for bad in (frame("refresh", token="anti_secret"), frame("hello", token=7, v="anti_secret")):
        assert "secret" not in str(only_err(opened_session().receive(bad)))


@pytest.mark.parametrize(
    "first",
    ["junk", "{}", b"\x00", sub(), frame("pong"), frame("hello", v=2), frame("hello"), "[" * 100],
)
def test_a_connection_that_does_not_begin_with_hello_is_closed_for_good(first: str | bytes) -> None:
    session = Session("c", 0.0)
    assert ended_by(session.receive(first)) is CloseCode.BAD_HELLO
    assert session.receive(frame("hello", v=1)) == []


def test_a_second_hello_is_refused_and_changes_nothing() -> None:
    session = opened_session()
    assert only_err(session.receive(frame("hello", v=1, token="x"))).code == "bad_request"
    assert session.state is State.OPEN


def test_without_hello_the_connection_ends_after_ten_seconds() -> None:
    session = Session("c", 5.0)
    assert session.deadline == 15.0
    assert session.tick(14.9) == []
    assert ended_by(session.tick(15.0)) is CloseCode.HANDSHAKE_TIMEOUT


# --- liveness -----------------------------------------------------------------------------


def test_a_ping_comes_every_25_seconds_while_pongs_do() -> None:
    session = opened_session()
    for now in (25.0, 50.0, 75.0):
        assert session.tick(now - 0.1) == []
        assert session.tick(now) == [Send(Ping())]
        assert session.receive(frame("pong")) == []


def test_ten_seconds_of_silence_after_a_ping_end_the_connection_with_a_reconnect_code() -> None:
    session = opened_session()
    session.tick(25.0)
    assert session.deadline == 35.0
    assert session.tick(34.9) == []
    assert ended_by(session.tick(35.0)) is CloseCode.SILENT


def test_any_frame_after_a_ping_is_a_sign_of_life() -> None:
    session = opened_session()
    subscribe(session)
    session.tick(25.0)
    session.receive(frame("ack", sid="a", seq=1))
    assert session.tick(36.0) == []


# --- requests -----------------------------------------------------------------------------


def test_junk_is_answered_by_err_without_id_and_the_connection_goes_on() -> None:
    session = opened_session()
    for junk in ("", "nonsense", "[]", "1", '{"op":"dance"}', '{"op":"pub"}', b"\x01\x02"):
        error = only_err(session.receive(junk))
        assert error.id is None
        assert error.code == "bad_request"
    assert session.state is State.OPEN


def test_a_frame_over_one_mebibyte_is_payload_too_large() -> None:
    error = only_err(opened_session().receive("x" * (1024 * 1024 + 1)))
    assert error.code == "payload_too_large"
    assert error.limit == 1024 * 1024


@pytest.mark.parametrize("sid", ["", "a" * 65, "a.b", "a b", 'a"', "é", "a\n", "*"])
def test_a_sid_is_one_token(sid: str) -> None:
    assert only_err(opened_session().receive(sub(sid))).code == "bad_request"


def test_a_sid_in_use_is_refused_until_unsub() -> None:
    session = opened_session()
    subscribe(session, "a")
    assert only_err(session.receive(sub("a", 2))).id == 2
    assert session.receive(frame("unsub", id=3, sid="a")) == [Close("a"), Send(Ok(id=3))]
    subscribe(session, "a")


def test_unsub_of_an_unknown_sid_is_refused() -> None:
    assert only_err(opened_session().receive(frame("unsub", id=3, sid="a"))).id == 3


def test_a_connection_has_at_most_128_subscriptions() -> None:
    session = opened_session()
    for number in range(128):
        subscribe(session, f"s{number}")
    error = only_err(session.receive(sub("more")))
    assert (error.code, error.limit) == ("bad_request", 128)


@pytest.mark.parametrize("window", [0, -1, 10_001])
def test_a_window_is_from_1_to_10000(window: int) -> None:
    error = only_err(opened_session().receive(sub(window=window)))
    assert (error.code, error.limit) == ("bad_request", 10_000)


def test_a_subscription_starts_now_or_at_one_named_place() -> None:
    def start_of(**fields: Any) -> str | int:
        (ask,) = opened_session().receive(sub(**fields))
        assert isinstance(ask, Open)
        return ask.start

    assert start_of() == "now"
    assert start_of(**{"from": "earliest"}) == "earliest"
    assert start_of(after="epoch.7") == "epoch.7"
    assert start_of(after=7) == 7
    both = opened_session().receive(sub(after=7, **{"from": "now"}))
    assert only_err(both).code == "bad_request"
    assert only_err(opened_session().receive(sub(after="last"))).code == "bad_request"


@pytest.mark.parametrize("count", [0, 1001])
def test_a_pub_has_1_to_1000_events(count: int) -> None:
    events = [{"topic": "a.b"}] * count
    error = only_err(opened_session().receive(frame("pub", id=4, events=events)))
    assert (error.id, error.code, error.limit) == (4, "bad_request", 1000)


def test_a_pub_hands_its_events_on_unread() -> None:
    (ask,) = opened_session().receive(
        '{"op":"pub","id":4,"events":[{"topic":1},[]],"level":"none"}'
    )
    assert isinstance(ask, Publish)
    assert [bytes(raw) for raw in ask.events] == [b'{"topic":1}', b"[]"]
    assert ask.level == "none"


# --- acknowledgements ---------------------------------------------------------------------


def test_an_ack_from_the_future_is_an_error() -> None:
    session = opened_session()
    subscribe(session, at=10)
    assert session.receive(frame("ack", sid="a", seq=10)) == []
    error = only_err(session.receive(frame("ack", sid="a", seq=11)))
    assert (error.id, error.code) == (None, "bad_request")


def test_an_ack_backwards_or_of_a_closed_subscription_is_ignored() -> None:
    session = opened_session()
    subscribe(session)
    session.windows["a"].sent([11, 12], 12)
    session.receive(frame("ack", sid="a", seq=12))
    assert session.receive(frame("ack", sid="a", seq=11)) == []
    assert session.receive(frame("ack", sid="gone", seq=99)) == []


def test_an_ack_that_opens_a_full_window_resumes_the_subscription() -> None:
    session = opened_session()
    subscribe(session, window=2)
    window = session.windows["a"]
    window.sent([11, 12], 12)
    assert window.room == 0
    assert session.receive(frame("ack", sid="a", seq=11)) == [Resume("a")]
    assert window.room == 1
    assert session.receive(frame("ack", sid="a", seq=12)) == []


@pytest.mark.parametrize(
    "text",
    [
        '{"op":"pub","id":7,"events":7}',
        '{"op":"pub","id":7,"events":[{"a" 1}],"level":}',
        '{"op":"sub","id":7,"sid":"\\ud800","patterns":[]}',
        '{"op":"sub","patterns":[{"id":8}],"id":7}',
        '{"op":"dance","id":7}',
    ],
)
def test_a_frame_that_cannot_be_read_is_answered_by_its_id(text: str) -> None:
    error = only_err(opened_session().receive(text))
    assert (error.id, error.code) == (7, "bad_request")
    assert ("lone surrogate" in error.message) is ("ud800" in text)


@pytest.mark.parametrize("text", ['{"op":"pub","id":"x"}', '{"id":7', "[7]", '{"x":{"id":7}}', "7"])
def test_an_id_is_not_guessed(text: str) -> None:
    assert only_err(opened_session().receive(text)).id is None


def test_a_pub_with_an_event_that_is_no_json_is_done_without_it() -> None:
    text = '{"op":"pub","id":7,"level":"none","events":[{"topic":"a"},{"topic":"\\ud800"}]}'
    (ask,) = opened_session().receive(text)
    assert isinstance(ask, Publish)
    assert (ask.id, ask.level, len(ask.events)) == (7, "none", 2)


# --- anything -----------------------------------------------------------------------------

texts = st.text() | st.binary()
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
fields = st.fixed_dictionaries(
    {"op": st.sampled_from(["hello", "sub", "pub", "ack", "nack", "unsub", "pong", "ev", "x"])},
    optional={
        "id": st.integers(-3, 3) | values,
        "sid": st.sampled_from(["a", "b", "", "a.b"]) | values,
        "patterns": st.lists(st.text(max_size=5)) | values,
        "after": st.integers(-5, 20) | st.text(max_size=8),
        "from": st.sampled_from(["now", "earliest", "last", "x"]) | values,
        "window": st.integers(-1, 20) | values,
        "events": st.lists(values, max_size=3) | values,
        "level": st.sampled_from(["none", "synced", "x"]),
        "seq": st.integers(-5, 30) | values,
        "durable": st.sampled_from(["mail", "", "a.b"]) | values,
        "group": st.sampled_from(["crew", "mail"]) | values,
        "tries": st.integers(-1, 3) | values,
        "delay_ms": st.integers(-1, 3) | values,
        "v": st.sampled_from([1, 2]) | values,
        "token": st.text() | st.none(),
    },
)
anything = texts | fields.map(json.dumps) | st.floats(0, 40)


@given(st.lists(anything, max_size=40), st.booleans())
def test_nothing_a_client_sends_breaks_a_session(steps: list[Any], known: bool) -> None:
    """Whatever comes, in whatever order: commands by the rules, silence after the end."""
    session, now = Session("c", 0.0), 0.0
    waiting: list[Command] = []
    for step in [frame("hello", v=1), *steps] if known else steps:
        if isinstance(step, float):
            now += step
            waiting += session.tick(now)
        else:
            waiting += session.receive(step)
        while waiting:
            command = waiting.pop(0)
            assert session.state is not State.ENDED or isinstance(command, Send | End)
            match command:
                case Authenticate():
                    waiting += session.admitted("epoch", 10, now)
                case Renew(request):
                    waiting += session.renewed(request)
                case Open():
                    assert 1 <= command.window <= 10_000
                    waiting += session.opened(command, "epoch.10", 10, command.patterns)
                case Hold():
                    assert command.sid not in session.windows
                    if known:
                        waiting += session.held(command, "epoch.10", command.patterns, 1)
                        session.hands[command.sid].sent(10)
                    else:
                        waiting += session.declined(command, LeaseHeld("somebody's"))
                case Settle(sid, seq) | Fail(sid, seq):
                    assert seq <= session.hands[sid].last
                case Publish():
                    waiting += session.published(command, [])
                case Resume(sid):
                    assert session.windows[sid].room > 0
                case End():
                    assert session.state is State.ENDED
        if session.state is State.ENDED:
            assert session.receive(sub("z")) == []
            assert session.tick(now + 1000) == []
        assert len(session.windows) <= 128
