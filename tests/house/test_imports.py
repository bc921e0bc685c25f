"""What is imported when: layers hold, and a short command loads little."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"pydantic", "starlette", "uvicorn", "apsw", "rich", "websockets", "watchfiles", "asyncio"}


def loaded_by(code: str) -> set[str]:
    """Name the top modules that *code* loads in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        cwd=ROOT / "src",
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_imports_point_down_and_siblings_are_strangers() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_a_command_that_only_asks_a_server_loads_nothing_of_it() -> None:
    loaded = loaded_by("import antiphon.cli.tree, antiphon.client.http")
    assert not loaded & HEAVY


@pytest.mark.parametrize("part", ["messages", "client", "places", "errors", "ids"])
def test_a_low_layer_loads_no_loop(part: str) -> None:
    """What crosses a wire, and who only speaks it, needs no event loop."""
    assert "asyncio" not in loaded_by(f"import antiphon.{part}")
