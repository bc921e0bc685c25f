"""Nothing that a stranger wrote steers the terminal; what programs read is left as it is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.cli import console
from antiphon.cli.show import EventLines, seq_of

HOSTILE = "\x1b]0;owned\x07\x9b31m\u202e\u2028\x7f"


@given(st.text())
def test_cleaned_text_holds_only_what_can_be_printed(text: str) -> None:
    assert console.clean(text).isprintable()


@given(st.text().filter(str.isprintable))
def test_printable_text_stays_as_it_is(text: str) -> None:
    assert console.clean(text) == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_for_a_terminal_is_harmless_and_means_the_same(text: str) -> None:
    data = json.dumps({"payload": text}, ensure_ascii=False).encode()
    shown = console.harmless_json(data)
    assert shown.decode().isprintable()
    assert json.loads(shown) == {"payload": text}


def test_a_commands_colours_and_tabs_reach_the_terminal_and_nothing_else() -> None:
    assert console.coloured("\x1b[31mred\x1b[0m\tplain") == "\x1b[31mred\x1b[0m\tplain\x1b[0m"
    shown = console.coloured(f"a{HOSTILE}\x1b[2Jb")
    assert shown.isprintable()


def test_a_hostile_event_is_one_printable_line() -> None:
    event = {"seq": 3, "topic": "a.b", "time": "2026-01-02T03:04:05.678Z", "payload": HOSTILE}
    line = EventLines().line(json.dumps(event, ensure_ascii=False).encode())
    assert line.isprintable()
    assert "a.b" in line


def test_lines_are_cut_to_the_width_and_aligned() -> None:
    lines = EventLines(width=60)
    first, second = (
        lines.line(
            json.dumps(
                {"seq": seq, "topic": topic, "time": "2026-01-02T03:04:05Z", "payload": "x" * 99}
            ).encode()
        )
        for seq, topic in ((1, "short"), (20000, "longer"))
    )
    assert len(first) == len(second) == 60
    assert first.index('"x') == second.index('"x')


def test_an_ephemeral_event_has_a_dash_for_its_position() -> None:
    event = b'{"topic":"a","time":"2026-01-02T03:04:05Z","payload":null}'
    assert seq_of(event) is None
    assert "  -  a " in EventLines().line(event)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**40, "1.0 TiB"), (2**50, "1024.0 TiB")],
)
def test_sizes_are_written_for_people(count: int, text: str) -> None:
    assert console.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0s"), (59.4, "59s"), (61, "1m01s"), (3725, "1h02m"), (400000, "4d15h")],
)
def test_durations_are_written_for_people(seconds: float, text: str) -> None:
    assert console.age(seconds) == text


def test_a_table_is_aligned_with_numbers_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_table(("NAME", "COUNT"), [("a", 1), ("longer\x1b", 1000)])
    assert capsys.readouterr().out == "NAME        COUNT\na               1\nlonger\\x1b   1000\n"
