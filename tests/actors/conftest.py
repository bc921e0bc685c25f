"""A system with a manual clock, which is searched for leaks when the test is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from antiphon.actors import ActorSystem
from antiphon.testing import manual_system

ON_BOTH_LOOPS = {"test_life", "test_ref", "test_feed", "test_supervisor"}


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the core of the runtime's tests on asyncio's own loop and on uvloop."""
    plain = {"asyncio": asyncio.new_event_loop}
    if item.path.stem in ON_BOTH_LOOPS:
        return {**plain, "uvloop": uvloop.new_event_loop}
    return plain


@pytest.fixture
async def system() -> AsyncIterator[ActorSystem]:
    async with manual_system() as system:
        yield system
