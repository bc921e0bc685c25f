"""Programs in the README, in docs and in examples run as they stand."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from benchmarks.prove.server import Served
from tests.docs.blocks import Block, pages, runnable

ROOT = Path(__file__).parents[2]
WITHIN_S = 50.0


CLIENTS = ROOT / "docs" / "clients.md"
"""Its programs need a server, and share one."""


def run(path: Path, folder: Path, *arguments: str, data: Path | None = None) -> str:
    """Run a program in *folder*, where its data goes too; give what it printed."""
    home = folder / "data" if data is None else data
    env = {**os.environ, "ANTIPHON_DATA": str(home), "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path), *arguments],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("server") / "data") as running:
        yield running


def blocks(page: Path) -> list[Any]:
    found = runnable(page.read_text("utf-8"))
    return [pytest.param(one, id=f"{page.relative_to(ROOT)}:{one.line}") for one in found]


PROGRAMS = [block for page in pages(ROOT) if page != CLIENTS for block in blocks(page)]
EXAMPLES = [pytest.param(path, id=path.name) for path in sorted((ROOT / "examples").glob("*.py"))]


@pytest.mark.parametrize("block", PROGRAMS)
def test_a_program_in_a_page_runs_and_prints_what_the_page_says(
    block: Block, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(block.code, "utf-8")
    printed = run(program, tmp_path)
    if block.output is not None:
        assert printed == block.output


@pytest.mark.parametrize("block", blocks(CLIENTS))
def test_a_program_with_a_server_prints_what_the_page_says(
    block: Block, tmp_path: Path, server: Served
) -> None:
    program = tmp_path / "program.py"
    program.write_text(block.code, "utf-8")
    assert run(program, tmp_path, data=server.data) == block.output


@pytest.mark.parametrize("path", EXAMPLES)
def test_an_example_has_a_docstring_and_a_main_and_runs(path: Path, tmp_path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    assert any(isinstance(node, functions) and node.name == "main" for node in tree.body)
    assert ast.get_docstring(tree), "an example says what it shows"
    run(path, tmp_path)


@pytest.mark.parametrize("seed", range(3))
def test_the_crawler_finds_what_a_plain_loop_finds_whoever_is_killed(
    seed: int, tmp_path: Path
) -> None:
    printed = run(ROOT / "examples/crawler.py", tmp_path, str(ROOT / "tests"), str(seed))
    deaths = re.search(r"'killed': (\d+)", printed)
    assert deaths is not None
    assert int(deaths[1]) > 0
