"""How changes are told. docs/semantics/files.md#events."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.bridges.files.events import key_of, mtime, shown, source_of, to_event
from antiphon.bridges.files.tree import Change, FileState
from antiphon.bus.access import SYSTEM
from antiphon.bus.event_rules import check_event
from antiphon.messages import EventIn

NOW = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
NAMES = st.binary(min_size=1, max_size=120).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)
PATHS = st.lists(NAMES | st.sampled_from([b"a\xff", b"a%FF", b"%"]), min_size=1, max_size=3).map(
    lambda names: os.fsdecode(b"/".join(names))
)
STATES = st.builds(
    FileState, st.integers(0, 2**63 - 1), st.integers(-(2**63), 2**63 - 1), st.integers(0, 9)
)


def told(change: Change, name: str = "n") -> EventIn:
    return to_event(change, source=source_of(name), time=NOW, event_id="w-1")


def test_an_event_names_path_size_and_time() -> None:
    state = FileState(12, 1_700_000_000_123_456_789, 1)

    event = told(Change("changed", "src/a.py", state), "desk top")

    assert event == EventIn(
        id="w-1",
        topic="file.changed",
        type="file_changed",
        source="/watch/desk%20top",
        time=NOW,
        key="src/a.py",
        payload={
            "path": "src/a.py",
            "size_bytes": 12,
            "mtime": "2023-11-14T22:13:20.123456Z",
        },
    )


def test_a_file_that_is_only_left_out_says_so() -> None:
    event = told(Change("deleted", "a", FileState(1, 0, 1), ignored=True))

    assert event.payload["ignored"] is True


@given(PATHS, STATES, NAMES.map(os.fsdecode))
def test_every_path_and_state_can_be_told(path: str, state: FileState, name: str) -> None:
    check_event(told(Change("created", path, state), name), SYSTEM)


@given(st.sets(PATHS, min_size=2))
def test_no_two_paths_are_told_alike(paths: set[str]) -> None:
    assert len({shown(path) for path in paths}) == len(paths)
    assert len({key_of(shown(path)) for path in paths}) == len(paths)


@pytest.mark.parametrize(
    ("path", "text"),
    [("ä b\n%", "ä b\n%"), (os.fsdecode(b"x/a\xff%"), "./x/a%FF%25")],
)
def test_a_path_is_told_as_it_is_unless_it_is_no_utf8(path: str, text: str) -> None:
    assert shown(path) == text


def test_a_long_or_odd_path_has_a_digest_for_a_key() -> None:
    assert key_of("a" * 200) == "a" * 200
    assert key_of("a" * 201).startswith("//sha256/")
    assert key_of("a\nb").startswith("//sha256/")


def test_a_time_that_no_calendar_has_is_null() -> None:
    assert mtime(2**63 - 1) is not None
    assert mtime(-(2**70)) is None
