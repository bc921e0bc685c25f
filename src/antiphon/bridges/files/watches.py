"""Hears, by watchfiles, in which paths something happened.

Where the system watches folder by folder (Linux), each folder gets a watch of its own,
so that folders that are left out, and what links point to, cost none; elsewhere one
recursive watch does. ``watchfiles.watch`` can't be given further folders, so each
group of new ones gets another, and they are merged as a log-structured tree merges:
each at least twice as large as the next, everything in one once things are quiet.

What comes is only a hint where to look. Errors of watchfiles lose hints: they are
reported as lost watches.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Iterable
from functools import partial

from watchfiles import watch

STEP_MS = 20
DEBOUNCE_MS = 100
_TRIES = 3

Heard = Callable[[list[str]], None]
Lost = Callable[[str], None]


class _Watch:
    """One thread in ``watchfiles.watch``. Its ``is_set`` is what watchfiles asks before
    it waits: the first time, the watches are in place.
    """

    def __init__(self, folders: tuple[str, ...], *, recursive: bool) -> None:
        self.folders = folders
        self.error: Exception | None = None
        self._recursive = recursive
        self._ready = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def is_set(self) -> bool:
        self._ready.set()
        return self._stop.is_set()

    def start(self, heard: Callable[[list[str]], None], ended: Callable[[], None]) -> None:
        """Start, and return once the watches are in place; blocking.

        Raises:
            Exception: Whatever watchfiles raised.
        """
        self._thread = threading.Thread(
            target=self._run, args=(heard, ended), name="antiphon-watch", daemon=True
        )
        self._thread.start()
        self._ready.wait()
        if self.error is not None:
            raise self.error

    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> None:
        """End soon."""
        self._stop.set()

    def join(self) -> None:
        """Wait for the end; blocking."""
        if self._thread is not None:
            self._thread.join()

    def _run(self, heard: Callable[[list[str]], None], ended: Callable[[], None]) -> None:
        try:
            for batch in watch(
                *self.folders,
                watch_filter=None,
                debounce=DEBOUNCE_MS,
                step=STEP_MS,
                stop_event=self,
                rust_timeout=0,
                raise_interrupt=False,
                recursive=self._recursive,
                # True would hide that the system's limit of watches is reached.
                ignore_permission_denied=False,
            ):
                heard([path for _, path in batch])
        except Exception as error:  # watchfiles names no types; the owner reports it
            self.error = error
        was_ready = self._ready.is_set()
        self._ready.set()
        if was_ready and not self._stop.is_set():
            ended()


class Watches:
    """The watches on folders under *root*. Belongs to one running loop.

    Args:
        root: Absolute and real.
        heard: Called in the loop with relative paths.
        lost: Called in the loop with the reason when folders are no longer watched.
        recursive: One watch for all of *root*; None: what suits the system.
    """

    def __init__(
        self, root: str, heard: Heard, lost: Lost, *, recursive: bool | None = None
    ) -> None:
        self._root = root
        self._heard = heard
        self._lost = lost
        self._recursive = sys.platform != "linux" if recursive is None else recursive
        self._loop = asyncio.get_running_loop()
        self._running: list[_Watch] = []
        self._ending: list[_Watch] = []
        self._watched: set[str] = set()

    def __contains__(self, folder: str) -> bool:
        return ("" if self._recursive else folder) in self._watched

    def forget(self, folders: Iterable[str]) -> None:
        """*folders* are no more, or are others by the same name."""
        if self._recursive:
            if "" in folders:
                self._watched.clear()
        else:
            self._watched.difference_update(folders)

    async def add(self, folders: Iterable[str]) -> str | None:
        """Watch *folders* too; returns why it failed, if it did.

        Those that are no folders any more are passed over, and those whose names are no
        UTF-8, which watchfiles can't take: they stay unwatched.
        """
        fresh = [""] if self._recursive else [path for path in folders if _is_utf8(path)]
        if not fresh:
            return None
        merged: list[_Watch] = []
        while self._running and len(self._running[-1].folders) < 2 * (
            len(fresh) + sum(len(watch.folders) for watch in merged)
        ):
            merged.append(self._running.pop())
        return await self._replace(merged, fresh)

    async def compact(self) -> str | None:
        """Make one watch of all; returns why it failed, if it did."""
        if len(self._running) < 2:
            return None
        merged, self._running = self._running, []
        return await self._replace(merged, [])

    async def aclose(self) -> None:
        """End all; returns when no thread is left."""
        for old in self._running:
            self._end(old)
        self._running = []
        self._watched.clear()
        while self._ending:
            await asyncio.to_thread(self._ending[-1].join)
            self._ending.pop()

    async def _replace(self, merged: list[_Watch], fresh: list[str]) -> str | None:
        """Let one new watch take the place of *merged*, without a moment unwatched."""
        kept = {path for old in merged for path in old.folders}
        kept = {path for path in kept if self._relative(path) in self._watched}
        wanted = sorted(kept | {self._absolute(folder) for folder in fresh})
        try:
            new = await self._start(wanted)
        except BaseException as error:  # as in _Watch._run, and cancellation
            self._running += merged
            if not isinstance(error, Exception):
                raise
            return _why(error)
        self._running.append(new)
        self._running.sort(key=lambda watch: -len(watch.folders))
        self._watched.update(self._relative(path) for path in new.folders)
        for old in merged:
            self._end(old)
        return None

    async def _start(self, paths: list[str]) -> _Watch:
        """Start a watch on those of *paths* that are folders.

        One may vanish between the check and the start, which fails it as a whole.
        """
        for last in (False,) * (_TRIES - 1) + (True,):
            there = await asyncio.to_thread(_folders_among, paths)
            new = _Watch(tuple(there), recursive=self._recursive)
            if not there:
                return new
            try:
                await asyncio.to_thread(
                    new.start,
                    partial(self._from_thread, self._on_batch),
                    partial(self._from_thread, self._on_end, new),
                )
            except asyncio.CancelledError:
                self._end(new)
                raise
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                if last:
                    raise
            else:
                return new
        raise AssertionError("unreachable")

    def _end(self, old: _Watch) -> None:
        old.stop()
        self._ending = [watch for watch in self._ending if watch.alive()]
        self._ending.append(old)

    def _from_thread(self, call: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *args)
        except RuntimeError:
            if not self._loop.is_closed():
                raise

    def _on_batch(self, paths: list[str]) -> None:
        self._heard([self._relative(path) for path in paths])

    def _on_end(self, watch: _Watch) -> None:
        if watch in self._running:
            self._running.remove(watch)
            self._watched.difference_update(self._relative(path) for path in watch.folders)
            self._lost(_why(watch.error))

    def _absolute(self, folder: str) -> str:
        return os.path.join(self._root, folder) if folder else self._root

    def _relative(self, path: str) -> str:
        return path[len(self._root) :].replace(os.sep, "/").lstrip("/")


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _folders_among(paths: list[str]) -> list[str]:
    return [
        path
        for path in paths
        if os.path.isdir(path) and not os.path.islink(path) and os.access(path, os.R_OK)
    ]


def _why(error: Exception | None) -> str:
    text = " ".join(str(error).split()) if error is not None else "the watch ended"
    return text[:1].lower() + text[1:200]
