"""Output over real pipes: events as they are due, and the last call."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import pytest

from antiphon.actors import RealClock
from antiphon.services.worker.output import Output, waiting

from .harness import until


class Pipes:
    """Two pipes; ours to write."""

    def __init__(self) -> None:
        self.out_r, self.out_w = os.pipe()
        self.err_r, self.err_w = os.pipe()
        for fd in (self.out_r, self.err_r):
            os.set_blocking(fd, False)
        self.open = {self.out_r, self.out_w, self.err_r, self.err_w}

    def close(self, *fds: int) -> None:
        for fd in fds or tuple(self.open):
            self.open.remove(fd)
            os.close(fd)


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    pipes = Pipes()
    yield pipes
    pipes.close()


class Sayings(list[dict[str, Any]]):
    async def say(self, payload: dict[str, Any]) -> None:
        self.append(payload)


def follow(pipes: Pipes, said: Sayings, **options: Any) -> tuple[Any, Any]:
    options = {"folded": False, "keep_bytes": 1 << 30} | options
    output = Output(said.say, RealClock(), **options)
    last_call: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    return asyncio.ensure_future(output.follow(pipes.out_r, pipes.err_r, last_call)), last_call


async def test_lines_come_while_the_pipe_stays_open(pipes: Pipes) -> None:
    """Nobody has to wait for the end; an unfinished line waits for its rest."""
    said = Sayings()
    task, _ = follow(pipes, said)
    os.write(pipes.out_w, b"one\ntw")
    await until(lambda: said)
    assert said == [{"stream": "stdout", "lines": ["one"], "from_line": 1}]
    os.write(pipes.out_w, b"o")
    pipes.close(pipes.out_w, pipes.err_w)
    await task
    assert said[1] == {"stream": "stdout", "lines": ["two"], "from_line": 2}


async def test_the_last_call_takes_what_lies_there_and_no_more(pipes: Pipes) -> None:
    """Though somebody still holds the pipe and goes on writing."""
    said = Sayings()
    os.write(pipes.out_w, b"x" * 40_000 + b"\nend")
    task, last_call = follow(pipes, said)
    last_call.set_result(None)
    await asyncio.wait_for(task, 2)
    assert [len(line) for p in said for line in p["lines"]] == [16384, 16384, 7232, 3]
    os.write(pipes.out_w, b"later")
    assert waiting(pipes.out_r) == 5


async def test_the_last_call_does_not_wait_for_the_rate(pipes: Pipes) -> None:
    """What was written before the exit is told at once, also over the rate."""
    said = Sayings()
    task, last_call = follow(pipes, said, folded=True, keep_bytes=0)
    os.write(pipes.err_w, b"a\n" * 30_000)
    last_call.set_result(None)
    await asyncio.wait_for(task, 2)
    assert sum(len(p["lines"]) + p.get("skipped_lines", 0) for p in said) == 30_000


async def test_a_failure_to_publish_ends_the_following_and_lets_go_of_the_pipes(
    pipes: Pipes,
) -> None:
    async def say(payload: dict[str, Any]) -> None:
        raise RuntimeError("a bug")

    output = Output(say, RealClock(), folded=False, keep_bytes=1 << 30)
    os.write(pipes.out_w, b"x\n")
    last_call: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    with pytest.raises(RuntimeError, match="a bug"):
        await asyncio.wait_for(output.follow(pipes.out_r, pipes.err_r, last_call), 2)
    loop = asyncio.get_running_loop()
    assert not loop.remove_reader(pipes.out_r)
    assert not loop.remove_reader(pipes.err_r)
