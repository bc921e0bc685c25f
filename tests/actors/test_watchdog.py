"""A blocked loop is told of, with the actor, the message and the place in the code."""

from __future__ import annotations

import logging
import time

import pytest
from tests.actors.kit import Ctx, Do, Recorder

from antiphon.actors import ActorSystem


async def test_who_blocks_the_loop_is_named_with_its_stack(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def block_the_loop(ctx: Ctx) -> None:
        deadline = time.monotonic() + 5
        while not caplog.records and time.monotonic() < deadline:
            time.sleep(0.001)  # noqa: ASYNC251 - the fault itself

    with caplog.at_level(logging.WARNING, "antiphon.actors.watchdog"):
        async with ActorSystem(watchdog=0.02) as system:
            ref = await system.spawn(Recorder, "blocker")
            await ref.call(Do(block_the_loop))
            watchdog = system.watchdog
    [record] = [r for r in caplog.records if "user/blocker" in r.getMessage()][:1]
    assert "handling Do" in record.getMessage()
    assert "block_the_loop" in record.getMessage()
    assert watchdog is not None
    assert watchdog.blocked >= 1


async def test_it_ends_with_its_system() -> None:
    async with ActorSystem(watchdog=0.5) as system:
        watchdog = system.watchdog
        assert watchdog is not None
        assert watchdog._thread.is_alive()
    assert not watchdog._thread.is_alive()


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="over 0"):
        ActorSystem(watchdog=0)
