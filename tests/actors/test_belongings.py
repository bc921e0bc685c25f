"""What a generation makes for itself exists only once it makes something, and ends with it."""

from __future__ import annotations

from typing import Any

from tests.actors.kit import Ctx, Do, Note, Recorder

from antiphon.actors import ActorSystem
from antiphon.testing import advance


async def test_an_actor_that_only_handles_messages_owns_nothing(system: ActorSystem) -> None:
    ref = await system.spawn(lambda: Recorder([]))

    async def nothing(ctx: Ctx) -> None:
        return

    await ref.call(Do(nothing))
    life = ref._cell.life  # type: ignore[union-attr]
    assert life.busy() is None
    assert life._own is None


async def test_all_that_it_owns_is_let_go_at_the_end(system: ActorSystem) -> None:
    log: list[Any] = []
    other = await system.spawn(lambda: Recorder([]))
    ref = await system.spawn(lambda: Recorder(log))

    async def make(ctx: Ctx) -> None:
        ctx.send_after(9.0, Note("late"))
        ctx.monitor(other)
        ctx.at_end(lambda: log.append("at end"))

    await ref.call(Do(make))
    life = ref._cell.life  # type: ignore[union-attr]
    assert (len(life.own.timers), len(life.own.monitors)) == (1, 1)
    ref.stop()
    await ref.wait()
    assert not any(getattr(life.own, name) for name in life.own.__slots__)
    await advance(system, 10.0)
    assert log[-1] == "at end"
