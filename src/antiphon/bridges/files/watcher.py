"""Watches a folder and tells of its files' states as events.

Notifications only say where to look; what is told is the difference between what was
known and what a look shows. A folder is listed again after its watch is in place, so
nothing made in between is missed; full looks (``schedule.py``) find what the system
forgot to mention.

Promises: docs/semantics/files.md.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import islice
from math import inf
from pathlib import Path

from antiphon.bridges.files.events import shown, source_of
from antiphon.bridges.files.ignore import Ignore
from antiphon.bridges.files.journal import Journal
from antiphon.bridges.files.outbox import CHUNK, Outbox, Stopped
from antiphon.bridges.files.problems import Problems
from antiphon.bridges.files.publisher import Publisher
from antiphon.bridges.files.scanner import GITIGNORE, Look, Scanner
from antiphon.bridges.files.schedule import Schedule
from antiphon.bridges.files.tree import Change, Listing, Sight, Tree, Unreadable
from antiphon.bridges.files.wanted import Wanted
from antiphon.bridges.files.watches import Watches
from antiphon.errors import StartError

LOOKS = 256
"""Most looks handed to the thread at once."""
WATCH_AGAIN_S = 30.0
"""After watches couldn't be had, the next try."""
LOST_AGAIN_S = 1.0
"""After a watch was lost, the next try."""

_log = logging.getLogger(__name__)


class FolderWatcher:
    """Tells a publisher of every file in *root*: created, changed, deleted.

    Args:
        root: The folder. It may go and come back.
        publisher: Where events go.
        journal: The file of its memory, see ``journal_path``; its folder is never watched.
        ignore: Patterns to leave out, in the syntax of ``.gitignore``.
        exclude: Folders to leave out, such as the data folder.
        name: Names it in the events' source ``/watch/NAME``; absent: the folder's name.
        on_problem: Called with one line when something is wrong that people should know;
            absent: it is logged.
        recursive: See ``Watches``.

    Raises:
        StartError: *root* lies in an excluded folder.
    """

    def __init__(
        self,
        root: Path | str,
        publisher: Publisher,
        journal: Path,
        *,
        ignore: Sequence[str] = (),
        exclude: Iterable[Path] = (),
        name: str | None = None,
        on_problem: Callable[[str], None] | None = None,
        recursive: bool | None = None,
    ) -> None:
        self.root = os.path.realpath(root)
        never = [_inside(self.root, folder) for folder in (journal.parent, *exclude)]
        rules = Ignore(ignore, [path for path in never if path is not None])
        self.ready = asyncio.Event()
        """Set once what changed since the last time is told and watches are in place."""
        self._publisher = publisher
        self._journal = journal
        self._source = source_of(name or os.path.basename(self.root))
        self._problems = Problems(on_problem or _log.warning)
        self._recursive = recursive
        self._scanner = Scanner(self.root, rules)
        self._tree = Tree()
        self._wanted = Wanted()
        self._schedule = Schedule()
        self._wake = asyncio.Event()
        self._watch_after = -inf
        self._renew_after = -inf
        self._doubt = False
        self._unreadable: set[str] = set()
        self._stop = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until *stop* is set. To be called once.

        Raises:
            StartError: The journal can't be opened, or another watcher holds it.
            BusError: The publisher refused, and trying again won't help.
        """
        self._stop = stop
        journal = Journal(self._journal, self.root)
        self._outbox = Outbox(
            journal,
            self._publisher,
            source=self._source,
            problems=self._problems,
            stop=stop,
        )
        self._watches = Watches(self.root, self._on_heard, self._on_lost, recursive=self._recursive)
        waker = asyncio.create_task(self._wake_on_stop())
        try:
            await self._open(journal)
            await self._survey([Look("", deep=True)], full=True)
            self.ready.set()
            while not stop.is_set():
                await self._turn()
        except Stopped:
            pass
        finally:
            self._scanner.cancelled.set()
            waker.cancel()
            try:
                await self._watches.aclose()
            finally:
                journal.close()

    async def _open(self, journal: Journal) -> None:
        await asyncio.to_thread(journal.open)
        if journal.repaired is not None:
            self._problems.report("journal", f"{self.root}: {journal.repaired}")
        await self._outbox.replay()
        self._tree = Tree(await asyncio.to_thread(journal.files))

    async def _turn(self) -> None:
        """Wait for something to do, and do it."""
        if not self._wanted:
            self._wake.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), max(0.0, self._schedule.due() - _now()))
            if self._stop.is_set():
                return
        full = _now() >= self._schedule.due()
        paths = self._wanted.take()
        if paths is None:
            self._watches.forget(self._tree.folders())
            await self._survey([Look("", deep=True)], full=True)
        elif full:
            looks = [*self._looks_at(paths), Look("", deep=True)]
            found = await self._survey(looks, full=True)
            await self._look_back(found=found, heard=bool(paths))
        elif paths:
            await self._survey(self._looks_at(paths))

    async def _look_back(self, *, found: bool, heard: bool) -> None:
        """After a full look, doubt the watches if there were no hints of what it found."""
        doubted = self._doubt
        self._doubt = found and not heard and not self._schedule.blind
        if doubted and _now() >= self._renew_after:
            # No hint came even late: a queue ran over, and with it may be lost that a
            # folder is another one by the same name. Lay all watches anew.
            self._renew_after = _now() + WATCH_AGAIN_S
            self._doubt = False
            self._wanted.add_everything()
        elif not found:
            await self._watches.compact()  # failing, all stays as it was

    def _looks_at(self, paths: Iterable[str]) -> list[Look]:
        """Where to look, given the paths in which something happened."""
        looks: dict[str, Look] = {}
        for path in paths:
            if path.rpartition("/")[2] == GITIGNORE:
                path = path.rpartition("/")[0]
            elif path in self._tree:
                # It is named itself: it may be another folder now, with no watch on it.
                self._watches.forget(list(self._tree.folders(path)))
                looks[path] = Look(path, deep=True)
            nearest = self._tree.nearest(path)
            looks.setdefault(nearest, Look(nearest))
        return [looks[path] for path in sorted(looks)]

    async def _survey(self, looks: Iterable[Look], *, full: bool = False) -> bool:
        """Look, watch what has no watch yet, tell; whether there was anything to tell."""
        started = _now()
        queue = deque(looks)
        fresh: dict[str, None] = {}
        changes: list[Change] = []
        told = False
        while queue:
            if self._stop.is_set():
                raise Stopped
            batch = list(islice(queue, LOOKS))
            for sight in await asyncio.to_thread(self._scanner.look, batch):
                queue.popleft()
                self._take(sight, queue, fresh, changes)
            if not queue and fresh:
                queue.extend(await self._watch(list(fresh)))
                fresh.clear()
            if len(changes) >= CHUNK or not queue:
                told = told or bool(changes)
                await self._outbox.tell(changes)
                changes.clear()
        if told:
            self._schedule.heard(_now())
        if full:
            self._after_full(started)
        return told

    def _take(
        self,
        sight: Sight,
        queue: deque[Look],
        fresh: dict[str, None],
        changes: list[Change],
    ) -> None:
        outcome = self._tree.see(sight)
        changes += outcome.changes
        queue.extend(Look(folder, deep=True) for folder in outcome.to_list)
        self._watches.forget(outcome.gone)
        if isinstance(sight, Listing) and sight.path not in self._watches:
            fresh[sight.path] = None
        self._report(sight)

    def _report(self, sight: Sight) -> None:
        self._unreadable.discard(sight.path)
        if isinstance(sight, Unreadable):
            self._unreadable.add(sight.path)
            where = f"{self.root}/{shown(sight.path)}".rstrip("/")
            self._problems.report("unreadable", f"cannot look into {where}: {sight.reason}")
            self._schedule.blind = self._schedule.blind or not sight.path
        elif not sight.path:
            if isinstance(sight, Listing):
                self._problems.over("root")
            else:
                self._problems.report("root", f"{self.root} is gone; waiting for it to come back")
                self._watch_after = -inf
                self._schedule.blind = True

    async def _watch(self, folders: list[str]) -> list[Look]:
        """Watch *folders*; those that are watched now must be listed again."""
        if _now() < self._watch_after:
            self._schedule.blind = True
            return []
        self._watch_failed(await self._watches.add(folders))
        watched = [Look(folder) for folder in folders if folder in self._watches]
        self._schedule.blind = self._schedule.blind or len(watched) < len(folders)
        return watched

    def _watch_failed(self, reason: str | None) -> None:
        if reason is not None:
            self._watch_after = _now() + WATCH_AGAIN_S
            self._problems.report(
                "watch", f"cannot watch all of {self.root}, looking regularly instead: {reason}"
            )

    def _after_full(self, started: float) -> None:
        folders = set(self._tree.folders())
        self._schedule.looked(started, _now())
        self._unreadable &= folders
        self._schedule.blind = "" in self._unreadable or any(
            folder not in self._watches for folder in folders - self._unreadable
        )
        self._scanner.forget_rules_outside(folders)

    # --- called by Watches ---

    def _on_heard(self, paths: list[str]) -> None:
        self._wanted.add(paths)
        self._doubt = False
        self._wake.set()

    def _on_lost(self, reason: str) -> None:
        self._watch_after = max(self._watch_after, _now() + LOST_AGAIN_S)
        self._schedule.blind = True
        self._schedule.heard(_now())
        self._problems.report("lost", f"a watch in {self.root} ended, looking again: {reason}")
        self._wake.set()

    async def _wake_on_stop(self) -> None:
        await self._stop.wait()
        self._wake.set()


def check_root(root: Path) -> None:
    """Check that *root* can be watched now, before a watcher is made for it.

    Raises:
        StartError: It is no folder, or can't be read.
    """
    try:
        with os.scandir(root):
            pass
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise StartError(f"cannot watch {root}: {why}") from error


def _inside(root: str, folder: Path) -> str | None:
    """The path of *folder* relative to *root*, if it lies in it."""
    real = os.path.realpath(folder)
    if root == real or root.startswith(real.rstrip(os.sep) + os.sep):
        raise StartError(f"cannot watch {root}: it belongs to Antiphon's own folder {real}")
    prefix = root.rstrip(os.sep) + os.sep
    if not real.startswith(prefix):
        return None
    return real.removeprefix(prefix).replace(os.sep, "/")


def _now() -> float:
    return asyncio.get_running_loop().time()
