"""Which worker a job is for, and the order in which jobs are given out."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.actors import Routing
from antiphon.actors.routing import Lanes, jump, stable_hash

KEYS = st.text(max_size=8) | st.binary(max_size=8) | st.integers()
SIZES = st.integers(1, 40)


@given(KEYS, SIZES)
def test_equal_keys_go_to_the_same_worker_below_the_size(key: Any, size: int) -> None:
    lane = Routing.BY_KEY.lane(stable_hash(key), size)
    assert lane == Routing.BY_KEY.lane(stable_hash(key), size)
    assert 0 <= lane < size


@given(KEYS, SIZES)
def test_one_worker_more_takes_keys_but_moves_none_between_the_others(key: Any, size: int) -> None:
    mark = stable_hash(key)
    assert jump(mark, size + 1) in (jump(mark, size), size)


def test_keys_spread_evenly_and_few_of_them_move() -> None:
    marks = [stable_hash(f"page/{n}") for n in range(8000)]
    shares = Counter(jump(mark, 8) for mark in marks)
    assert all(800 < shares[worker] < 1200 for worker in range(8))
    moved = sum(jump(mark, 8) != jump(mark, 9) for mark in marks)
    assert 700 < moved < 1100


def test_a_key_hashes_the_same_in_every_process() -> None:
    """Python's own hash of a str does not."""
    code = "from antiphon.actors.routing import stable_hash; print(stable_hash('page/1'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == stable_hash("page/1")


def test_a_key_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match="got tuple"):
        stable_hash((1, 2))  # type: ignore[arg-type]


@pytest.mark.parametrize("routing", [Routing.LEAST_LOADED, Routing.ROUND_ROBIN])
def test_a_key_function_goes_with_by_key_and_only_there(routing: Routing) -> None:
    with pytest.raises(ValueError, match="by_key"):
        Lanes[str](routing, 1, lambda m: "x")
    with pytest.raises(ValueError, match="by_key"):
        Lanes[str](Routing.BY_KEY, 1)


def lanes_for(routing: Routing, size: int) -> Lanes[tuple[int, int]]:
    key = (lambda message: message) if routing is Routing.BY_KEY else None
    return Lanes(routing, size, key)


steps = st.lists(
    st.tuples(st.just("put"), st.integers(0, 5))
    | st.tuples(st.just("put"), st.integers(0, 5))
    | st.tuples(st.just("take"), st.integers(0, 4))
    | st.tuples(st.just("oldest"), st.just(0))
    | st.tuples(st.just("resize"), st.integers(1, 5)),
    max_size=80,
)


@given(st.sampled_from(Routing), st.integers(1, 5), steps)
def test_whatever_happens_each_job_is_given_out_once_and_each_lane_in_order(
    routing: Routing, size: int, steps: list[tuple[str, int]]
) -> None:
    """Against a plain list of what waits, in the order of its coming."""
    lanes = lanes_for(routing, size)
    model: list[tuple[int, int, int]] = []  # number, mark, key
    for number, (step, value) in enumerate(steps):
        match step:
            case "put":
                mark = lanes.mark(value)
                lanes.put((number, value), mark)
                model.append((number, mark, value))
            case "resize":
                lanes.resize(value)
                size = value
            case "oldest" if model:
                assert lanes.take_oldest() == model.pop(0)[::2]
            case "take" if value < size:
                mine = [
                    job
                    for job in model
                    if routing is Routing.LEAST_LOADED or routing.lane(job[1], size) == value
                ]
                assert lanes.has_job(value) == bool(mine)
                if mine:
                    assert lanes.take(value) == mine[0][::2]
                    model.remove(mine[0])
        assert len(lanes) == len(model)


def test_what_waits_keeps_its_order_when_there_are_fewer_workers() -> None:
    lanes = lanes_for(Routing.ROUND_ROBIN, 3)
    for number in range(9):
        lanes.put((number, 0), lanes.mark(0))
    lanes.resize(2)
    assert [lanes.take(0)[0] for _ in range(5)] == [0, 2, 4, 6, 8]
    lanes.resize(1)
    assert [lanes.take(0)[0] for _ in range(4)] == [1, 3, 5, 7]


@given(st.integers(1, 6), st.integers(1, 20))
def test_round_robin_goes_round(size: int, jobs: int) -> None:
    lanes = lanes_for(Routing.ROUND_ROBIN, size)
    assert [lanes.put((n, 0), lanes.mark(0)) for n in range(jobs)] == [
        n % size for n in range(jobs)
    ]
