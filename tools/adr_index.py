"""Write ``docs/adr/README.md`` from the decisions beside it; ``--check`` only compares."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "adr"
SECTIONS = (
    "Context",
    "Decision",
    "Alternatives",
    "Consequences",
    "Signs we were wrong",
    "Revisions",
)
COLUMNS = ("status", "date", "tags", "updates")
HEAD = """# Decisions

One page each: the forces, what was decided, what was not and why, what follows, and how we
would notice that it was wrong. A refined decision gains a revision row; one that no longer
holds is superseded by a new one. `make docs` writes this list.

| no. | decision | status | date | tags |
| --- | --- | --- | --- | --- |
"""


class Decision(NamedTuple):
    """What the index says of one file."""

    path: str
    number: int
    title: str
    facts: dict[str, str]


class Malformed(Exception):
    """A decision that isn't of the form they all have."""


def read(path: Path) -> Decision:
    """Read one decision.

    Raises:
        Malformed: Its heading, its table or a section is missing.
    """
    lines = path.read_text("utf-8").splitlines()
    heading = re.fullmatch(r"# (\d+)\. (.+)", lines[0]) if lines else None
    if heading is None or f"{int(heading[1]):04d}" != path.name[:4]:
        raise Malformed(f"{path.name}: the first line must be '# NUMBER. TITLE', as in its name")
    sections = tuple(line[3:] for line in lines if line.startswith("## "))
    if sections != SECTIONS:
        raise Malformed(f"{path.name}: the sections must be {', '.join(SECTIONS)}")
    if len(lines) < 5 or _cells(lines[2]) != list(COLUMNS) or len(_cells(lines[4])) != len(COLUMNS):
        raise Malformed(f"{path.name}: the table must have {', '.join(COLUMNS)}")
    facts = dict(zip(COLUMNS, _cells(lines[4]), strict=True))
    return Decision(path.name, int(heading[1]), heading[2], facts)


def index(decisions: list[Decision]) -> str:
    """Write the list."""
    rows = (
        f"| {d.number} | [{d.title}]({d.path}) | {d.facts['status']} | {d.facts['date']}"
        f" | {d.facts['tags']} |\n"
        for d in sorted(decisions, key=lambda d: d.number)
    )
    return HEAD + "".join(rows)


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split("|")]


def main(arguments: list[str]) -> int:
    """Write the index, or with ``--check`` say whether it is what it should be."""
    try:
        text = index([read(path) for path in FOLDER.glob("[0-9]*.md")])
    except Malformed as error:
        print(f"adr: {error}", file=sys.stderr)
        return 1
    target = FOLDER / "README.md"
    if "--check" not in arguments:
        target.write_text(text, "utf-8")
        return 0
    if target.exists() and target.read_text("utf-8") == text:
        return 0
    print("adr: docs/adr/README.md is out of date; run make docs", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
