"""The ring keeps the newest batches within its bounds, and finds a position in them."""

from hypothesis import given
from hypothesis import strategies as st

from antiphon.bus.batch import Batch
from antiphon.bus.ring import Ring


def batch(after: int, count: int, size: int = 10) -> Batch:
    upto = after + count
    return Batch(
        after=after,
        upto=upto,
        seqs=range(after + 1, upto + 1),
        topics=["a.b"] * count,
        data=[b"x" * size] * count,
    )


def test_a_position_at_the_head_waits_for_the_next_batch() -> None:
    ring = Ring(7)
    assert ring.index_after(7) == ring.end == 0
    ring.append(batch(7, 3))
    found = ring.get(0)
    assert found is not None
    assert list(found.seqs) == [8, 9, 10]
    assert ring.index_after(10) == ring.end == 1


def test_what_was_before_the_opening_is_not_in_the_ring() -> None:
    ring = Ring(7)
    assert ring.index_after(6) is None


def test_a_restarted_ring_keeps_its_indexes_apart_from_the_old_ones() -> None:
    ring = Ring(0)
    ring.append(batch(0, 3))
    ring.restart(5)
    assert ring.get(0) is None
    assert ring.index_after(3) is None
    ring.append(batch(5, 1))
    assert ring.index_after(5) == 1


@given(
    counts=st.lists(st.integers(1, 5), min_size=1, max_size=200),
    bound=st.integers(1, 40),
)
def test_the_ring_agrees_with_a_plain_list(counts: list[int], bound: int) -> None:
    """Within its bound, and for every position either the right batch or "fallen out"."""
    ring = Ring(0, max_events=bound)
    everything: list[Batch] = []
    for count in counts:
        new = batch(ring.head, count)
        ring.append(new)
        everything.append(new)
        assert ring.events <= bound or ring.floor == new.after
    kept = [b for b in everything if b.after >= ring.floor]
    assert sum(map(len, kept)) == ring.events
    assert sum(b.size_bytes for b in kept) == ring.size_bytes
    for position in range(ring.head + 1):
        index = ring.index_after(position)
        following = next((b for b in everything if b.upto > position), None)
        if position < ring.floor:
            assert index is None
        elif following is None:
            assert index == ring.end
        else:
            assert index is not None
            assert ring.get(index) is following


def test_many_batches_do_not_pile_up() -> None:
    """The list behind the ring is cut as batches fall out."""
    ring = Ring(0, max_events=10)
    for _ in range(10_000):
        ring.append(batch(ring.head, 1))
    assert ring.events == 10
    assert len(ring._batches) < 2_500
