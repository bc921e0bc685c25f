"""A process that works in a group is killed again and again: nothing is left out."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from tests.bus.durable_kit import take

from antiphon.app import core
from antiphon.stores import SqliteEventStore

CREW = Path(__file__).with_name("crew.py")


def _kill_midway(path: Path, first: int, lines: int) -> list[tuple[str, int]]:
    """Let a child work and kill it after so many lines; what it said."""
    with subprocess.Popen(
        [sys.executable, str(CREW), str(path), str(first), "100000"], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        said = [child.stdout.readline() for _ in range(lines)]
        child.kill()
        said += child.stdout.readlines()
    words = [line.split() for line in said if line.endswith(b"\n")]
    return [(kind.decode(), int(seq)) for kind, seq in words]


async def _kill_rounds(path: Path, rounds: int) -> None:
    """Every event is handled at least once: by who was killed, or by who comes at the end."""
    chance = random.Random(7)
    handled: set[int] = set()
    again = 0
    for n in range(rounds):
        said = _kill_midway(path, n * 100_000, chance.randint(50, 600))
        now = [seq for kind, seq in said if kind == "h"]
        assert len(now) == len(set(now))  # one life hands out nothing twice
        again += len(handled.intersection(now))
        handled.update(now)
    async with core(SqliteEventStore(path)) as running:
        [info] = running.bus.durables()
        head = running.bus.head
        assert handled >= set(range(1, info.position + 1))
        member = await running.bus.join("crew", window=10_000)
        while len(handled) < head:
            [event] = await take(member, 1)
            handled.add(event.seq or 0)
        await member.release()
    assert handled == set(range(1, head + 1))
    assert again > 0  # else the kills came at no bad time, and this shows nothing


async def test_a_killed_process_leaves_no_event_out(tmp_path: Path) -> None:
    await _kill_rounds(tmp_path / "log.db", 3)


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_process_killed_many_times_leaves_no_event_out(tmp_path: Path) -> None:
    await _kill_rounds(tmp_path / "log.db", 40)
