"""What checkers say about programs that use the runtime."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mypy import api

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
MARK = re.compile(r"# E: ([a-z-]+)$")
FOUND = re.compile(r"^(?P<file>[^:]+):(?P<line>\d+): error: .*\[(?P<code>[a-z-]+)\]$")


def check(*names: str) -> set[tuple[str, int, str]]:
    """Errors that ``mypy --strict`` finds, as (file, line, code)."""
    files = [str(HERE / name) for name in names]
    options = ["--strict", "--no-error-summary", "--follow-imports=silent"]
    roots = ["--namespace-packages", "--explicit-package-bases", "--config-file="]
    cache = ["--cache-dir", str(ROOT / ".mypy_cache" / "typing")]
    output, trouble, _ = api.run([*options, *roots, *cache, *files])
    assert not trouble, trouble
    found = set()
    for line in output.splitlines():
        match = FOUND.match(line)
        if match is not None:
            found.add((Path(match["file"]).name, int(match["line"]), match["code"]))
        else:
            assert ": note:" in line, line
    return found


def check_with_basedpyright(*names: str) -> set[tuple[str, int]]:
    """Where basedpyright finds errors, as (file, line)."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "basedpyright", "--outputjson"),
            *("--pythonpath", sys.executable),
            *(str(HERE / name) for name in names),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(done.stdout)["generalDiagnostics"]
    return {
        (Path(one["file"]).name, one["range"]["start"]["line"] + 1)
        for one in found
        if one["severity"] == "error"
    }


def expected(name: str) -> set[tuple[str, int, str]]:
    """The errors that the marks in *name* promise."""
    lines = (HERE / name).read_text().splitlines()
    marks = ((n, MARK.search(line)) for n, line in enumerate(lines, 1))
    return {(name, n, mark[1]) for n, mark in marks if mark is not None}


@pytest.mark.long
def test_users_programs_type_check_and_wrong_lines_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Replies and membership are inferred; foreign messages, replies and factories refused."""
    monkeypatch.setenv("MYPYPATH", f"{ROOT / 'src'}:{ROOT}")
    assert expected("accepts.py") == set()
    assert len(expected("rejects.py")) > 10
    assert check("accepts.py", "rejects.py") == expected("rejects.py")


@pytest.mark.long
def test_basedpyright_says_the_same() -> None:
    refused = {(name, line) for name, line, _ in expected("rejects.py")}
    assert check_with_basedpyright("accepts.py", "rejects.py") == refused
