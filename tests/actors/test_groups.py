"""Process groups: members, holders, watchers."""

from __future__ import annotations

from typing import Any

import pytest
from tests.actors.kit import Crash, Ctx, Do, Recorder

from antiphon.actors import ActorSystem, Child, Joined, Key, Left, Supervisor
from antiphon.errors import ActorDead
from antiphon.testing import Probe, settle

KEY: Key[Any] = Key("thing")


async def test_joining_is_idempotent_and_leaving_undoes_it(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder)
    system.groups.join("s", "g", ref)
    system.groups.join("s", "g", ref)
    assert system.groups.members("s", "g") == [ref]
    system.groups.leave("s", "g", ref)
    assert system.groups.members("s", "g") == []
    system.groups.leave("s", "g", ref)


async def test_scopes_are_apart_and_empty_groups_absent(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder)
    system.groups.join("s", "g", ref)
    system.groups.join("t", "g", ref)
    system.groups.leave("t", "g", ref)
    assert system.groups.groups("s") == {"g": [ref]}
    assert system.groups.groups("t") == {}
    assert system.groups.names() == [("s", "g")]


async def test_death_is_leaving(system: ActorSystem) -> None:
    ref = await system.spawn(Recorder)
    system.groups.join("s", "g", ref)
    ref.kill()
    await ref.wait()
    assert system.groups.names() == []
    with pytest.raises(ActorDead, match="cannot join s/g"):
        system.groups.join("s", "g", ref)


async def test_what_a_generation_joined_ends_with_it_what_its_ref_joined_stays(
    system: ActorSystem,
) -> None:
    await system.supervise(Supervisor([Child(KEY, Recorder)]), "sup")
    ref = system.ref(KEY)

    async def join(ctx: Ctx) -> None:
        ctx.join("s", "by generation")
        ctx.join("s", "by both")

    await ref.call(Do(join))
    system.groups.join("s", "by ref", ref)
    system.groups.join("s", "by both", ref)
    ref.cast(Crash(ValueError()))
    await settle(system)
    assert set(system.groups.groups("s")) == {"by ref", "by both"}


async def test_a_stopping_actor_may_not_join(system: ActorSystem) -> None:
    refused: list[bool] = []

    class Late(Recorder):
        async def post_stop(self, reason: Any, ctx: Ctx) -> None:
            with pytest.raises(ActorDead):
                ctx.join("s", "g")
            refused.append(True)

    ref = await system.spawn(Late)
    ref.stop()
    await ref.wait()
    assert refused == [True]


async def test_a_watcher_hears_every_real_change_once(system: ActorSystem) -> None:
    probe: Probe[Any] = await Probe.spawn(system)
    a, b = await system.spawn(Recorder), await system.spawn(Recorder)
    system.groups.join("s", "g", a)
    assert probe.ctx.monitor_group("s", "g") == {"g": [a]}
    assert probe.ctx.monitor_group("s") == {"g": [a]}
    system.groups.join("s", "g", a)
    system.groups.join("s", "g", b)
    b.kill()
    await b.wait()
    system.groups.leave("s", "g", a)
    system.groups.leave("s", "g", a)
    system.groups.join("t", "g", a)
    await settle(system)
    assert probe.notices == [Joined("s", "g", b), Left("s", "g", b), Left("s", "g", a)]


async def test_watching_a_scope_hears_of_new_groups(system: ActorSystem) -> None:
    probe: Probe[Any] = await Probe.spawn(system)
    ref = await system.spawn(Recorder)
    assert probe.ctx.monitor_group("s") == {}
    system.groups.join("s", "new", ref)
    await settle(system)
    assert probe.notices == [Joined("s", "new", ref)]
