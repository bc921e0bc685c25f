"""A system with a manual clock, which is searched for leaks when the test is over."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from random import Random

import pytest
import uvloop

from antiphon.actors import ActorSystem
from antiphon.testing import manual_system

ON_BOTH_LOOPS = {
    "test_calls",
    "test_drain",
    "test_feed",
    "test_life",
    "test_links",
    "test_ref",
    "test_strategies",
    "test_supervisor",
}


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the core of the runtime's tests on asyncio's own loop and on uvloop.

    With ``ANTIPHON_LOOP=uvloop`` all of them run on that alone.
    """
    if os.environ.get("ANTIPHON_LOOP") == "uvloop":
        return {"uvloop": uvloop.new_event_loop}
    plain = {"asyncio": asyncio.new_event_loop}
    if item.path.stem in ON_BOTH_LOOPS:
        return {**plain, "uvloop": uvloop.new_event_loop}
    return plain


def dice() -> Random | None:
    """With ``ANTIPHON_SEED`` set, actors give way at places that the seed chooses."""
    seed = os.environ.get("ANTIPHON_SEED")
    return None if seed is None else Random(seed)


@pytest.fixture
async def system() -> AsyncIterator[ActorSystem]:
    async with manual_system(dice=dice()) as system:
        yield system


@pytest.fixture
async def plain_system() -> AsyncIterator[ActorSystem]:
    """For what is about the size of a turn, which no seed may change."""
    async with manual_system() as system:
        yield system
