"""The watcher as an actor of the server, ``services/watch``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from antiphon.actors import Actor, ActorContext, Key, Reason
from antiphon.bridges.files.journal import journal_name
from antiphon.bridges.files.publisher import BusPublisher
from antiphon.bridges.files.watcher import FolderWatcher
from antiphon.bus import Bus


@dataclass(frozen=True, slots=True)
class WatchEnded:
    """The watcher returned."""


WATCH: Key[WatchEnded] = Key("services/watch")


class WatchActor(Actor[WatchEnded]):
    """Runs one ``FolderWatcher`` a generation; fails when it fails.

    Restart it with a backoff of seconds: what a watcher raises rarely passes at once.

    Args:
        root: The folder to watch.
        bus: Where its events go.
        journal_folder: Holds its memory; never watched.
        never: Other folders to leave out.
        ignore: Patterns to leave out, in the syntax of ``.gitignore``.
        name: See ``FolderWatcher``.
    """

    def __init__(
        self,
        root: Path,
        bus: Bus,
        *,
        journal_folder: Path,
        never: Iterable[Path] = (),
        ignore: Sequence[str] = (),
        name: str | None = None,
    ) -> None:
        self._watcher = FolderWatcher(
            root,
            BusPublisher(bus),
            journal_folder / journal_name(root),
            ignore=ignore,
            exclude=never,
            name=name,
        )
        self._stop = asyncio.Event()
        self._ended = asyncio.Event()

    async def post_start(self, ctx: ActorContext[WatchEnded]) -> None:
        """Let it run beside the hooks."""
        ctx.pipe_to_self(self._run(), lambda _: WatchEnded())

    async def handle(self, msg: WatchEnded, ctx: ActorContext[WatchEnded]) -> None:
        """It has ended by itself."""
        ctx.stop()

    async def post_stop(self, reason: Reason, ctx: ActorContext[WatchEnded]) -> None:
        """Stop the watcher, and wait until it has let go of its journal."""
        self._stop.set()
        await self._ended.wait()

    async def _run(self) -> None:
        try:
            await self._watcher.run(self._stop)
        finally:
            self._ended.set()
