"""Lines are found whatever pieces the input comes in; what is none is told by its number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.cli.lines import Line, LineSplitter, NoPayload, json_payload, text_payload

pieces = st.lists(st.text("ab\r\n", max_size=12).map(str.encode), max_size=8)


@given(pieces)
def test_the_pieces_make_no_difference(pieces: list[bytes]) -> None:
    splitter = LineSplitter(6)
    found = [line for piece in pieces for line in splitter.feed(piece)] + splitter.end()
    *ends, rest = b"".join(pieces).split(b"\n")
    wanted = [end.removesuffix(b"\r") for end in ends] + ([rest] if rest else [])
    assert [line.number for line in found] == list(range(1, len(wanted) + 1))
    for line, data in zip(found, wanted, strict=True):
        if len(data) > 6:
            assert line == Line(line.number, b"", "over 6 bytes")
        else:
            assert line == Line(line.number, data)


def test_a_line_without_end_takes_no_more_memory_than_the_limit() -> None:
    splitter = LineSplitter(1000)
    for _ in range(1000):
        assert splitter.feed(b"x" * 999) == []
        assert sum(map(len, splitter._begun)) <= 1001
    assert splitter.feed(b"\nnext\n") == [
        Line(1, b"", "over 1000 bytes"),
        Line(2, b"next"),
    ]


def test_what_is_no_text_or_no_json_says_so() -> None:
    assert text_payload("é\t".encode()) == "é\t"
    with pytest.raises(NoPayload, match="not UTF-8: byte 0xff at 2"):
        text_payload(b"ab\xff")
    assert json_payload(b" ") is None
    assert bytes(json_payload(b'{"a": 1}') or b"") == b'{"a": 1}'
    for bad in (b"{", b"1 2", b'"\xff"'):
        with pytest.raises(NoPayload, match=r"no JSON|not UTF-8"):
            json_payload(bad)
