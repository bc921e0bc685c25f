"""How far a subscription runs ahead of its acknowledgements."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from antiphon.gateway.window import Window


def test_an_ack_of_one_event_makes_room_for_one() -> None:
    window = Window(3)
    window.sent([4, 7, 9], 12)
    assert window.room == 0
    assert window.ack(4)
    assert window.room == 1


def test_an_ack_of_the_cursor_covers_the_events_before_it() -> None:
    window = Window(3)
    window.sent([4, 7, 9], 12)
    assert window.ack(12)
    assert window.room == 3


@given(
    st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=5), max_size=20),
    st.lists(st.integers(0, 120), max_size=20),
)
def test_room_is_the_size_less_what_is_sent_and_not_acknowledged(
    frames: list[list[int]], acks: list[int]
) -> None:
    """Compared with a plain list of unacknowledged seqs."""
    window, model, seq = Window(500), list[int](), 0
    for steps, ack in zip(frames, acks + [0] * len(frames), strict=False):
        seqs = []
        for step in steps:
            seq += step
            seqs.append(seq)
        window.sent(seqs, seq)
        model += seqs
        window.ack(ack)
        model = [s for s in model if s > ack]
        assert window.room == 500 - len(model)
        assert window.told == seq
