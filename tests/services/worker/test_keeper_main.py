"""The keeper's pure parts: messages, the ladder, the process table."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.services.worker import keeper_main
from antiphon.services.worker.keeper_main import Ladder, Process, Unpacker, descendants, pack


@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=20))), st.integers(1, 9))
def test_messages_arrive_whole_in_any_pieces(messages: list[dict[str, Any]], size: int) -> None:
    stream = b"".join(map(pack, messages))
    unpacker = Unpacker()
    pieces = [stream[i : i + size] for i in range(0, len(stream), size)]

    assert [m for piece in pieces for m in unpacker.feed(piece)] == messages


def test_a_message_of_absurd_length_is_refused() -> None:
    with pytest.raises(ValueError, match="4294967295 bytes"):
        Unpacker().feed(b"\xff\xff\xff\xff")


def test_the_ladder_is_hup_and_cont_then_term_then_kill() -> None:
    """HUP and CONT at once, TERM after 2 s, KILL 3 s later and again and again."""
    ladder = Ladder(100.0)
    assert ladder.due(100.0) == (signal.SIGHUP, signal.SIGCONT)
    assert ladder.wait(100.0) == 2.0
    assert ladder.due(101.9) == ()
    assert ladder.due(102.0) == (signal.SIGTERM,)
    assert ladder.wait(102.0) == 3.0
    assert ladder.due(105.0) == (signal.SIGKILL,)
    assert ladder.wait(105.0) == pytest.approx(0.05)
    assert ladder.due(105.06) == (signal.SIGKILL,)
    assert not ladder.stuck(105.06)


def test_a_ladder_that_was_held_up_catches_up() -> None:
    ladder = Ladder(0.0)
    assert ladder.due(9.0) == (signal.SIGHUP, signal.SIGCONT, signal.SIGTERM, signal.SIGKILL)


def test_a_ladder_says_when_it_is_of_no_use_and_slows_down() -> None:
    ladder = Ladder(0.0)
    ladder.due(10.0)
    assert ladder.stuck(10.0)
    assert ladder.wait(10.0) == pytest.approx(1.0)


def test_a_hastened_ladder_kills_at_once() -> None:
    ladder = Ladder(0.0)
    ladder.hasten(0.0)
    assert ladder.due(0.0) == (signal.SIGKILL,)


def test_descendants_are_found_at_any_depth_and_nobody_else() -> None:
    table = [
        Process(pid, parent, 0, False)
        for pid, parent in [(1, 0), (2, 1), (3, 2), (4, 3), (5, 1), (0, 0)]
    ]
    assert [p.pid for p in descendants(table, 2)] == [3, 4]


@pytest.mark.parametrize("read", [keeper_main._from_ps, keeper_main.processes])
def test_the_process_table_shows_this_process(read: Any) -> None:
    """By /proc where there is one, and by ps and getsid where there isn't."""
    if read is keeper_main._from_ps and not os.path.exists("/bin/ps"):
        pytest.fail("this machine has no /bin/ps")
    mine = next(p for p in read() if p.pid == os.getpid())
    assert mine == (os.getpid(), os.getppid(), os.getsid(0), False)
