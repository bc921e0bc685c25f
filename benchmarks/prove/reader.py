"""A subscriber inside the server, for ``serve --actors``: writes down each seq it handles."""

from __future__ import annotations

import os
from pathlib import Path

from antiphon import Actor, ActorContext, Child, Event, Key, subscribe
from antiphon.app import Core

READER: Key[str] = Key("reader")
FILE = "ANTIPHON_PROVE_READER"


class Reader(Actor[str]):
    """Handles every event of ``load.*``, however often it is killed."""

    def __init__(self, app: Core, path: Path) -> None:
        self.app = app
        self.path = path

    async def pre_start(self, ctx: ActorContext[str]) -> None:
        self.file = self.path.open("a", buffering=1)
        ctx.at_end(self.file.close)
        await subscribe(self.app.bus, ctx.myself, "load.*", start="earliest")

    async def handle_event(self, event: Event, ctx: ActorContext[str]) -> None:
        self.file.write(f"{event.seq}\n")


def actors(app: Core) -> list[Child[str]]:
    """The one child."""
    path = Path(os.environ[FILE])
    return [Child(READER, lambda: Reader(app, path))]


def handled(path: Path) -> list[int]:
    """The seqs that were handled, in order."""
    return [int(line) for line in path.read_text().splitlines()]
