"""LineSplitter: the same lines, whatever the chunks."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.services.worker.lines import LONGEST_LINE, LineSplitter, text

OUTPUT = st.lists(
    st.one_of(
        st.binary(max_size=20), st.just(b"\n"), st.just("€uro—ß\n".encode()), st.just(b"\x80")
    )
).map(b"".join)


def split(chunks: list[bytes], longest: int) -> list[bytes]:
    splitter = LineSplitter(longest)
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    return lines + splitter.end()


@given(OUTPUT, st.lists(st.integers(0, 400)), st.integers(4, 40))
def test_any_chunking_gives_the_same_lines(output: bytes, cuts: list[int], longest: int) -> None:
    """Where the reads happen to fall changes nothing."""
    edges = sorted({0, len(output), *(cut for cut in cuts if cut < len(output))})
    chunks = [output[a:b] for a, b in pairwise(edges)]

    assert split(chunks, longest) == split([output], longest)


@given(OUTPUT, st.integers(4, 40))
def test_no_byte_is_lost_and_no_piece_is_too_long(output: bytes, longest: int) -> None:
    """Pieces put together again are the output without its newlines."""
    lines = split([output], longest)

    assert b"".join(lines) == output.replace(b"\n", b"")
    assert all(len(line) <= longest for line in lines)


@given(
    st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"])), st.integers(4, 9)
)
def test_a_long_line_is_never_cut_inside_a_character(line: str, longest: int) -> None:
    """Each piece of valid UTF-8 is valid UTF-8."""
    pieces = split([line.encode()], longest)

    assert "".join(piece.decode() for piece in pieces) == line


def test_lines_of_up_to_16_kib_stay_whole() -> None:
    """Exactly the limit is one line; one byte more makes two."""
    whole, over = b"x" * LONGEST_LINE, b"y" * (LONGEST_LINE + 1)

    assert split([whole + b"\n" + over + b"\n"], LONGEST_LINE) == [whole, over[:-1], b"y"]


def test_the_last_line_needs_no_newline() -> None:
    """What stands after the last newline is a line, an empty rest is none."""
    assert split([b"a\n", b"b"], 8) == [b"a", b"b"]
    assert split([b"a\nb\n"], 8) == [b"a", b"b"]


@given(st.binary())
def test_text_is_always_storable(line: bytes) -> None:
    """Invalid bytes become U+FFFD; the result has no lone surrogates."""
    assert text(line).encode("utf-8").decode("utf-8") == text(line)


def test_text_marks_what_is_not_utf8() -> None:
    assert text(b"a\xffb\x00") == "a�b\x00"


def test_a_limit_shorter_than_a_character_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 4, got 3"):
        LineSplitter(3)
