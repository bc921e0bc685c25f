"""Which paths are left out, with git itself as the judge. docs/semantics/files.md#left-out."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from antiphon.bridges.files.ignore import Ignore

FILES = [
    "a", "b.log", "keep/a", "keep/b.log", "out/a", "out/keep/b.log", "src/a", "src/out/a",
    "src/keep/out/b.log", "src/b.log/a", "src/!a", "src/# a", "sp ace/a",
]  # fmt: skip
PATTERNS = st.one_of(
    st.sampled_from([
        "*.log", "!b.log", "out/", "!out/", "/out", "keep", "!keep/", "src/*", "!src/out/",
        "!src/keep/", "**/out", "src/**", "src/**/a", "a/", "/*", "!/src", "*", "!*/", "# a",
        "\\# a", "\\!a", "[ab]", "?", "b.l[!x]g", "", "  ", "sp\\ ace", "out/ ", "!keep/a",
        "src/keep/**", "**/keep/**", "!**/b.log", "*/a", "src/**/b.log", "[", "!",
    ]),
    st.text("abo*?!/.", min_size=1, max_size=5).filter(lambda text: "**/" not in text[1:]),
)  # fmt: skip
TEXTS = st.lists(PATTERNS, max_size=5).map("\n".join)


@pytest.fixture(scope="module")
def repository() -> Path:
    return make_repository(Path(tempfile.mkdtemp()))


def make_repository(root: Path) -> Path:
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    for file in FILES:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def by_git(root: Path) -> set[str]:
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--others", "--exclude-standard"],
        cwd=root, env=env, check=True, capture_output=True,
    ).stdout  # fmt: skip
    return {os.fsdecode(path) for path in listed.split(b"\0") if path}


def by_rules(root: Path, ignore: Ignore) -> set[str]:
    kept: set[str] = set()
    for folder, folders, files in os.walk(root):
        here = os.path.relpath(folder, root).removeprefix(".").removeprefix("/")
        folders[:] = [name for name in folders if not ignore.leaves_out(here, name, True)]
        names = [name for name in files if not ignore.leaves_out(here, name, False)]
        kept |= {f"{here}/{name}" if here else name for name in names}
    return kept


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.dictionaries(st.sampled_from(["", "src", "src/keep", "keep"]), TEXTS, max_size=3))
@example({"": "src/*\n!src/keep/"})
@example({"": "*.log\n!keep/"})
@example({"": "out", "src": "!out"})
@example({"": "src/**\n!src/keep/"})
def test_gitignore_files_say_what_git_says(repository: Path, texts: dict[str, str]) -> None:
    ignore = Ignore()
    try:
        for folder, text in texts.items():
            (repository / folder / ".gitignore").write_text(text)
            ignore.set_rules(folder, text)
        assert by_rules(repository, ignore) == by_git(repository)
    finally:
        for folder in texts:
            (repository / folder / ".gitignore").unlink()


def test_some_names_are_left_out_everywhere_whatever_a_gitignore_says() -> None:
    ignore = Ignore()
    ignore.set_rules("", "!.git\n!node_modules\n!__pycache__")

    for name in (".git", "node_modules", "__pycache__"):
        assert ignore.leaves_out("", name, True)
        assert ignore.leaves_out("deep/down", name, False)
    assert not ignore.leaves_out("", "src", True)


def test_given_patterns_come_before_every_gitignore() -> None:
    ignore = Ignore(["*.tmp", "!b.tmp"])
    ignore.set_rules("", "!a.tmp")

    assert ignore.leaves_out("x", "a.tmp", False)
    assert not ignore.leaves_out("x", "b.tmp", False)


def test_excluded_folders_are_left_out_by_their_whole_path() -> None:
    ignore = Ignore(never=["var/data"])

    assert ignore.leaves_out("var", "data", True)
    assert not ignore.leaves_out("", "data", True)


def test_only_news_count_as_news() -> None:
    ignore = Ignore()

    assert ignore.set_rules("x", "a")
    assert not ignore.set_rules("x", "a")
    assert ignore.set_rules("x", "b")
    ignore.keep_rules(["y"])
    assert not ignore.set_rules("x", None)


@pytest.fixture(scope="module", autouse=True)
def _clean(repository: Path) -> object:
    yield
    shutil.rmtree(repository)
