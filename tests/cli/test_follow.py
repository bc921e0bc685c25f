"""Following ends with the position of what was written: nothing is repeated, nothing skipped."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from antiphon.cli.follow import follow
from antiphon.client import Batch, NoServer, TailNotice
from antiphon.errors import Forbidden


class ScriptedTail:
    """A tail whose items are given; its position moves as a real one's does."""

    def __init__(self, *items: Any, cursor: str | None = "e.0") -> None:
        self.cursor = cursor
        self._items = items
        self.closed = False

    def __iter__(self) -> Iterator[Any]:
        for item in self._items:
            if isinstance(item, Exception):
                raise item
            if callable(item):
                item(self)
                continue
            yield item
            if isinstance(item, Batch):
                self.cursor = item.cursor
        raise KeyboardInterrupt

    def close(self) -> None:
        self.closed = True


def batch(*seqs: int) -> Batch:
    return Batch([b'{"seq":%d}' % seq for seq in seqs], f"e.{seqs[-1]}")


def run(
    capsys: pytest.CaptureFixture[str],
    tail: ScriptedTail,
    write: Callable[[bytes], None] | None = None,
    limit: int | None = None,
) -> tuple[list[int], str | None, int]:
    seen: list[int] = []
    code = follow(
        tail,  # type: ignore[arg-type]
        write or (lambda data: seen.append(json.loads(data)["seq"])),
        limit=limit,
    )
    last = capsys.readouterr().err.splitlines()[-1]
    assert tail.closed
    return seen, json.loads(last)["cursor"], code


def test_an_interrupt_while_waiting_ends_it_after_what_was_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(capsys, ScriptedTail(batch(1, 2), batch(3))) == ([1, 2, 3], "e.3", 0)


def test_a_limit_ends_it_inside_a_batch_with_the_position_of_the_last_one_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(capsys, ScriptedTail(batch(1, 2), batch(3, 4, 5)), limit=4) == (
        [1, 2, 3, 4],
        "e.4",
        0,
    )


def test_an_interrupt_while_writing_ends_it_after_the_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen: list[int] = []

    def write(data: bytes) -> None:
        seen.append(json.loads(data)["seq"])
        if len(seen) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    _, cursor, code = run(capsys, ScriptedTail(batch(1, 2, 3)), write)
    assert (seen, cursor, code) == ([1, 2], "e.2", 0)


def test_a_position_without_events_is_the_position_at_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def moved(tail: ScriptedTail) -> None:
        tail.cursor = "e.90"

    assert run(capsys, ScriptedTail(batch(1), moved))[1] == "e.90"


def test_ephemeral_events_leave_the_position_where_it_was(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tail = ScriptedTail(batch(5), Batch([b"{}", b"{}"], "e.5"))
    seen: list[bytes] = []
    assert run(capsys, tail, seen.append, limit=2)[1] == "e.5"


def test_a_refusal_on_the_way_is_told_and_the_position_still_comes_last(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tail = ScriptedTail(batch(1), TailNotice("lost", "lost the server"), Forbidden("no more"))
    seen: list[bytes] = []
    code = follow(tail, seen.append)  # type: ignore[arg-type]
    told = capsys.readouterr().err.splitlines()
    assert code == 1
    assert told == [
        "antiphon: lost the server",
        "antiphon: no more (forbidden)",
        '{"cursor": "e.1"}',
    ]


def test_before_the_first_connect_there_is_no_position_to_tell(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(NoServer):
        follow(ScriptedTail(NoServer("nobody"), cursor=None), print)  # type: ignore[arg-type]
    assert capsys.readouterr().err == ""
