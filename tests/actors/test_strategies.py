"""Groups that restart together, and supervisors whose children come and go."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.actors.kit import Ask, Crash, Ctx, Do, Gate, Note, Recorder, Stubborn, until

from antiphon.actors import (
    ActorRef,
    ActorSystem,
    Backoff,
    Child,
    DynamicSupervisor,
    Failed,
    Key,
    RemoveChild,
    Restart,
    StartChild,
    Status,
    Strategy,
    Supervisor,
)
from antiphon.errors import CalleeFailed, NameTaken, SpawnFailed, TooManyChildren
from antiphon.testing import advance, settle

KEYS = [Key[Any](name) for name in "abcd"]
SLOW = Backoff(base=1.0, cap=8.0, jitter=0.0)


class Named(Recorder):
    """Writes its own name and what happens to it into one log for all."""

    def __init__(self, name: str, log: list[str], failing: set[str]) -> None:
        super().__init__([])
        self.name = name
        self.all = log
        self.failing = failing

    async def pre_start(self, ctx: Ctx) -> None:
        if self.name in self.failing:
            raise ValueError(f"{self.name} cannot start")
        self.all.append(f"{self.name} starts")

    async def post_stop(self, reason: Any, ctx: Ctx) -> None:
        if not isinstance(reason, Failed):
            self.all.append(f"{self.name} ends")


async def family(
    system: ActorSystem,
    strategy: Strategy,
    *,
    restarts: dict[str, Restart] | None = None,
    failing: set[str] | None = None,
    intensity: int = 3,
    backoff: Backoff | None = None,
) -> tuple[list[str], list[ActorRef[Any]]]:
    log: list[str] = []
    children = [
        Child(
            key,
            lambda key=key: Named(key.name, log, failing or set()),  # type: ignore[misc]
            restart=(restarts or {}).get(key.name, Restart.PERMANENT),
            backoff=backoff or Backoff(),
        )
        for key in KEYS
    ]
    await system.supervise(Supervisor(children, strategy=strategy, intensity=intensity), "sup")
    log.clear()
    return log, [system.ref(key) for key in KEYS]


async def crash(system: ActorSystem, ref: ActorRef[Any]) -> None:
    ref.cast(Crash(ValueError("crash")))
    await settle(system)


async def test_one_for_all_ends_the_rest_in_reverse_and_starts_all_in_order(
    system: ActorSystem,
) -> None:
    log, refs = await family(system, Strategy.ONE_FOR_ALL)
    await crash(system, refs[1])
    assert log == [
        *("d ends", "c ends", "a ends"),
        *("a starts", "b starts", "c starts", "d starts"),
    ]
    assert [ref.generation for ref in refs] == [2, 2, 2, 2]


async def test_rest_for_one_leaves_those_before_it_alone(system: ActorSystem) -> None:
    log, refs = await family(system, Strategy.REST_FOR_ONE)
    await crash(system, refs[1])
    assert log == ["d ends", "c ends", "b starts", "c starts", "d starts"]
    assert [ref.generation for ref in refs] == [1, 2, 2, 2]


async def test_messages_wait_through_a_group_restart(system: ActorSystem) -> None:
    _log, refs = await family(system, Strategy.ONE_FOR_ALL)
    refs[0].cast(Crash(ValueError()))
    waiting = [ref.call(Ask("still there")) for ref in refs]
    assert await asyncio.gather(*waiting) == ["still there"] * 4


async def test_in_a_group_transient_children_restart_and_temporary_ones_never(
    system: ActorSystem,
) -> None:
    log, refs = await family(
        system,
        Strategy.ONE_FOR_ALL,
        restarts={"c": Restart.TRANSIENT, "d": Restart.TEMPORARY},
    )
    await crash(system, refs[0])
    assert log[-3:] == ["a starts", "b starts", "c starts"]
    assert not refs[3].is_alive
    assert refs[2].generation == 2


async def test_a_group_restart_counts_once(system: ActorSystem) -> None:
    _log, refs = await family(system, Strategy.ONE_FOR_ALL, intensity=3)
    for n in range(3):
        await crash(system, refs[n])
        await advance(system, 0.5)
    assert all(ref.is_alive for ref in refs)
    assert refs[0].generation == 4
    await crash(system, refs[0])
    await settle(system)
    assert system.ref(Key[Any]("sup")).generation == 2  # it gave up, its own supervisor didn't


async def test_a_failed_start_in_a_group_counts_and_the_group_begins_again(
    system: ActorSystem,
) -> None:
    failing: set[str] = set()
    log, refs = await family(system, Strategy.ONE_FOR_ALL, failing=failing, backoff=SLOW)
    failing.add("c")
    await crash(system, refs[0])
    assert log[-4:] == ["a starts", "b starts", "b ends", "a ends"]
    failing.clear()
    log.clear()
    await advance(system, 0.9)
    assert log == []
    await advance(system, 0.1)
    assert log == ["a starts", "b starts", "c starts", "d starts"]


async def test_too_many_failed_starts_in_a_group_end_the_supervisor(system: ActorSystem) -> None:
    failing: set[str] = set()
    _log, refs = await family(system, Strategy.REST_FOR_ONE, failing=failing, intensity=2)
    failing.add("d")
    await crash(system, refs[2])
    await advance(system, 0.1)
    assert not any(ref.is_alive for ref in refs)
    assert system.ref(Key[Any]("sup")).status is Status.NEW
    failing.clear()
    await advance(system, 60.0)
    assert all(ref.is_alive for ref in refs)


async def test_a_group_waits_for_its_backoff_and_stop_ends_the_wait(system: ActorSystem) -> None:
    log, refs = await family(system, Strategy.ONE_FOR_ALL, backoff=SLOW)
    await crash(system, refs[0])
    log.clear()
    await crash(system, refs[0])
    assert log == ["d ends", "c ends", "b ends"]
    await advance(system, 0.9)
    assert "a starts" not in log
    await advance(system, 0.1)
    assert log[-4:] == ["a starts", "b starts", "c starts", "d starts"]
    await crash(system, refs[0])
    sup = system.ref(Key[Any]("sup"))
    sup.stop()
    await settle(system)
    assert sup.generation == 2
    assert log[-4:] == ["a starts", "b starts", "c starts", "d starts"]


async def test_a_second_crash_while_a_group_ends_is_no_second_restart(
    system: ActorSystem,
) -> None:
    _log, refs = await family(system, Strategy.ONE_FOR_ALL, intensity=1)
    gate = Gate()

    async def hold_and_fail(ctx: Ctx) -> None:
        await gate.hold()
        raise ValueError("second")

    refs[3].cast(Do(hold_and_fail))
    await gate.reached.wait()
    refs[0].cast(Crash(ValueError("first")))
    await until(lambda: refs[3]._cell is not None and refs[3]._cell.life._asked is not None)
    gate.opened.set()
    await settle(system)
    assert [ref.generation for ref in refs] == [2, 2, 2, 2]


async def test_rest_for_one_grows_when_an_earlier_child_ends_meanwhile(
    system: ActorSystem,
) -> None:
    log, refs = await family(system, Strategy.REST_FOR_ONE, backoff=SLOW)
    await crash(system, refs[2])
    await crash(system, refs[2])  # now they wait for a second
    await crash(system, refs[0])
    await advance(system, 1.0)
    assert [ref.generation for ref in refs] == [2, 2, 3, 3]
    assert log[-4:] == ["a starts", "b starts", "c starts", "d starts"]


async def test_a_member_that_will_not_stop_is_killed_in_time(system: ActorSystem) -> None:
    log, refs = await family(system, Strategy.ONE_FOR_ALL)
    held = Gate()
    refs[2].cast(held.do)
    await held.reached.wait()
    await crash(system, refs[0])
    assert refs[0].generation == 2  # held back
    assert "a starts" not in log
    await advance(system, 5.0)
    assert [ref.generation for ref in refs] == [2, 2, 2, 2]
    assert log[-4:] == ["a starts", "b starts", "c starts", "d starts"]


@given(
    st.sampled_from(Strategy),
    st.lists(st.integers(0, 99), min_size=1, max_size=8, unique=True),
    st.data(),
)
def test_a_group_is_the_one_all_or_those_from_it_on(
    strategy: Strategy, children: list[int], data: st.DataObject
) -> None:
    ended = data.draw(st.sampled_from(children))
    group = strategy.group(children, ended)
    at = children.index(ended)
    expected = {"one_for_one": [ended], "one_for_all": children, "rest_for_one": children[at:]}
    assert group == expected[strategy.value]


# --- dynamic ----------------------------------------------------------------------------


async def dynamic(system: ActorSystem, **options: Any) -> ActorRef[Any]:
    return await system.supervise(DynamicSupervisor(**options), "pool")


async def test_children_come_by_message_and_are_kept(system: ActorSystem) -> None:
    pool = await dynamic(system)
    ref = await pool.call(StartChild(Child(KEYS[0], Recorder)))
    assert await ref.call(Ask("hi")) == "hi"
    await crash(system, ref)
    assert ref.generation == 2
    with pytest.raises(NameTaken):
        await pool.call(StartChild(Child(KEYS[0], Recorder)))


async def test_a_child_that_cannot_start_is_told_and_not_kept(system: ActorSystem) -> None:
    pool = await dynamic(system, max_children=1)
    with pytest.raises(SpawnFailed):
        await pool.call(StartChild(Child(KEYS[0], lambda: Named("a", [], {"a"}))))
    await pool.call(StartChild(Child(KEYS[0], Recorder)))


async def test_a_child_that_makes_no_sense_is_the_askers_fault_alone(system: ActorSystem) -> None:
    pool = await dynamic(system)
    healthy = await pool.call(StartChild(Child(KEYS[0], Recorder)))
    with pytest.raises(ValueError, match="capacity"):
        await pool.call(StartChild(Child(KEYS[1], Recorder, capacity=0)))
    assert pool.generation == 1
    assert await healthy.call(Ask("fine")) == "fine"


async def test_a_slow_start_holds_up_no_other(system: ActorSystem) -> None:
    pool = await dynamic(system)
    gate = Gate()

    class Slow(Recorder):
        async def pre_start(self, ctx: Ctx) -> None:
            await gate.hold()

    slow = pool.call(StartChild(Child(KEYS[0], Slow)), timeout=None)
    await gate.reached.wait()
    quick = await pool.call(StartChild(Child(KEYS[1], Recorder)))
    assert await quick.call(Ask("quick")) == "quick"
    gate.opened.set()
    await slow


async def test_the_bound_counts_those_that_wait_to_be_restarted(system: ActorSystem) -> None:
    pool = await dynamic(system, max_children=2)
    first = await pool.call(StartChild(Child(KEYS[0], Recorder, backoff=SLOW)))
    await pool.call(StartChild(Child(KEYS[1], Recorder)))
    await crash(system, first)
    await crash(system, first)  # waits for a second
    with pytest.raises(TooManyChildren, match="2 children"):
        await pool.call(StartChild(Child(KEYS[2], Recorder)))
    assert await pool.call(RemoveChild(KEYS[0]))
    await pool.call(StartChild(Child(KEYS[2], Recorder)))


async def test_remove_ends_the_ref_whatever_its_restart_type(system: ActorSystem) -> None:
    pool = await dynamic(system)
    ref = await pool.call(StartChild(Child(KEYS[0], Recorder)))
    assert await pool.call(RemoveChild(KEYS[0])) is True
    assert not ref.is_alive
    assert await pool.call(RemoveChild(KEYS[0])) is False
    again = await pool.call(StartChild(Child(KEYS[0], Recorder)))
    assert again is ref
    assert await ref.call(Ask("back")) == "back"


async def test_its_children_end_all_at_once(system: ActorSystem) -> None:
    """Three that take all of their five seconds end in five, not in fifteen."""
    pool = await dynamic(system)
    stubborn = [Stubborn() for _ in range(3)]
    for key, one in zip(KEYS, stubborn, strict=False):
        ref = await pool.call(StartChild(Child(key, Recorder)))
        ref.cast(one.do)
        await one.reached.wait()
    ended = asyncio.ensure_future(pool.wait_generation())
    pool.stop()
    await advance(system, 5.0)
    assert all(one.survived == 1 for one in stubborn)
    for one in stubborn:
        one.go.set()
    await ended


async def test_a_start_that_is_under_way_when_the_supervisor_ends_is_refused(
    system: ActorSystem,
) -> None:
    pool = await dynamic(system)
    gate = Gate()

    class Slow(Recorder):
        async def pre_start(self, ctx: Ctx) -> None:
            await gate.hold()

    slow = pool.call(StartChild(Child(KEYS[0], Slow)), timeout=None)
    await gate.reached.wait()
    pool.kill()
    with pytest.raises((CalleeFailed, SpawnFailed)):
        await slow
    await settle(system)
    assert system.lookup("a") is None


async def test_every_supervisor_takes_more_children(system: ActorSystem) -> None:
    """A child that came later belongs to the group from then on."""
    _log, refs = await family(system, Strategy.ONE_FOR_ALL)
    late = await system.ref(Key[Any]("sup")).call(StartChild(Child(Key[Any]("late"), Recorder)))
    await crash(system, refs[0])
    assert late.generation == 2
    late.cast(Note("x"))
    await settle(system)


def test_no_room_for_any_child_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        DynamicSupervisor(max_children=0)
