"""Outbox: one event, however often the log refuses it."""

from __future__ import annotations

from antiphon.actors import RealClock
from antiphon.services.worker.publishing import Outbox

from .harness import MemoryLog


async def test_an_event_waits_for_the_log_and_keeps_its_id(log: MemoryLog) -> None:
    outbox = Outbox(log, RealClock(), "w", "run-1")
    log.refusals = 3
    await outbox.say("failed", {"exit_code": 1}, id="given")
    (event,) = log.events
    assert log.refused == ["given"] * 3
    assert event == {
        "id": "given",
        "topic": "worker.w.failed",
        "type": "worker_failed",
        "source": "/workers/w",
        "payload": {"exit_code": 1},
        "correlation_id": "run-1",
    }


async def test_only_the_three_ends_of_its_own_run_count_as_its_end(log: MemoryLog) -> None:
    outbox = Outbox(log, RealClock(), "w", "run-1")
    await outbox.say("progress", {})
    await Outbox(log, RealClock(), "w", "run-2").say("failed", {})
    assert not await outbox.has_ended()
    await outbox.say("cancelled", {})
    assert await outbox.has_ended()
