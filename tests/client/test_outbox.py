"""What waits to be published: bounds, frames, and what comes back into the queue."""

from __future__ import annotations

import json

import pytest

from antiphon.client.outbox import FRAME_BYTES, FRAME_EVENTS, IN_FLIGHT, Answer, Entry, Outbox
from antiphon.errors import BusError, InvalidTopic, Overloaded, StorageUnavailable
from antiphon.messages import Level, Published


class Box(Outbox):
    """An outbox that keeps the answers."""

    answers: dict[str, list[Answer]]

    def add(self, name: str, size: int = 0, level: Level = "synced") -> Entry:
        self.answers = getattr(self, "answers", {})
        found = self.answers[name] = []
        data = json.dumps({"id": name, "payload": "x" * size}).encode()
        entry = Entry(name, data, level, found.append)
        self.put(entry)
        return entry

    def frame(self, request: int, now: float = 0.0) -> list[str]:
        data = self.next_frame(request, now)
        return [] if data is None else [event["id"] for event in json.loads(data)["events"]]


def done(name: str, seq: int = 1) -> Published:
    return Published(id=name, seq=seq)


def test_a_frame_has_a_bounded_number_of_events_all_of_one_level() -> None:
    box = Box()
    for n in range(FRAME_EVENTS + 1):
        box.add(str(n))
    box.add("committed", level="committed")
    assert len(box.frame(1)) == FRAME_EVENTS
    assert box.frame(2) == [str(FRAME_EVENTS)]
    assert box.frame(3) == ["committed"]
    assert box.frame(4) == []


def test_a_frame_has_a_bounded_size_but_for_a_single_large_event() -> None:
    box = Box(most_bytes=10_000_000)
    box.add("a", FRAME_BYTES // 2)
    box.add("b", FRAME_BYTES // 2)
    box.add("large", FRAME_BYTES * 2)
    box.add("c")
    assert [box.frame(n) for n in range(4)] == [["a"], ["b"], ["large"], ["c"]]


def test_only_so_many_frames_wait_for_their_answers() -> None:
    box = Box(most_bytes=100_000_000)
    for n in range(IN_FLIGHT + 1):
        box.add(str(n), FRAME_BYTES)
    assert [box.frame(n) for n in range(IN_FLIGHT)] == [[str(n)] for n in range(IN_FLIGHT)]
    assert box.frame(99) == []
    assert box.deadline is None
    box.answered(0, [done("0")], 0.0)
    assert box.frame(99) == [str(IN_FLIGHT)]


def test_what_waits_is_bounded_by_number_and_size_but_one_always_fits() -> None:
    box = Box(most_events=2, most_bytes=100)
    assert box.has_room(1000)
    box.add("a", 10)
    assert box.has_room(10)
    assert not box.has_room(100)
    box.add("b", 10)
    assert not box.has_room(1)
    box.frame(1)
    assert not box.has_room(1), "what is in flight counts too"
    box.answered(1, [done("a"), done("b")], 0.0)
    assert (len(box), box.size_bytes) == (0, 0)


def test_what_was_in_flight_is_sent_again_in_its_old_place() -> None:
    box = Box()
    box.add("a")
    box.frame(1)
    box.add("b")
    box.frame(2)
    box.add("c")
    box.lost()
    assert box.frame(3) == ["a", "b", "c"]


def test_only_what_has_not_left_can_be_taken_back() -> None:
    box = Box()
    first, second = box.add("a"), box.add("b", level="committed")
    box.frame(1)
    assert not box.take_back(first)
    assert box.take_back(second)
    assert not box.take_back(second)
    box.lost()
    assert not box.take_back(first)
    assert box.frame(2) == ["a"]


@pytest.mark.parametrize("kind", [Overloaded, StorageUnavailable])
def test_what_the_server_has_no_room_for_is_sent_again_when_it_said(
    kind: type[Overloaded | StorageUnavailable],
) -> None:
    box = Box()
    box.add("a")
    box.add("b")
    box.frame(1)
    box.add("c")
    box.answered(1, [kind("no", retry_after_ms=500), done("b")], 10.0)
    assert (box.answers["a"], len(box.answers["b"])) == ([], 1)
    assert box.frame(2, 10.4) == []
    assert box.deadline == 10.5
    assert box.frame(2, 10.5) == ["a", "c"]


def test_any_other_refusal_is_the_answer() -> None:
    box = Box()
    box.add("a")
    box.add("b")
    box.frame(1)
    assert box.refused(1, InvalidTopic("no topic"), 0.0)
    assert [type(answer) for found in box.answers.values() for answer in found] == [
        InvalidTopic
    ] * 2
    assert not box.refused(1, InvalidTopic("no topic"), 0.0)


def test_an_event_that_an_answer_leaves_out_waits_for_nothing() -> None:
    box = Box()
    box.add("a")
    box.add("b")
    box.frame(1)
    box.answered(1, [done("a")], 0.0)
    (answer,) = box.answers["b"]
    assert isinstance(answer, BusError)
    assert len(box) == 0


def test_giving_up_answers_all_that_is_left_once() -> None:
    box = Box()
    box.add("a")
    box.frame(1)
    box.add("b")
    left = box.give_up(lambda entry: BusError(f"{entry.id} {entry.sent}"))
    assert [entry.id for entry in left] == ["a", "b"]
    assert [str(answer) for found in box.answers.values() for answer in found] == [
        "a True",
        "b False",
    ]
    assert (len(box), box.size_bytes) == (0, 0)
    assert box.give_up(BusError) == []
