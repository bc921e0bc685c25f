"""The shell commands of docs/clients.md run as they stand against a real server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from benchmarks.prove.server import Served
from tests.docs.blocks import runnable

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"


def agrees(told: str, printed: str) -> bool:
    """Whether *printed* is what the page says, whose ``…`` stands for anything within a line."""
    pattern = ".*?".join(map(re.escape, told.split("…")))
    return re.fullmatch(pattern, printed) is not None


def test_what_differs_is_seen_and_what_may_differ_is_not() -> None:
    assert agrees('{"seq":…}\n', '{"seq":12}\n')
    assert not agrees('{"seq":…}\n', '{"seq":12\n}\n')
    assert not agrees('{"a":…}\n', '{"seq":12}\n')


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_commands_of_the_page_print_what_it_says(tmp_path: Path) -> None:
    blocks = list(runnable(PAGE.read_text("utf-8"), "sh"))
    assert len(blocks) >= 4
    with Served(tmp_path / "data") as server:
        env = {**os.environ, "URL": server.url, "TOKEN": server.token}
        for block in blocks:
            done = subprocess.run(
                ["sh", "-eu", "-c", block.code],
                cwd=tmp_path,
                env=env,
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
            )
            assert block.output is not None
            assert agrees(block.output.rstrip("\n"), done.stdout.rstrip("\n")), done.stdout
