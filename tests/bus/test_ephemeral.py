"""The queue of ephemeral events agrees with a plain model of its two policies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.bus.batch import Batch, View
from antiphon.bus.ephemeral import EphemeralPolicy, EphemeralQueue
from antiphon.errors import BadRequest

CAPACITY = 3

steps = st.lists(st.one_of(st.none(), st.sampled_from(["a", "b", "c", "d", "e"])), max_size=40)


def view(topic: str, n: int) -> View:
    data = [b"%d" % n]
    return View(Batch(after=0, upto=0, seqs=(0,), topics=[topic], data=data), None)


@pytest.mark.parametrize("policy", ["drop_oldest", "conflate"])
@given(steps=steps)
def test_the_queue_agrees_with_a_plain_list(
    policy: EphemeralPolicy, steps: list[str | None]
) -> None:
    """A step is a topic to put an event of, or None: take one."""
    queue = EphemeralQueue(policy, CAPACITY)
    model: list[tuple[str, int]] = []
    dropped = replaced = 0
    for n, topic in enumerate(steps):
        if topic is None:
            if model:
                assert queue.take().data == [b"%d" % model.pop(0)[1]]
        elif policy == "conflate" and topic in [name for name, _ in model]:
            at = [name for name, _ in model].index(topic)
            model[at] = (topic, n)
            replaced += 1
            queue.put(topic, view(topic, n))
        else:
            if len(model) == CAPACITY:
                model.pop(0)
                dropped += 1
            model.append((topic, n))
            queue.put(topic, view(topic, n))
        assert len(queue) == len(model) <= CAPACITY
    assert (queue.dropped, queue.replaced) == (dropped, replaced)
    assert (queue.take_lag(), queue.take_lag()) == (dropped, 0)
    queue.clear()
    assert not queue


def test_a_policy_that_is_none_is_refused() -> None:
    with pytest.raises(BadRequest, match="drop_oldest or conflate, not by newest"):
        EphemeralQueue("newest")  # type: ignore[arg-type]
