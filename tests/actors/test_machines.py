"""Random lives of actors keep every promise, and every rule of them was tried.

The same two hundred each time here; others in ``make test-long``; twenty thousand in
``make prove``. What they do is in ``machines.py``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from tests.actors.machines import Families, Lives, Machine, explore, shares

RARE = 1.0
"""Percent; what ran less often was hardly tried."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The crashes are meant; nobody needs their tracebacks."""
    logger = logging.getLogger("antiphon.actors")
    before, _ = logger.level, logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)


@pytest.mark.parametrize("machine", [Lives, Families])
def test_random_lives_keep_the_promises(machine: type[Machine]) -> None:
    explore(machine, 200, same=True)
    for counts in (machine.ran, machine.changes):
        print(machine.__name__, shares(counts))
        assert min(shares(counts).values()) >= RARE, shares(counts)


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("machine", [Lives, Families])
def test_other_random_lives_keep_them_too(machine: type[Machine]) -> None:
    explore(machine, 1000)
