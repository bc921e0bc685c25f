"""The tests that the pages of promises name are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs" / "semantics").glob("*.md")), ROOT / "docs" / "semantics.md"]


def existing() -> set[str]:
    sources = (path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py"))
    shared = (path.read_text("utf-8") for path in (ROOT / "src/antiphon/testing").rglob("*.py"))
    found: set[str] = set()
    for text in (*sources, *shared):
        found.update(re.findall(r"def (test_\w+)", text))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"\b(test_\w+)\b(?!\.py)", page.read_text("utf-8")))
    assert not named - existing()


def test_no_page_claims_that_delivery_is_exactly_once() -> None:
    """Nobody can promise that; whoever reads it would build on it."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    told = [
        line
        for page in pages
        for line in page.read_text("utf-8").splitlines()
        if re.search("exactly[- ]once", line, re.IGNORECASE)
    ]
    assert told, "bus.md says that nothing is"
    assert all(re.search(r"\b(never|nothing|nobody)\b", line, re.IGNORECASE) for line in told), told
