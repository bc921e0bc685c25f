"""Watches on a real folder, and what watchfiles gets up to."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from antiphon.bridges.files import watches as module
from antiphon.bridges.files.watches import Watches

from .folding import eventually


class Ears:
    def __init__(self, root: Path, **options: Any) -> None:
        self.heard: set[str] = set()
        self.lost: list[str] = []
        self.watches = Watches(str(root), self.heard.update, self.lost.append, **options)


@pytest.fixture
async def ears(tmp_path: Path) -> AsyncIterator[Ears]:
    ears = Ears(tmp_path, recursive=False)
    yield ears
    await ears.watches.aclose()


async def test_what_happens_in_a_watched_folder_is_heard_at_once(
    ears: Ears, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert await ears.watches.add(["", "a"]) is None

    (tmp_path / ".hidden").touch()
    (tmp_path / "a" / "f").touch()
    (tmp_path / "b" / "f").touch()

    await eventually(lambda: {".hidden", "a/f"} <= ears.heard)
    assert "b/f" not in ears.heard
    assert "a" in ears.watches
    assert "b" not in ears.watches


async def test_watches_are_merged_and_all_stay_in_place(ears: Ears, tmp_path: Path) -> None:
    folders = [f"d{i}" for i in range(20)]
    await ears.watches.add([""])
    for folder in folders:
        (tmp_path / folder).mkdir()
        assert await ears.watches.add([folder]) is None
        assert len(ears.watches._running) <= 5
    assert await ears.watches.compact() is None
    assert len(ears.watches._running) == 1

    for folder in folders:
        (tmp_path / folder / "f").touch()
    await eventually(lambda: {f"{folder}/f" for folder in folders} <= ears.heard)


async def test_what_is_no_folder_is_passed_over(ears: Ears, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("/")
    assert await ears.watches.add(["", "gone", "file", "link", "a\udcff"]) is None

    assert "" in ears.watches
    for name in ("gone", "file", "link", "a\udcff"):
        assert name not in ears.watches


async def test_a_watch_that_dies_is_reported_and_no_longer_counts(
    ears: Ears, tmp_path: Path
) -> None:
    """watchfiles dies of names that are no UTF-8."""
    await ears.watches.add([""])

    os.close(os.open(os.fsencode(tmp_path) + b"/\xff", os.O_CREAT | os.O_WRONLY))

    await eventually(lambda: ears.lost)
    assert "decode" in ears.lost[0]
    assert "" not in ears.watches


async def test_a_limit_of_the_system_is_told_and_what_was_watched_stays(
    ears: Ears, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    await ears.watches.add([""])

    def full(*_: Any, **__: Any) -> None:
        raise OSError("OS file watch limit reached.")

    monkeypatch.setattr(module, "watch", full)
    assert await ears.watches.add(["a"]) == "oS file watch limit reached."

    assert "" in ears.watches
    assert "a" not in ears.watches
    (tmp_path / "f").touch()
    await eventually(lambda: "f" in ears.heard)


async def test_a_recursive_watch_hears_all(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    ears = Ears(tmp_path, recursive=True)
    await ears.watches.add(["", "a", "a/b"])
    assert "a/b" in ears.watches

    (tmp_path / "a" / "b" / "f").touch()
    await eventually(lambda: "a/b/f" in ears.heard)
    await ears.watches.aclose()


async def test_closed_or_cancelled_no_thread_stays(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    ears = Ears(tmp_path, recursive=False)
    await ears.watches.add([""])
    (tmp_path / "a").mkdir()
    adding = asyncio.create_task(ears.watches.add(["a"]))
    await asyncio.sleep(0)
    adding.cancel()
    await asyncio.gather(adding, return_exceptions=True)

    await ears.watches.aclose()

    await eventually(
        lambda: (
            not any(
                thread.name == "antiphon-watch" for thread in set(threading.enumerate()) - before
            )
        )
    )
