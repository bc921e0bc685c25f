"""What a command gets as its environment and shows of its arguments; refusals are in
test_workers_actor.py."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.messages import WorkerStart
from antiphon.services.worker.request import check_start, environment, shown


def test_only_path_home_and_lang_come_from_the_server() -> None:
    ours = {"PATH": "/p", "HOME": "/h", "LANG": "de", "SECRET": "s", "ANTIPHON_TOKEN": "t"}
    assert environment(None, ours) == {"PATH": "/p", "HOME": "/h", "LANG": "de"}
    assert environment({"PATH": "/q", "X": ""}, ours) == {
        "PATH": "/q",
        "HOME": "/h",
        "LANG": "de",
        "X": "",
    }


def test_a_server_without_an_environment_still_gives_a_usable_one() -> None:
    env = environment({}, {})
    assert "/usr/bin" in env["PATH"]
    assert env["LANG"] == "C.UTF-8"
    assert env["HOME"]


def test_the_token_never_gets_through() -> None:
    assert "ANTIPHON_TOKEN" not in environment({"ANTIPHON_TOKEN": "t"}, {"ANTIPHON_TOKEN": "u"})


def test_without_a_folder_it_is_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the root, where there is no home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert check_start(WorkerStart(argv=["true"])).cwd == str(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "gone"))
    assert check_start(WorkerStart(argv=["true"])).cwd == "/"


@given(st.lists(st.text(max_size=9000), max_size=5))
def test_shown_arguments_are_a_beginning_of_bounded_size(argv: list[str]) -> None:
    parts = shown(argv)
    assert len(parts) <= max(1, len(argv))
    assert sum(map(len, parts)) <= 8 * 1024 + 1
    assert all(a == b for a, b in zip(parts[:-1], argv, strict=False))


def test_shown_arguments_fit_into_an_event_however_strange() -> None:
    assert len(msgspec.json.encode(shown(["\x01" * 100_000]))) < 64 * 1024
