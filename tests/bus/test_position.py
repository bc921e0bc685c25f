"""Starts: words, cursors and bare seqs, and cursors of another history."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.bus.position import Start, resolve
from antiphon.bus.store import Epoch
from antiphon.errors import BadRequest

EPOCHS = [Epoch("aa", 1), Epoch("bb", 11), Epoch("cc", 21)]


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("now", Start(30)),
        ("earliest", Start(0)),
        ("last", Start(30, last=True)),
        (12, Start(12, known=True)),
        ("12", Start(12, known=True)),
        (99, Start(30, known=True)),
        ("aa.10", Start(10, known=True)),
        ("bb.15", Start(15, known=True)),
        ("cc.30", Start(30, known=True)),
    ],
)
def test_a_start_names_a_position(start: str | int, expected: Start) -> None:
    assert resolve(start, EPOCHS, 30) == expected


def test_a_cursor_past_the_end_of_its_epoch_is_reset_to_where_the_histories_part() -> None:
    found = resolve("aa.14", EPOCHS, 30)
    assert found.position == 10
    assert found.reset is not None


def test_a_cursor_past_the_head_is_reset_to_the_head() -> None:
    found = resolve("cc.31", EPOCHS, 30)
    assert found.position == 30
    assert found.reset is not None


def test_a_cursor_of_an_unknown_epoch_is_reset_to_the_beginning() -> None:
    found = resolve("dd.5", EPOCHS, 30)
    assert found.position == 0
    assert found.reset is not None


@pytest.mark.parametrize(
    "start", ["", "soon", "aa", "aa.", ".5", "aa.-1", "aa.1x", "é.1", -1, True, 1.5, "9" * 17]
)
def test_what_is_no_start_is_refused(start: object) -> None:
    with pytest.raises(BadRequest):
        resolve(start, EPOCHS, 30)  # type: ignore[arg-type]


@given(st.integers(0, 10**15), st.booleans())
def test_a_bare_seq_is_never_reset(seq: int, as_text: bool) -> None:
    """It names no history, so it can't be of another one; beyond the head means the head."""
    found = resolve(str(seq) if as_text else seq, EPOCHS, 30)
    assert (found.position, found.reset) == (min(seq, 30), None)
