"""Who is connected by which token, and hears of its end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from antiphon.bus import ADMIN, Access, Principal
from antiphon.errors import Overloaded
from antiphon.gateway.holds import Holds, Pass


@dataclass
class Owner:
    principal: Principal


ANN = Owner(Principal("ann", Access()))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_each_is_told_once_why_and_others_are_not() -> None:
    holds, told = Holds(9, Clock()), list[str]()
    one, other = Pass("1", ANN), Pass("2", ANN)
    holds.add(one, told.append)
    undo = holds.add(one, lambda why: told.append("undone"))
    holds.add(other, lambda why: told.append("other"))
    undo()
    undo()
    assert holds.count("ann") == 2
    assert holds.end(["1", "unknown"], "it was revoked") == 1
    assert holds.end(["1"], "again") == 0
    assert (told, holds.count("ann")) == (["it was revoked"], 1)


async def test_a_name_has_so_many_and_one_that_is_given_up_makes_room() -> None:
    holds = Holds(2, Clock())
    undo = holds.add(Pass("1", ANN), print)
    holds.add(Pass("2", ANN), print)
    with pytest.raises(Overloaded, match="ann has 2 connections, at most 2") as refused:
        holds.add(Pass("1", ANN), print)
    assert (refused.value.limit, holds.refused) == (2, 1)
    holds.add(Pass("1", ANN), print, spare=1)
    undo()
    with pytest.raises(Overloaded):
        holds.add(Pass("1", ANN), print)
    for _ in range(9):
        holds.add(Pass("a", Owner(ADMIN)), print)


async def ended(told: list[str]) -> None:
    async with asyncio.timeout(5):
        while not told:
            await asyncio.sleep(0.001)


async def test_an_expiry_is_told_at_its_time_by_the_wall_clock() -> None:
    clock, told = Clock(), list[str]()
    holds = Holds(9, clock)
    holds.add(Pass("1", ANN, clock.now + 0.02), told.append)
    await asyncio.sleep(0.05)
    assert told == []  # the wall clock was put back meanwhile
    clock.now += 0.02
    await ended(told)
    assert told == ["the token has expired"]
    assert holds.count("ann") == 0


async def test_an_end_that_comes_to_be_known_later_counts_too() -> None:
    clock, told = Clock(), list[str]()
    holds = Holds(9, clock)
    holds.add(Pass("1", ANN), told.append)
    clock.now += 10
    holds.expire("1", clock.now)
    await ended(told)
    assert told == ["the token has expired"]
