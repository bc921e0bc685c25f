"""Random lives of a session, compared with a model that is nothing but lists.

The machine plays the client and the world: frames of all kinds in any order, and the
answers of the bus, which come late and in any order.
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import count
from random import Random
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from antiphon.errors import DurableStopped, LeaseHeld, LeaseLost, NotFound, Unauthorized
from antiphon.gateway.closing import CloseCode
from antiphon.gateway.limits import PING_S, PONG_S
from antiphon.gateway.session import (
    Authenticate,
    Close,
    Command,
    End,
    Fail,
    Hold,
    Open,
    Publish,
    Resume,
    Send,
    Session,
    Settle,
    State,
)
from antiphon.messages import Bye, Ended, Err, Ok, Ping, Welcome

SIDS = st.sampled_from(["a", "b", "c", "d"])
WHICH = st.integers(0, 9)
START = 10
"""The seq at which live subscriptions start."""

JUNK = st.sampled_from(
    [
        "",
        "nonsense",
        "[]",
        '{"op":"dance"}',
        '{"op":"ack","sid":"a"}',
        '{"op":"ack","sid":"a","seq":"x"}',
        '{"op":"nack","sid":"a","seq":1,"delay":3}',
        '{"op":"pong","x":1}',
        '{"op":"sub","sid":"a"}',
        '{"op":"hello","v":1}',
        b"\x00\x01",
        "[" * 50,
    ]
)
ILLEGAL: list[dict[str, Any]] = [
    {"op": "sub", "sid": "a.b"},
    {"op": "sub", "sid": "z", "window": 0},
    {"op": "sub", "sid": "z", "window": 10_001},
    {"op": "sub", "sid": "z", "after": 3, "from": "now"},
    {"op": "sub", "sid": "z", "after": "now"},
    {"op": "sub", "sid": "z", "patterns": 3},
    {"op": "sub", "sid": "z", "durable": "x", "group": "y"},
    {"op": "sub", "sid": "z", "durable": "no.name"},
    {"op": "sub", "sid": "z", "durable": "x", "narrow": True},
    {"op": "sub", "sid": "z", "durable": "x", "tries": 0},
    {"op": "sub", "sid": "z", "durable": "x", "on_exhausted": "dance"},
    {"op": "sub", "sid": "z", "member": "m"},
    {"op": "sub", "sid": "z", "tries": 3},
    {"op": "unsub", "sid": "z"},
    {"op": "pub", "events": []},
    {"op": "pub", "events": [{}] * 1001},
    {"op": "pub", "events": 3},
]


class Lives(RuleBasedStateMachine):
    """One session, its client and its world.

    ``live`` has the unacknowledged seqs of each subscription; ``held`` the last seq that
    each durable one was handed; ``sizes`` all windows; ``asked`` the requests without
    an answer.
    """

    met: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.session = Session("c", self.now)
        self.state = State.GREETING
        self.ids = count(1)
        self.asked: set[int] = set()
        self.live: dict[str, list[int]] = {}
        self.told: dict[str, int] = {}
        self.sizes: dict[str, int] = {}
        self.held: dict[str, int] = {}
        self.holds: list[Hold] = []
        self.pubs: list[Publish] = []
        self.pinged: float | None = None
        self.seq = START

    # --- performing -------------------------------------------------------------------------

    def perform(self, commands: list[Command]) -> list[Command]:
        """Take what was commanded; gives what the world has to do."""
        rest: list[Command] = []
        for at, command in enumerate(commands):
            assert self.state is not State.ENDED, "something after the end"
            if isinstance(command, Send):
                self._sent(command)
            elif isinstance(command, End):
                goodbye = commands[at - 1]
                assert isinstance(goodbye, Send)
                assert isinstance(goodbye.frame, Bye)
                assert goodbye.frame.code == command.code
                self.state = State.ENDED
                self.met[f"ended by {command.code.name}"] += 1
            else:
                rest.append(command)
        return rest

    def _sent(self, command: Send) -> None:
        frame = command.frame
        if isinstance(frame, Ok | Err) and frame.id is not None:
            self.asked.remove(frame.id)  # once, and to nobody who has not asked
        elif isinstance(frame, Ping):
            self.pinged = self.now

    def say(self, text: str | bytes) -> list[Command]:
        """The client sends this."""
        self.pinged = None
        return self.perform(self.session.receive(text))

    def ask(self, **frame: Any) -> list[Command]:
        """The client asks for this."""
        frame["id"] = next(self.ids)
        self.asked.add(frame["id"])
        return self.say(json.dumps(frame))

    def is_open(self) -> bool:
        return self.state is State.OPEN

    def used(self) -> set[str]:
        return {*self.live, *self.held, *(hold.sid for hold in self.holds)}

    # --- the handshake ----------------------------------------------------------------------

    @initialize(known=st.sampled_from([True] * 9 + [False]))
    def begin(self, known: bool) -> None:
        if known:
            self.hello(1)
            self.answer_to_hello(True)

    @precondition(lambda self: self.state is State.GREETING)
    @rule(version=st.sampled_from([1, 1, 1, 2]))
    def hello(self, version: int) -> None:
        commands = self.say(json.dumps({"op": "hello", "v": version, "token": "t"}))
        if version == 1:
            assert commands == [Authenticate("t")]
            self.state = State.ASKING

    @precondition(lambda self: self.state is State.ASKING)
    @rule(good=st.sampled_from([True, True, True, False]))
    def answer_to_hello(self, good: bool) -> None:
        if good:
            (welcome,) = self.session.admitted("epoch", START, self.now)
            assert isinstance(welcome, Send)
            assert isinstance(welcome.frame, Welcome)
            self.state = State.OPEN
        else:
            assert not self.perform(self.session.denied(Unauthorized("no")))
            assert self.state is State.ENDED

    @precondition(lambda self: self.state is not State.ASKING)
    @rule()
    def answer_to_no_hello(self) -> None:
        assert self.session.admitted("epoch", START, self.now) == []
        assert self.session.denied(Unauthorized("no")) == []

    # --- subscriptions ----------------------------------------------------------------------

    @precondition(is_open)
    @rule(sid=SIDS, window=st.integers(1, 4), opens=st.sampled_from([True, True, False]))
    def sub(self, sid: str, window: int, opens: bool) -> None:
        used = self.used()
        commands = self.ask(op="sub", sid=sid, patterns=["*"], window=window)
        if sid in used:
            assert commands == []
            return
        (ask,) = commands
        assert isinstance(ask, Open)
        assert ask.window == window
        if not opens:
            self.perform(self.session.refused(ask.id, NotFound("no")))
            return
        self.perform(self.session.opened(ask, f"epoch.{START}", START, ["*"]))
        self.live[sid], self.sizes[sid], self.told[sid] = [], window, START

    @precondition(is_open)
    @rule(sid=SIDS, window=st.integers(1, 4), kind=st.sampled_from(["durable", "group"]))
    def hold(self, sid: str, window: int, kind: str) -> None:
        used = self.used()
        commands = self.ask(op="sub", sid=sid, window=window, tries=3, **{kind: "mail"})
        if sid in used:
            assert commands == []
            self.met["sid in use while it opens"] += any(h.sid == sid for h in self.holds)
            return
        (ask,) = commands
        assert isinstance(ask, Hold)
        assert ask.terms["members"] == (1 if kind == "durable" else 256)
        assert (ask.terms["tries"], ask.terms["window"]) == (3, window)
        self.holds.append(ask)

    @precondition(lambda self: self.holds)
    @rule(which=WHICH, good=st.sampled_from([True, True, False]))
    def answer_to_hold(self, which: int, good: bool) -> None:
        ask = self.holds.pop(which % len(self.holds))
        if not good:
            assert not self.perform(self.session.declined(ask, LeaseHeld("somebody's")))
            return
        assert not self.perform(self.session.held(ask, "epoch.3", ["*"], 1))
        if self.state is State.OPEN:
            self.held[ask.sid] = 0
        self.met["held after the end"] += self.state is State.ENDED

    @precondition(lambda self: self.held)
    @rule(which=WHICH, stopped=st.booleans())
    def lose(self, which: int, stopped: bool) -> None:
        sid = sorted(self.held)[which % len(self.held)]
        why = DurableStopped("still", seq=3) if stopped else LeaseLost("lost")
        commands = self.session.lost(sid, why)
        if self.state is State.ENDED:
            assert commands == []
            return
        del self.held[sid]
        close, ended = commands
        assert close == Close(sid)
        assert ended == Send(Ended(sid=sid, code=why.code, message=str(why)))
        assert self.session.lost(sid, why) == []

    @precondition(is_open)
    @rule(sid=SIDS)
    def unsub(self, sid: str) -> None:
        used = self.used()
        before = len(self.asked)
        commands = self.ask(op="unsub", sid=sid)
        if sid not in used:
            assert commands == []
            return
        assert commands == [Close(sid)]
        called_off = [hold for hold in self.holds if hold.sid == sid]
        assert len(self.asked) == before - len(called_off)  # it is answered, too
        self.met["called off"] += bool(called_off)
        self.holds = [hold for hold in self.holds if hold.sid != sid]
        self.live.pop(sid, None)
        self.held.pop(sid, None)

    # --- events -----------------------------------------------------------------------------

    @precondition(lambda self: self.is_open() and self.live)
    @rule(which=WHICH, most=st.integers(1, 6), scanned=st.integers(0, 3))
    def send(self, which: int, most: int, scanned: int) -> None:
        """Events go out, as many as there is room for; the position moves past them."""
        sid = sorted(self.live)[which % len(self.live)]
        window = self.session.windows[sid]
        number = min(most, window.room)
        if number <= 0:
            assert len(self.live[sid]) == self.sizes[sid]
            return
        seqs = list(range(self.seq + 1, self.seq + 1 + number))
        self.seq += number + scanned
        window.sent(seqs, self.seq)
        self.live[sid] += seqs
        self.told[sid] = self.seq

    @precondition(lambda self: self.is_open() and self.held)
    @rule(which=WHICH, seq=st.integers(1, 40))
    def hand(self, which: int, seq: int) -> None:
        """A durable subscription hands out an event; a retry has a lower seq than the last."""
        sid = sorted(self.held)[which % len(self.held)]
        self.session.hands[sid].sent(seq)
        self.held[sid] = max(self.held[sid], seq)

    @precondition(is_open)
    @rule(sid=SIDS, seq=st.integers(-2, 60), near=st.integers(-2, 2), twice=st.booleans())
    def ack(self, sid: str, seq: int, near: int, twice: bool) -> None:
        if near and sid in self.told:
            seq = self.told[sid] + near
        for _ in range(1 + twice):
            self._ack(sid, seq)

    def _ack(self, sid: str, seq: int) -> None:
        frames = self.session.receive(json.dumps({"op": "ack", "sid": sid, "seq": seq}))
        self.pinged = None
        if sid in self.held:
            expected = [] if seq > self.held[sid] else [Settle(sid, seq)]
        elif sid in self.live and seq <= self.told[sid]:
            was_full = len(self.live[sid]) >= self.sizes[sid]
            self.live[sid] = [s for s in self.live[sid] if s > seq]
            is_full = len(self.live[sid]) >= self.sizes[sid]
            expected = [Resume(sid)] if was_full and not is_full else []
            self.met["a full window opened"] += bool(expected)
        else:
            expected = []
        future = (sid in self.held and seq > self.held[sid]) or (
            sid in self.live and seq > self.told[sid]
        )
        if future:
            (command,) = frames
            assert isinstance(command, Send)
            assert isinstance(command.frame, Err)
            assert (command.frame.id, command.frame.code) == (None, "bad_request")
            self.met["an ack from the future"] += 1
        else:
            assert frames == expected

    @precondition(is_open)
    @rule(sid=SIDS, seq=st.integers(-2, 40), delay=st.sampled_from([None, 0, 1500, -1, 10**9]))
    def nack(self, sid: str, seq: int, delay: int | None) -> None:
        frame = {"op": "nack", "sid": sid, "seq": seq, "delay_ms": delay}
        commands = self.say(json.dumps(frame))
        legal = sid in self.held and seq <= self.held[sid] and delay not in (-1, 10**9)
        seconds = None if delay is None else delay / 1000
        assert commands == ([Fail(sid, seq, seconds, "refused")] if legal else [])

    # --- publishing -------------------------------------------------------------------------

    @precondition(is_open)
    @rule(events=st.integers(1, 3))
    def pub(self, events: int) -> None:
        (ask,) = self.ask(op="pub", events=[{"topic": "a"}] * events)
        assert isinstance(ask, Publish)
        assert len(ask.events) == events
        self.pubs.append(ask)

    @precondition(lambda self: self.pubs)
    @rule(which=WHICH)
    def answer_to_pub(self, which: int) -> None:
        ask = self.pubs.pop(which % len(self.pubs))
        commands = self.session.published(ask, [])
        assert bool(commands) is (self.state is State.OPEN)
        assert not self.perform(commands)

    # --- what is against the rules ----------------------------------------------------------

    @rule(junk=JUNK)
    def junk(self, junk: str | bytes) -> None:
        if self.state is State.GREETING and "hello" in str(junk):
            return
        before = len(self.asked)
        assert self.say(junk) == []
        assert len(self.asked) == before

    @rule(frame=st.sampled_from(ILLEGAL))
    def illegal(self, frame: dict[str, Any]) -> None:
        before = set(self.asked)
        assert self.ask(**frame) == []
        if self.state is State.OPEN:
            assert self.asked == before

    # --- time -------------------------------------------------------------------------------

    @rule()
    def pong(self) -> None:
        assert self.say('{"op":"pong"}') == []

    @rule(
        seconds=st.sampled_from([0.0, 0.5, 5.0, 9.5, 10.0, 24.0]),
        alive=st.sampled_from([True] * 9 + [False]),
    )
    def pass_time(self, seconds: float, alive: bool) -> None:
        """Time passes, and whoever keeps it calls at each deadline, or earlier for no reason."""
        until = self.now + seconds
        while self.state is not State.ENDED and self.session.deadline <= until:
            assert self.session.deadline > self.now or not seconds
            self.now = self.session.deadline
            silent = self.pinged is not None and self.now >= self.pinged + PONG_S
            commands = self.session.tick(self.now)
            assert commands, "a deadline with nothing due"
            assert not self.perform(commands)
            assert (self.state is State.ENDED) is (silent or self.state is not State.OPEN)
            if alive and self.state is State.OPEN:
                self.pong()
        self.now = until
        assert self.session.tick(self.now) == []

    @rule(really=st.integers(0, 29))
    def shut_down(self, really: int) -> None:
        if really == 13:
            self.perform(self.session.end(CloseCode.GOING_AWAY, "the server is shutting down"))
            assert self.state is State.ENDED

    # --- always -----------------------------------------------------------------------------

    @invariant()
    def it_stands_where_the_model_does(self) -> None:
        assert self.session.state is self.state

    @invariant()
    def every_request_is_answered_once_or_waits_for_the_world(self) -> None:
        if self.state is State.OPEN:
            owed = {hold.id for hold in self.holds} | {pub.id for pub in self.pubs}
            assert self.asked == owed

    @invariant()
    def nothing_is_beyond_a_window(self) -> None:
        if self.state is not State.OPEN:
            return
        assert self.session.windows.keys() == self.live.keys()
        assert self.session.hands.keys() == self.held.keys()
        for sid, window in self.session.windows.items():
            assert window.room == self.sizes[sid] - len(self.live[sid]) >= 0
            assert window.told == self.told[sid]

    @invariant()
    def nobody_is_silent_for_longer_than_a_ping_and_its_pong(self) -> None:
        if self.state is State.OPEN:
            assert self.session.deadline <= self.now + PING_S
            if self.pinged is not None:
                assert self.session.deadline <= self.pinged + PONG_S

    @invariant()
    def after_the_end_there_is_nothing(self) -> None:
        if self.state is State.ENDED:
            assert self.session.receive('{"op":"pub","id":1,"events":[{}]}') == []
            assert self.session.tick(self.now + 1000) == []
            assert self.session.end(CloseCode.GOING_AWAY, "again") == []


def explore(examples: int, steps: int, *, same: bool) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
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


def play(seed: int, steps: int) -> None:
    """A life by dice: longer than Hypothesis makes them, and no two alike."""
    dice = Random(seed)
    life = Lives()
    life.begin(dice.random() < 0.8)
    sids = ("a", "b", "c", "d")
    for _ in range(steps):
        sid, which, is_open = dice.choice(sids), dice.randrange(10), life.is_open()
        match dice.randrange(19):
            case 0 | 1 if is_open:
                life.sub(sid, dice.randint(1, 4), dice.random() < 0.8)
            case 2 | 3 if is_open:
                life.hold(sid, dice.randint(1, 4), dice.choice(["durable", "group"]))
            case 4 | 5 if life.holds:
                life.answer_to_hold(which, dice.random() < 0.8)
            case 6 if life.held:
                life.lose(which, dice.random() < 0.5)
            case 7 if is_open:
                life.unsub(sid)
            case 8 | 9 if is_open and life.live:
                life.send(which, dice.randint(1, 6), dice.randrange(4))
            case 10 if is_open and life.held:
                life.hand(which, dice.randint(1, 40))
            case 11 | 12 | 13 if is_open:
                life.ack(sid, dice.randint(-2, 60), dice.randint(-2, 2), dice.random() < 0.3)
            case 14 if is_open:
                life.nack(sid, dice.randint(-2, 40), dice.choice([None, 0, 1500, -1, 10**9]))
            case 15 if is_open:
                life.pub(dice.randint(1, 3))
            case 16 if life.pubs:
                life.answer_to_pub(which)
            case 17 if dice.random() < 0.3:
                life.illegal(dice.choice(ILLEGAL))
            case 18:
                life.pass_time(dice.choice([0.0, 0.5, 5.0, 10.0, 24.0]), dice.random() < 0.97)
                life.shut_down(dice.randrange(60))
        life.it_stands_where_the_model_does()
        life.every_request_is_answered_once_or_waits_for_the_world()
        life.nothing_is_beyond_a_window()
        life.nobody_is_silent_for_longer_than_a_ping_and_its_pong()
        life.after_the_end_there_is_nothing()


def test_random_lives_of_a_session_agree_with_lists() -> None:
    explore(25, 30, same=True)


def test_lives_of_a_session_by_dice_agree_with_lists_and_meet_everything() -> None:
    """What the rules are about came about, each of it often."""
    Lives.met.clear()
    for seed in range(100):
        play(seed, 250)
    print(Lives.met)
    assert len(Lives.met) == 9
    assert min(Lives.met.values()) >= 2, Lives.met


@pytest.mark.long
@pytest.mark.timeout(300)
def test_other_random_lives_of_a_session_agree_too() -> None:
    explore(600, 60, same=False)
    for seed in range(1000, 4000):
        play(seed, 400)
