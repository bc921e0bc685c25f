"""Claims: each event is settled once, by an ack or after its last try, whoever dies when.

Random lives are compared with a model that is nothing but lists: what was offered, what
each member has in hand, what is settled.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from random import Random
from typing import ClassVar

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

from antiphon.bus.claims import BACKOFF_MOST_S, Claim, Claims, backoff
from antiphon.errors import BadRequest, LeaseLost
from antiphon.messages import Event

TRIES = 2
EVENTS = 6
SIZE = 60
TTL = 30.0
LANES = ("a", "b", "c", "d", "e")
WHO = st.integers(0, 11)


def claim(seq: int, lane: str = "a", size: int = 10, tries: int = 0) -> Claim:
    event = Event(
        id="x",
        topic=lane,
        type="t",
        source="/s",
        principal="p",
        time=datetime(2026, 1, 1, tzinfo=UTC),
        payload=None,
    )
    return Claim(seq, lane, event, b"x" * size, tries)


def claims_with(*members: str, events: int = 100, read: int = 0) -> Claims:
    """Claims whose members have the tokens 1, 2, ..."""
    made = Claims(read, most_tries=TRIES)
    for token, name in enumerate(members, 1):
        made.join(token, name, 0.0, events=events, size=1000, ttl=TTL)
    return made


def seqs(taken: list[Claim]) -> list[int]:
    return [one.seq for one in taken]


# --- one rule at a time ---------------------------------------------------------------------


def test_one_member_gets_everything_in_order_as_far_as_its_window_goes() -> None:
    claims = claims_with("m", events=3)
    claims.offer([claim(seq, LANES[seq % 5]) for seq in range(1, 6)], 7)
    assert seqs(claims.take(1, 0.0, 10)) == [1, 2, 3]
    assert claims.take(1, 0.0, 10) == []
    assert claims.ack(1, 2, 0.0) == 2
    assert seqs(claims.take(1, 0.0, 10)) == [4, 5]
    assert claims.floor == 2
    assert claims.ack(1, 5, 0.0) == 3
    assert claims.floor == 7


def test_an_event_larger_than_the_window_comes_alone() -> None:
    claims = claims_with("m")
    claims.offer([claim(1, size=10), claim(2, size=5000), claim(3)], 3)
    assert seqs(claims.take(1, 0.0, 10)) == [1]
    claims.ack(1, 1, 0.0)
    assert seqs(claims.take(1, 0.0, 10)) == [2]


def test_an_ack_reaches_what_was_handed_out_before_not_what_has_a_lower_seq() -> None:
    """A retry of 1 that came after 2 is not done with because 2 is."""
    claims = claims_with("m")
    claims.offer([claim(1, "a"), claim(2, "b")], 2)
    claims.take(1, 0.0, 10)
    claims.nack(1, 1, 0.0, reason="no", delay=0.0)
    claims.tick(0.0)
    assert seqs(claims.take(1, 0.0, 10)) == [1]
    assert claims.ack(1, 2, 0.0) == 1
    assert claims.floor == 0
    assert claims.ack(1, 1, 0.0) == 1
    assert claims.floor == 2


def test_a_failed_event_comes_before_the_rest_of_its_lane_and_holds_up_no_other() -> None:
    claims = claims_with("m")
    claims.offer([claim(1, "a"), claim(2, "a"), claim(3, "b"), claim(4, "a")], 4)
    claims.take(1, 0.0, 2)
    claims.nack(1, 1, 0.0, reason="no")
    assert seqs(claims.take(1, 0.0, 10)) == [3]
    assert claims.tick(backoff(1) - 0.1) == []
    assert claims.take(1, 0.0, 10) == []
    claims.tick(backoff(1))
    assert seqs(claims.take(1, 1.0, 10)) == [1, 2, 4]


def test_an_event_that_fails_to_the_last_is_exhausted_and_frees_its_lane() -> None:
    claims = claims_with("m")
    claims.offer([claim(1), claim(2)], 2)
    for _ in range(TRIES):
        claims.take(1, 0.0, 1)
        claims.nack(1, 1, 0.0, reason="no", delay=0.0)
        claims.tick(0.0)
    assert list(claims.exhausted) == [1]
    assert claims.exhausted[1].tries == TRIES
    assert seqs(claims.take(1, 0.0, 10)) == [2]
    claims.ack(1, 2, 0.0)
    assert claims.floor == 0
    claims.settle(1)
    assert claims.floor == 2


def test_a_death_returns_only_that_members_events_and_blames_the_oldest() -> None:
    claims = claims_with("m", "n")
    claims.offer([claim(seq, f"lane{seq}") for seq in range(1, 21)], 20)
    first = seqs(claims.take(1, 0.0, 100))
    second = seqs(claims.take(2, 0.0, 100))
    assert first
    assert second
    assert sorted(first + second) == list(range(1, 21))
    claims.leave(1, 0.0, failed="died")
    assert claims.in_hand(2) == len(second)
    claims.tick(backoff(1))
    assert sorted(seqs(claims.take(2, 1.0, 100))) == first
    tries = claims.tries()
    assert [seq for seq in tries if tries[seq]] == first[:1]


def test_who_leaves_in_order_blames_nothing() -> None:
    claims = claims_with("m")
    claims.offer([claim(1), claim(2)], 2)
    claims.take(1, 0.0, 10)
    claims.leave(1, 0.0)
    assert claims.tries() == {1: 0, 2: 0}


def test_a_lane_waits_for_who_has_some_of_it_in_hand() -> None:
    """Its new owner gets the next one when the old one is done, not before."""
    claims = claims_with("m")
    lanes = [f"lane{n}" for n in range(30)]
    claims.offer([claim(n + 1, lane) for n, lane in enumerate(lanes)], 30)
    claims.take(1, 0.0, 100)
    claims.offer([claim(n + 31, lane) for n, lane in enumerate(lanes)], 60)
    claims.join(2, "n", 0.0, events=100, size=1000, ttl=TTL)
    assert claims.take(2, 0.0, 100) == []
    claims.ack(1, 30, 0.0)
    mine, others = seqs(claims.take(1, 0.0, 100)), seqs(claims.take(2, 0.0, 100))
    assert mine
    assert others
    assert sorted(mine + others) == list(range(31, 61))


def test_lanes_move_only_from_or_to_who_came_or_went() -> None:
    """Rendezvous hashing: of ten thousand lanes a fifth member gets about a fifth."""

    def owners(*members: str) -> dict[int, int]:
        claims = claims_with(*members, events=10_000)
        for token in range(1, len(members) + 1):
            claims._members[token].size = 10**9
        claims.offer([claim(n, f"lane{n}") for n in range(1, 2001)], 2000)
        return {
            seq: token
            for token in range(1, len(members) + 1)
            for seq in seqs(claims.take(token, 0.0, 10_000))
        }

    four, five = owners("a", "b", "c", "d"), owners("a", "b", "c", "d", "e")
    assert len(four) == len(five) == 2000
    moved = [seq for seq in four if four[seq] != five[seq]]
    assert {five[seq] for seq in moved} == {5}
    assert 300 < len(moved) < 500


def test_a_silent_member_loses_its_lease_and_one_that_is_heard_of_keeps_it() -> None:
    claims = claims_with("m", "n")
    claims.renew(1, 20.0)
    assert claims.next_due() == TTL
    assert claims.tick(TTL) == [2]
    with pytest.raises(LeaseLost):
        claims.renew(2, TTL)
    assert claims.tick(49.0) == []
    claims.take(1, 49.0, 1)
    assert claims.tick(78.0) == []
    assert claims.tick(79.0) == [1]


def test_an_ack_of_what_was_never_handed_out_is_refused_and_one_of_the_past_is_none() -> None:
    claims = claims_with("m")
    claims.offer([claim(1), claim(2)], 2)
    for wrong in (claims.ack, lambda *args: claims.nack(*args, reason="no")):
        with pytest.raises(BadRequest, match="seq 1 was never handed"):
            wrong(1, 1, 0.0)
    claims.take(1, 0.0, 1)
    with pytest.raises(BadRequest, match="seq 2 was never handed"):
        claims.ack(1, 2, 0.0)
    assert claims.ack(1, 1, 0.0) == 1
    assert claims.ack(1, 1, 0.0) == 0
    assert claims.nack(1, 1, 0.0, reason="no") is False
    assert claims.floor == 1


def test_reading_on_waits_when_too_much_is_unsettled_and_that_is_counted() -> None:
    claims = Claims(0, most_tries=TRIES, ahead_events=3)
    claims.join(1, "m", 0.0, events=100, size=1000, ttl=TTL)
    assert claims.is_hungry()
    claims.offer([claim(seq) for seq in range(1, 4)], 3)
    assert not claims.is_hungry()
    assert claims.stalls == 0
    claims.take(1, 0.0, 3)
    assert not claims.is_hungry()
    assert not claims.is_hungry()
    assert claims.stalls == 1
    claims.ack(1, 1, 0.0)
    assert claims.is_hungry()


def test_backoff_doubles_and_is_bounded() -> None:
    assert [backoff(n) for n in (1, 2, 3, 4)] == [1.0, 2.0, 4.0, 8.0]
    assert backoff(1000) == BACKOFF_MOST_S


# --- random lives ---------------------------------------------------------------------------


class Lives(RuleBasedStateMachine):
    """Members come, work, fail and die; the model keeps lists.

    Attributes:
        met: How often what the rules are about came about.
    """

    met: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.seq = 0
        self.claims = Claims(0, most_tries=TRIES)
        self.lane: dict[int, str] = {}
        self.hands: dict[int, list[int]] = {}
        self.heard: dict[int, float] = {}
        self.last: dict[int, int] = {}
        self.settled: set[int] = set()
        self.doomed: set[int] = set()  # forgotten, and still in a hand
        self.failures: dict[int, int] = defaultdict(int)
        self.token = 0

    # --- rules ---

    @initialize()
    def begin(self) -> None:
        self.join()
        self.join()
        self.offer([*LANES, *LANES], 0)

    @rule(lanes=st.lists(st.sampled_from(LANES), min_size=2, max_size=8), gap=st.integers(0, 3))
    def offer(self, lanes: list[str], gap: int) -> None:
        made = []
        for lane in lanes:
            self.seq += 1 + gap
            self.lane[self.seq] = lane
            made.append(claim(self.seq, lane, _size(self.seq)))
        self.seq += gap
        self.claims.offer(made, self.seq)

    @precondition(lambda self: len(self.hands) < 4)
    @rule()
    def join(self) -> None:
        self.token += 1
        name = f"m{self.token}"
        self.claims.join(self.token, name, self.now, events=EVENTS, size=SIZE, ttl=TTL)
        self.hands[self.token], self.last[self.token] = [], 0
        self.heard[self.token] = self.now

    @precondition(lambda self: self.hands)
    @rule(who=WHO, failed=st.booleans())
    def leave(self, who: int, failed: bool) -> None:
        token = self._somebody(who)
        self.claims.leave(token, self.now, failed="died" if failed else None)
        self._gone(token, failed)

    @precondition(lambda self: self.hands)
    @rule(limit=st.integers(1, 5))
    def take_all_round(self, limit: int) -> None:
        for token in list(self.hands):
            self._take(token, limit)

    @precondition(lambda self: self.hands)
    @rule(who=WHO, limit=st.integers(1, 5))
    def take(self, who: int, limit: int) -> None:
        self._take(self._somebody(who), limit)

    def _take(self, token: int, limit: int) -> None:
        can = self.claims.can_take(token)
        taken = seqs(self.claims.take(token, self.now, limit))
        assert can is bool(taken)
        self.heard[token] = self.now
        for seq in taken:
            self._check_handed_out(token, seq)
            self.hands[token].append(seq)
            self.last[token] = max(self.last[token], seq)
            self.met["retry"] += self.failures[seq] > 0
        self.met["full window"] += bool(self.hands[token]) and not taken

    @precondition(lambda self: any(self.hands.values()))
    @rule(who=WHO, which=WHO)
    def ack(self, who: int, which: int) -> None:
        token = self._busy(who)
        hand = self.hands[token]
        at = which % len(hand)
        assert self.claims.ack(token, hand[at], self.now) == at + 1
        self.heard[token] = self.now
        self.settled.update(hand[: at + 1])
        self.hands[token] = hand[at + 1 :]
        self.met["ack out of order of seq"] += hand[: at + 1] != sorted(hand[: at + 1])

    @precondition(lambda self: any(self.hands.values()))
    @rule(who=WHO, which=WHO)
    def ack_one(self, who: int, which: int) -> None:
        token = self._busy(who)
        hand = self.hands[token]
        seq = hand.pop(which % len(hand))
        assert self.claims.has(token, seq)
        assert self.claims.ack_one(token, seq, self.now)
        assert not self.claims.has(token, seq)
        self.heard[token] = self.now
        self.settled.add(seq)
        self.met["ack of one in the middle"] += any(s < seq for s in hand)

    @precondition(lambda self: any(self.hands.values()))
    @rule(who=WHO, which=WHO, delay=st.sampled_from([0.0, 0.0, None, 5.0]))
    def nack(self, who: int, which: int, delay: float | None) -> None:
        token = self._busy(who)
        seq = self.hands[token][which % len(self.hands[token])]
        assert self.claims.nack(token, seq, self.now, reason="no", delay=delay)
        self.heard[token] = self.now
        self._failed(seq)
        kept = [s for s in self.hands[token] if s < seq or self.lane[s] != self.lane[seq]]
        self.met["failure with later ones in hand"] += len(kept) < len(self.hands[token]) - 1
        self._came_back(set(self.hands[token]) - set(kept))
        self.hands[token] = kept
        if delay == 0.0:
            self.claims.tick(self.now)
            self._take(token, 2)

    @precondition(lambda self: self.hands)
    @rule(who=WHO)
    def give_back(self, who: int) -> None:
        token = self._somebody(who)
        self.claims.give_back(token)
        self._came_back(self.hands[token])
        self.hands[token] = []

    @precondition(lambda self: self.hands)
    @rule(who=WHO, seq=st.integers(1, 60))
    def ack_anything(self, who: int, seq: int) -> None:
        """What isn't in hand is refused if it can't have been there, else it is nothing."""
        token = self._somebody(who)
        if seq in self.hands[token]:
            return
        self.heard[token] = self.now
        if seq > self.last[token]:
            with pytest.raises(BadRequest):
                self.claims.ack(token, seq, self.now)
            with pytest.raises(BadRequest):
                self.claims.ack_one(token, seq, self.now)
        else:
            assert self.claims.ack(token, seq, self.now) == 0
            assert not self.claims.ack_one(token, seq, self.now)

    @precondition(lambda self: self.token > len(self.hands))
    @rule(who=WHO, seq=st.integers(1, 60))
    def stale_token(self, who: int, seq: int) -> None:
        gone = [t for t in range(1, self.token + 1) if t not in self.hands]
        token = gone[who % len(gone)]
        for act in (
            lambda: self.claims.ack(token, seq, self.now),
            lambda: self.claims.nack(token, seq, self.now, reason="no"),
            lambda: self.claims.take(token, self.now, 1),
            lambda: self.claims.renew(token, self.now),
        ):
            with pytest.raises(LeaseLost):
                act()

    @rule(seconds=st.sampled_from([1.0, 4.0, 16.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        ended = self.claims.tick(self.now)
        assert ended == [t for t in self.hands if self.heard[t] + TTL <= self.now]
        for token in ended:
            self.met["lease ran out with some in hand"] += bool(self.hands[token])
            self._gone(token, failed=True)

    @rule(chosen=st.lists(st.integers(1, 60), max_size=4))
    def forget(self, chosen: list[int]) -> None:
        gone = {
            seq
            for seq in chosen
            if seq in self.lane
            and seq not in self.settled
            and not any(seq in hand for hand in self.hands.values())
        }
        assert self.claims.forget(chosen) == len(gone)
        self.settled |= gone
        self.doomed |= set(chosen) & {seq for hand in self.hands.values() for seq in hand}

    @rule()
    def settle_exhausted(self) -> None:
        for seq in list(self.claims.exhausted):
            self.met["exhausted"] += 1
            self.claims.settle(seq)
            self.settled.add(seq)

    @precondition(lambda self: self.seq % 3 == 0)
    @rule()
    def restart(self) -> None:
        """All that is kept is the position and the unsettled; the rest is read anew."""
        self.now += 1.0
        kept, read = self.claims.tries(), self.claims.read
        self.claims = Claims(read, most_tries=TRIES)
        again = [claim(s, self.lane[s], _size(s), tries=n) for s, n in sorted(kept.items())]
        self.claims.offer(again, 0)
        self.hands.clear()
        self.doomed.clear()  # what was forgotten is not there to be read

    # --- what holds at all times ---

    @invariant()
    def nothing_is_settled_but_by_ack_or_after_the_last_try(self) -> None:
        unsettled = [seq for seq in self.lane if seq not in self.settled]
        assert sorted(self.claims.tries()) == unsettled
        assert self.claims.floor == (unsettled[0] - 1 if unsettled else self.seq)
        assert self.claims.tries() == {seq: self.failures[seq] for seq in unsettled}
        spent = {seq for seq in unsettled if self.failures[seq] >= TRIES}
        assert self.claims.exhausted.keys() == spent

    @invariant()
    def windows_hold(self) -> None:
        for token, hand in self.hands.items():
            assert self.claims.in_hand(token) == len(hand) <= EVENTS
            assert len(hand) == 1 or sum(map(_size, hand)) <= SIZE
        in_hand = sum(map(len, self.hands.values()))
        assert self.claims.waiting == len(self.claims.tries()) - in_hand

    def teardown(self) -> None:
        """Whatever happened: members that work come to the end of it."""
        self.join() if not self.hands else None
        for _ in range(200):
            self.settle_exhausted()
            self.now += 10.0
            for token in list(self.hands):
                self.claims.renew(token, self.now)
            self.claims.tick(self.now)
            for token, hand in self.hands.items():
                for seq in seqs(self.claims.take(token, self.now, 100)):
                    self._check_handed_out(token, seq)
                    hand.append(seq)
                if hand:
                    self.claims.ack(token, hand[-1], self.now)
                    self.settled.update(hand)
                    hand.clear()
        assert self.settled == set(self.lane)
        assert self.claims.floor == self.seq
        assert not self.claims._lanes

    # --- helpers ---

    def _somebody(self, who: int) -> int:
        return sorted(self.hands)[who % len(self.hands)]

    def _busy(self, who: int) -> int:
        busy = [token for token, hand in self.hands.items() if hand]
        return busy[who % len(busy)]

    def _gone(self, token: int, failed: bool) -> None:
        hand = self.hands.pop(token)
        self.met["death with several in hand"] += failed and len(hand) > 1
        self.met["death beside others"] += any(self.hands.values()) and bool(hand)
        if failed and hand:
            self._failed(hand[0])
        self._came_back(hand)

    def _failed(self, seq: int) -> None:
        self.failures[seq] += seq not in self.doomed

    def _came_back(self, seqs: Iterable[int]) -> None:
        self.met["forgotten in hand"] += not self.doomed.isdisjoint(seqs)
        self.settled |= self.doomed.intersection(seqs)
        self.doomed -= self.settled

    def _check_handed_out(self, token: int, seq: int) -> None:
        """It is unsettled, in nobody else's hand, and the next of its lane."""
        assert seq not in self.settled
        for other, hand in self.hands.items():
            for held in hand:
                same = self.lane[held] == self.lane[seq]
                assert held != seq
                assert not same or (other == token and held < seq)
        earlier = [
            s
            for s in self.lane
            if s < seq and self.lane[s] == self.lane[seq] and s not in self.settled
        ]
        for s in earlier:
            assert s in self.hands[token] or self.failures[s] >= TRIES


def _size(seq: int) -> int:
    return 1 + 7 * seq % 16


def explore(examples: int, *, same: bool) -> None:
    run_state_machine_as_test(
        Lives,
        settings=settings(
            max_examples=examples,
            stateful_step_count=50,
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
    life.begin()
    for _ in range(steps):
        who, which = dice.randrange(12), dice.randrange(12)
        match dice.randrange(15):
            case 0 | 1 if life.seq < 500:
                life.offer(dice.choices(LANES, k=dice.randint(2, 8)), dice.randrange(3))
            case 2 if len(life.hands) < 4:
                life.join()
            case 3 if life.hands and dice.random() < 0.3:
                life.leave(who, dice.random() < 0.5)
            case 4 | 5 | 6 if life.hands:
                life.take(who, dice.randint(1, 5))
            case 7 | 8 if any(life.hands.values()):
                life.ack(who, which)
            case 9 | 10 if any(life.hands.values()):
                life.nack(who, which, dice.choice([0.0, 0.0, None, 5.0]))
            case 11:
                life.pass_time(dice.choice([1.0, 4.0, 16.0]))
            case 12:
                life.settle_exhausted()
                life.forget(dice.choices(range(1, life.seq + 1), k=3))
            case 13 if life.hands and dice.random() < 0.2:
                life.give_back(who)
            case 14 if any(life.hands.values()):
                life.ack_one(who, which)
        life.nothing_is_settled_but_by_ack_or_after_the_last_try()
        life.windows_hold()
    life.teardown()


def test_random_lives_agree_with_lists() -> None:
    explore(60, same=True)


def test_lives_by_dice_agree_with_lists_and_meet_everything() -> None:
    """What the rules are about came about, each of it often."""
    Lives.met.clear()
    for seed in range(80):
        play(seed, 250)
    print(Lives.met)
    assert len(Lives.met) == 10
    assert min(Lives.met.values()) >= 20, Lives.met


@pytest.mark.long
@pytest.mark.timeout(300)
def test_other_random_lives_agree_too() -> None:
    explore(500, same=False)
    for seed in range(1000, 1500):
        play(seed, 400)
