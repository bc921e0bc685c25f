"""Finding the runnable programs in Markdown: fences of three backticks and ``python run`` or
``sh run``; and the other fences by what stands there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_FENCE = re.compile(
    r"^(?P<ticks>`{3,})(?P<info>[^`\n]*)\n(?P<body>.*?)^(?P=ticks)[ \t]*$", re.M | re.S
)


class Block(NamedTuple):
    """A program in a page.

    Attributes:
        line: Of its first line, from 1.
        output: What the page says it prints; None if it doesn't say.
    """

    line: int
    code: str
    output: str | None


def runnable(text: str, language: str = "python") -> Iterator[Block]:
    """Find each fence that says ``python run``, with the ``text output`` that follows it."""
    fences = list(_FENCE.finditer(text))
    for at, fence in enumerate(fences):
        if fence["info"].split() != [language, "run"]:
            continue
        following = fences[at + 1] if at + 1 < len(fences) else None
        says = following is not None and following["info"].split() == ["text", "output"]
        line = text.count("\n", 0, fence.start("body")) + 1
        yield Block(line, fence["body"], following["body"] if says and following else None)


def pages(root: Path) -> Iterator[Path]:
    """List the pages whose programs run: the README and all of ``docs``."""
    yield from (page for page in [root / "README.md"] if page.exists())
    yield from sorted((root / "docs").rglob("*.md"))


def fence(text: str, info: str) -> str:
    """The body of the one fence with *info*."""
    (found,) = [f["body"] for f in _FENCE.finditer(text) if f["info"].strip() == info]
    return str(found)
