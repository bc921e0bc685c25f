"""The client's session, outbox and subscriptions against a model server that loses connections."""

from __future__ import annotations

import json
from collections import deque
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from antiphon.client.following import Following
from antiphon.client.frames import Frame
from antiphon.client.outbox import Answer, Entry, Outbox
from antiphon.client.session import Session, State
from antiphon.errors import (
    BadRequest,
    BusClosed,
    BusError,
    Forbidden,
    LeaseHeld,
    Overloaded,
    Unauthorized,
)
from antiphon.ids import Cursor
from antiphon.messages import Event, Published

from .model import Server, Wire, encoded

decode = msgspec.json.Decoder(Frame).decode
MOST_EVENTS = 12
MOST_BYTES = 2000


class Lives(RuleBasedStateMachine):
    """One client, any number of connections, one log."""

    def __init__(self) -> None:
        super().__init__()
        self.server = Server()
        self.now = 0.0
        self.outbox = Outbox(most_events=MOST_EVENTS, most_bytes=MOST_BYTES)
        self.session = Session("token", self.outbox, news=lambda following: None)
        self.wire: Wire | None = None
        self.gone: deque[Wire] = deque()
        self.accepted: list[str] = []
        self.answers: dict[str, list[Answer]] = {}
        self.entries: dict[str, Entry] = {}
        self.live: dict[Following, list[int]] = {}
        self.durable: dict[Following, list[int]] = {}
        self.begun_at: dict[Following, int] = {}
        self.handled: set[int] = set()
        self.sids = 0
        self.holds = 0
        self.lacked_room = False

    # --- what a program does ----------------------------------------------------------------

    @rule(size=st.integers(0, 700))
    def publish(self, size: int) -> None:
        name = f"id{len(self.answers)}"
        data = json.dumps({"id": name, "topic": "t", "payload": "x" * size}).encode()
        if not self.outbox.has_room(len(data)):
            assert len(self.outbox) == MOST_EVENTS or self.outbox.size_bytes + len(data) > 2000
            return
        self.accepted.append(name)
        self.answers[name] = []
        entry = Entry(name, data, "synced", self.answers[name].append)
        self.outbox.put(entry)
        self.entries[name] = entry

    @precondition(lambda self: any(not entry.sent for entry in self.entries.values()))
    @rule(data=st.data())
    def take_back(self, data: st.DataObject) -> None:
        unsent = [name for name in self.entries if not self.entries[name].sent]
        name = data.draw(st.sampled_from(unsent))
        assert self.outbox.take_back(self.entries.pop(name))
        self.accepted.remove(name)

    @precondition(lambda self: len(self.live) < 4)
    @rule(window=st.sampled_from([1, 2, 5, 1000]), earliest=st.booleans())
    def follow(self, window: int, earliest: bool) -> None:
        self.sids += 1
        start = "earliest" if earliest else "now"
        following = Following(f"s{self.sids}", ("*",), start=start, window=window)
        self.live[following] = []
        self.session.follow(following)

    @precondition(lambda self: not self.durable)
    @rule()
    def hold(self) -> None:
        self.sids += 1
        following = Following(f"s{self.sids}", ("*",), durable="d", start="earliest")
        following.was_cut = self.holds > 0  # as a program that tries until it is free
        self.holds += 1
        self.durable[following] = []
        self.session.follow(following)

    @precondition(lambda self: self.live or self.durable)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        following = data.draw(st.sampled_from([*self.live, *self.durable]))
        self.session.leave(following)
        self.live.pop(following, None)
        self.durable.pop(following, None)

    @precondition(lambda self: self.live or self.durable)
    @rule(data=st.data(), most=st.integers(1, 8))
    def read(self, data: st.DataObject, most: int) -> None:
        self.read_from(data.draw(st.sampled_from([*self.live, *self.durable])), most)

    def read_from(self, following: Following, most: int) -> None:
        for _ in range(most):
            self.read_one(following)

    def read_one(self, following: Following) -> bool:
        last = following._last
        self.session.say(following.handled())
        if following in self.durable and last is not None:
            self.handled.add(last.event.seq or 0)
        found = following.next()
        assert not isinstance(found, BusError), found
        if found is not None:
            self.check(following, found)
        return found is not None

    def check(self, following: Following, event: Event) -> None:
        assert self.server.log[(event.seq or 0) - 1] == event.id
        if (seen := self.live.get(following)) is not None:
            before = seen[-1] if seen else self.begun_at[following]
            assert event.seq == before + 1, "contiguous, once, in order, from where it began"
            seen.append(event.seq or 0)
            assert following.cursor == f"e1.{event.seq}"

    @precondition(lambda self: self.durable)
    @rule()
    def fail(self) -> None:
        (following,) = self.durable
        self.session.say(following.failed(0, "no"))

    # --- the connection ---------------------------------------------------------------------

    @precondition(lambda self: self.wire is None)
    @rule(greet=st.booleans())
    def connect(self, greet: bool = False) -> None:
        self.wire = Wire()
        self.session.connected()
        if greet:
            self.move()
            self.move()

    @precondition(lambda self: self.wire)
    @rule()
    def move(self) -> None:
        """All that is on its way arrives."""
        assert self.wire is not None
        self.write()
        self.serve(1000)
        for sid in [*self.wire.subs, *self.wire.holds]:
            self.server.push(self.wire, sid, 3)
        self.receive(1000)

    @precondition(lambda self: self.wire)
    @rule()
    def write(self) -> None:
        assert self.wire is not None
        self.wire.up.extend(json.loads(frame) for frame in self.session.frames(self.now))

    @precondition(lambda self: self.wire and self.wire.up)
    @rule(most=st.integers(1, 10))
    def serve(self, most: int) -> None:
        assert self.wire is not None
        for _ in range(min(most, len(self.wire.up))):
            self.server.take(self.wire)

    @precondition(lambda self: self.wire and (self.wire.subs or self.wire.holds))
    @rule(data=st.data(), most=st.integers(1, 8))
    def push(self, data: st.DataObject, most: int) -> None:
        assert self.wire is not None
        sid = data.draw(st.sampled_from(sorted([*self.wire.subs, *self.wire.holds])))
        self.server.push(self.wire, sid, most)

    @precondition(lambda self: self.wire and self.wire.down)
    @rule(most=st.integers(1, 10))
    def receive(self, most: int) -> None:
        assert self.wire is not None
        for _ in range(min(most, len(self.wire.down))):
            self.session.receive(decode(encoded(self.wire.down.popleft())), self.now)
        for following in self.live:
            if following.has_begun and following not in self.begun_at:
                assert following.cursor is not None
                self.begun_at[following] = Cursor.parse(following.cursor).seq

    @precondition(lambda self: self.wire)
    @rule(taken=st.integers(0, 5))
    def lose(self, taken: int) -> None:
        """Some of what was sent is still read; nothing comes back."""
        assert self.wire is not None
        for _ in range(min(taken, len(self.wire.up))):
            self.server.take(self.wire)
        self.gone.append(self.wire)
        self.wire = None
        self.session.lost(1006, "")

    @precondition(lambda self: self.gone)
    @rule()
    def notice(self) -> None:
        self.server.notice_loss(self.gone.popleft())

    @precondition(lambda self: self.wire and self.wire.holds)
    @rule()
    def end_lease(self) -> None:
        assert self.wire is not None
        self.server.end_lease(self.wire, next(iter(self.wire.holds)))

    @rule(room=st.booleans())
    def room(self, room: bool) -> None:
        self.server.has_room = room
        self.lacked_room |= not room

    @rule(seconds=st.sampled_from([0.05, 0.3, 2.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    # --- what holds -------------------------------------------------------------------------

    @invariant()
    def bounds_hold(self) -> None:
        assert len(self.outbox) <= MOST_EVENTS
        assert self.outbox.size_bytes <= MOST_BYTES
        waiting = [name for name in self.accepted if not self.answers[name]]
        assert len(self.outbox) == len(waiting)
        assert all(len(found) <= 1 for found in self.answers.values())

    def teardown(self) -> None:
        """Given a good connection and time, everything comes to its end."""
        self.room(True)
        while self.gone:
            self.notice()
        if self.wire is None:
            self.connect()
        quiet = 0
        while quiet < 3:
            quiet = 0 if self.step() else quiet + 1
            self.now += 1.1
        for name in self.accepted:
            (answer,) = self.answers[name]
            assert isinstance(answer, Published)
            assert self.server.seqs[name] == answer.seq
        assert sorted(self.server.log) == sorted(self.accepted), "each stored once"
        if not self.lacked_room:
            assert self.server.log == self.accepted, "in order"
        for following, seen in self.live.items():
            assert following.ended is None
            begun = self.begun_at[following]
            assert seen == list(range(begun + 1, len(self.server.log) + 1)), "to the end of the log"
        if self.durable:
            assert self.server.settled["d"] == set(range(1, len(self.server.log) + 1))
            assert self.server.settled["d"] <= self.handled

    def step(self) -> bool:
        """Move everything that can be moved; whether anything was."""
        assert self.wire is not None
        moved = False
        self.write()
        while self.wire.up:
            self.server.take(self.wire)
            moved = True
        for sid in [*self.wire.subs, *self.wire.holds]:
            moved |= self.server.push(self.wire, sid, 100)
        while self.wire.down:
            self.receive(1)
            moved = True
        for following in [*self.live, *self.durable]:
            moved |= self.read_one(following)
        return moved


def explore(examples: int, steps: int, *, same: bool) -> None:
    run_state_machine_as_test(
        Lives,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=same,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_whatever_happens_to_connections_all_is_stored_once_and_read_in_order() -> None:
    explore(60, 40, same=True)


def play(seed: int, steps: int) -> None:
    """A life by dice, longer than Hypothesis makes them."""
    dice = Random(seed)
    life = Lives()
    while steps:
        steps -= 1
        match dice.randrange(14):
            case 0 | 1 | 2:
                life.publish(dice.choice([0, 0, 0, 700]))
            case 3 if len(life.live) < 3:
                life.follow(dice.choice([1, 2, 5, 1000]), dice.random() < 0.5)
            case 4 if not life.durable:
                life.hold()
            case 5 | 6 if life.live or life.durable:
                life.read_from(dice.choice([*life.live, *life.durable]), dice.randint(1, 8))
            case 7 if life.wire is None:
                life.connect(dice.random() < 0.8)
            case 8 if life.wire:
                life.write()
            case 9 | 10 if life.wire and life.wire.up:
                life.serve(dice.randint(1, 10))
            case 11 if life.wire:
                life.move()
            case 12 if life.wire and life.wire.down:
                life.receive(dice.randint(1, 10))
            case 13 if life.wire and dice.random() < 0.4:
                life.lose(dice.randint(0, 3))
                if dice.random() < 0.8:
                    life.notice()
        life.bounds_hold()
    life.teardown()


def test_lives_by_dice_come_to_a_good_end() -> None:
    for seed in range(60):
        play(seed, 150)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_in_many_more_lives_all_is_stored_once_and_read_in_order() -> None:
    explore(1000, 80, same=False)
    for seed in range(1000, 2500):
        play(seed, 300)


# --- single moments --------------------------------------------------------------------------


class Talk:
    """A session with a connection; frames as dicts."""

    def __init__(self) -> None:
        self.news: list[Following] = []
        self.outbox = Outbox()
        self.session = Session("token", self.outbox, news=self.news.append)

    def up(self) -> None:
        self.session.connected()
        assert self.sent() == [{"op": "hello", "v": 1, "token": "token"}]
        limits = dict.fromkeys(
            ("frame_bytes", "event_bytes", "subscriptions", "patterns", "publish_events", "window"),
            1,
        )
        self.take(op="welcome", conn="c", epoch="e1", head=0, limits=limits, ping_ms=1000)

    def sent(self, now: float = 0.0) -> list[dict[str, Any]]:
        return [json.loads(frame) for frame in self.session.frames(now)]

    def take(self, now: float = 0.0, **frame: Any) -> None:
        self.session.receive(decode(encoded(frame)), now)

    def put(self, name: str) -> list[Answer]:
        answers: list[Answer] = []
        self.outbox.put(Entry(name, b'{"id":"%s"}' % name.encode(), "synced", answers.append))
        return answers


@pytest.fixture
def talk() -> Talk:
    return Talk()


def test_nothing_but_hello_is_sent_before_welcome(talk: Talk) -> None:
    talk.put("a")
    talk.session.follow(Following("s1", ("*",)))
    talk.up()
    assert [frame["op"] for frame in talk.sent()] == ["sub", "pub"]


def test_a_ping_is_answered_and_says_how_long_silence_may_last(talk: Talk) -> None:
    talk.up()
    assert talk.session.silence_s == 11.0
    talk.take(op="ping")
    assert talk.sent() == [{"op": "pong"}]


@pytest.mark.parametrize("code", [4501, 4502])
def test_a_token_that_is_not_known_any_more_ends_everything(talk: Talk, code: int) -> None:
    talk.up()
    answers, following = talk.put("a"), Following("s1", ("*",))
    talk.session.follow(following)
    talk.sent()
    talk.session.lost(code, "the token was revoked")
    assert talk.session.state is State.ENDED
    assert [str(answer) for answer in answers] == ["the token was revoked"]
    assert isinstance(answers[0], Unauthorized)
    assert isinstance(following.next(), Unauthorized)
    assert following in talk.news


@pytest.mark.parametrize("code", [1006, 1012, 4000, 4003, 4009])
def test_any_other_end_of_a_connection_forgets_nothing(talk: Talk, code: int) -> None:
    talk.up()
    answers = talk.put("a")
    (first,) = talk.sent()
    talk.session.lost(code, "")
    talk.up()
    (second,) = talk.sent()
    assert second["events"] == first["events"]
    assert second["id"] != first["id"]
    assert not answers


def test_a_late_answer_of_an_old_connection_answers_nothing_new(talk: Talk) -> None:
    talk.up()
    answers = talk.put("a")
    (first,) = talk.sent()
    talk.session.lost(1006, "")
    talk.up()
    talk.sent()
    talk.take(op="ok", id=first["id"], results=[{"id": "a", "seq": 1}])
    assert not answers


def test_a_pattern_that_is_refused_ends_its_subscription_alone(talk: Talk) -> None:
    talk.up()
    one, two = Following("s1", ("a",)), Following("s2", ("b",))
    talk.session.follow(one)
    talk.session.follow(two)
    first, second = talk.sent()
    talk.take(op="err", id=first["id"], code="forbidden", message="not yours")
    talk.take(op="ok", id=second["id"], pos="e1.7")
    assert isinstance(one.next(), Forbidden)
    assert two.next() is None
    assert two.cursor == "e1.7"


def test_a_durable_that_another_holds_is_refused_at_first_and_awaited_later(talk: Talk) -> None:
    talk.up()
    late = Following("s1", ("*",), durable="d")
    talk.session.follow(late)
    (frame,) = talk.sent()
    talk.take(op="err", id=frame["id"], code="lease_held", message="held")
    assert isinstance(late.next(), LeaseHeld)

    own = Following("s2", ("*",), durable="e")
    talk.session.follow(own)
    (frame,) = talk.sent()
    talk.take(op="ok", id=frame["id"], pos="e1.0")
    talk.take(10.0, op="ended", sid="s2", code="lease_lost", message="gone")
    assert own.next() is None
    assert talk.session.deadline == 11.0
    assert talk.sent(10.9) == []
    (again,) = talk.sent(11.0)
    assert (again["op"], again["sid"]) == ("sub", "s2")


def test_a_durable_that_its_own_lost_connection_holds_is_awaited(talk: Talk) -> None:
    talk.up()
    own = Following("s1", ("*",), durable="d", start="earliest")
    talk.session.follow(own)
    talk.sent()
    talk.session.lost(1006, "")
    talk.up()
    (frame,) = talk.sent()
    assert frame["from"] == "earliest"
    talk.take(op="err", id=frame["id"], code="lease_held", message="held")
    assert own.next() is None
    (again,) = talk.sent(1.0)
    assert (again["op"], again["from"]) == ("sub", "earliest")


def test_what_was_left_is_not_asked_for_again(talk: Talk) -> None:
    talk.up()
    own = Following("s1", ("*",), durable="d")
    talk.session.follow(own)
    (frame,) = talk.sent()
    talk.take(op="ok", id=frame["id"], pos="e1.0")
    talk.session.lost(1006, "")
    talk.up()
    (frame,) = talk.sent()
    talk.session.leave(own)
    talk.take(op="err", id=frame["id"], code="lease_held", message="held")
    assert [frame["op"] for frame in talk.sent(100.0)] == ["unsub"]
    assert talk.session.deadline is None


def test_a_subscription_that_fits_into_no_frame_is_refused_here(talk: Talk) -> None:
    following = Following("s1", ("x" * 2_000_000,))
    talk.session.follow(following)
    talk.up()
    assert talk.sent() == []
    assert isinstance(following.next(), BadRequest)


def test_another_token_is_said_on_the_open_connection_or_with_the_next_hello(talk: Talk) -> None:
    told: list[BusError | None] = []
    talk.up()
    talk.session.refresh("other", told.append)
    (frame,) = talk.sent()
    assert (frame["op"], frame["token"]) == ("refresh", "other")
    talk.take(op="err", id=frame["id"], code="forbidden", message="somebody else's")
    assert isinstance(told.pop(), Forbidden)
    talk.session.refresh("third", told.append)
    talk.sent()
    talk.session.lost(1006, "")
    assert told == [None]
    assert talk.session.token == "third"


def test_everybody_who_waits_is_told_of_the_end(talk: Talk) -> None:
    answers, following = talk.put("a"), Following("s1", ("*",))
    talk.session.follow(following)
    talk.session.end(BusClosed("closed"))
    assert isinstance(answers[0], BusClosed)
    assert isinstance(following.next(), BusClosed)


def test_a_server_without_room_is_asked_again_when_it_said(talk: Talk) -> None:
    talk.up()
    answers = talk.put("a")
    (frame,) = talk.sent()
    talk.take(5.0, op="err", id=frame["id"], code="overloaded", message="no", retry_after_ms=2000)
    assert not answers
    assert talk.session.deadline == 7.0
    assert talk.sent(6.9) == []
    (again,) = talk.sent(7.0)
    refused = {"code": "invalid_topic", "message": "no topic"}
    talk.take(op="ok", id=again["id"], results=[{"id": "a", "error": refused}])
    assert [answer.code for answer in answers if isinstance(answer, BusError)] == ["invalid_topic"]
    assert not any(isinstance(answer, Overloaded) for answer in answers)
