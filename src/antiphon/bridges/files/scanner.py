"""Looks at the disk. Blocking: to be called in a thread, one call at a time.

A state is taken by one ``lstat``, so a size and a time always belong together, and a
link is never followed.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Sequence
from time import monotonic
from typing import NamedTuple

from antiphon.bridges.files.ignore import Ignore
from antiphon.bridges.files.tree import (
    FileState,
    Found,
    Gone,
    Listing,
    Sight,
    Unreadable,
)

GITIGNORE = ".gitignore"
GITIGNORE_BYTES = 1024 * 1024
SLICE_S = 0.05
"""After so many seconds a call hands back what it has."""


class Look(NamedTuple):
    """A wish to see *path*; if it is a folder and *deep*, with all the folders in it."""

    path: str
    deep: bool = False


class Scanner:
    """Turns paths under *root* into sights.

    Args:
        root: Absolute.
        ignore: The rules; the scanner sets what each ``.gitignore`` says.
    """

    def __init__(self, root: str, ignore: Ignore) -> None:
        self._root = root
        self._ignore = ignore
        self._read: dict[str, FileState] = {}
        self.cancelled = threading.Event()
        """Set: a running call ends early, with fewer sights."""

    def look(self, looks: Sequence[Look]) -> list[Sight]:
        """See the first of *looks*, at least one unless cancelled, in their order."""
        until = monotonic() + SLICE_S
        sights: list[Sight] = []
        for look in looks:
            if self.cancelled.is_set():
                break
            sights.append(self._see(look))
            if monotonic() > until:
                break
        return sights

    def _see(self, look: Look) -> Sight:
        path = look.path
        try:
            status = os.lstat(self._absolute(path))
        except (FileNotFoundError, NotADirectoryError):
            return Gone(path)
        except OSError as error:
            return Unreadable(path, _why(error))
        is_folder = stat.S_ISDIR(status.st_mode)
        folder, _, name = path.rpartition("/")
        if path and self._ignore.leaves_out(folder, name, is_folder):
            return Gone(path, ignored=True)
        if is_folder:
            return self._list(path, look.deep)
        return Found(path, _state(status)) if path and _is_file(status) else Gone(path)

    def _list(self, folder: str, deep: bool) -> Sight:
        try:
            with os.scandir(self._absolute(folder)) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return Gone(folder)
        except OSError as error:
            return Unreadable(folder, _why(error))
        try:
            changed = self._read_rules(folder, entries)
            return self._sort(folder, entries, deep or changed)
        except OSError as error:
            return Unreadable(folder, _why(error))

    def _sort(self, folder: str, entries: list[os.DirEntry[str]], deep: bool) -> Listing:
        files: dict[str, FileState] = {}
        folders: set[str] = set()
        ignored: set[str] = set()
        for entry in entries:
            is_folder = entry.is_dir(follow_symlinks=False)
            if self._ignore.leaves_out(folder, entry.name, is_folder):
                ignored.add(entry.name)
            elif is_folder:
                folders.add(entry.name)
            elif (state := _state_of(entry)) is not None:
                files[entry.name] = state
        return Listing(folder, files, folders, ignored, deep)

    def _read_rules(self, folder: str, entries: list[os.DirEntry[str]]) -> bool:
        """Take in the folder's ``.gitignore``, if it is another than before; whether it says so.

        A link by that name has no say, as in git.
        """
        entry = next((entry for entry in entries if entry.name == GITIGNORE), None)
        state = None
        if entry is not None and entry.is_file(follow_symlinks=False):
            state = _state_of(entry)
        if state is None:
            self._read.pop(folder, None)
            return self._ignore.set_rules(folder, None)
        if self._read.get(folder) == state:
            return False
        text = self._text(f"{folder}/{GITIGNORE}")
        if text is not None:
            self._read[folder] = state
        return self._ignore.set_rules(folder, text)

    def _text(self, path: str) -> str | None:
        """What a file says; one that can't be read has no say."""
        try:
            with open(self._absolute(path), "rb") as file:
                return file.read(GITIGNORE_BYTES).decode("utf-8", "surrogateescape")
        except OSError:
            return None

    def forget_rules_outside(self, folders: set[str]) -> None:
        """Forget what was read in folders that are no more."""
        self._ignore.keep_rules(folders)
        self._read = {folder: state for folder, state in self._read.items() if folder in folders}

    def _absolute(self, path: str) -> str:
        return os.path.join(self._root, path.lstrip("/")) if path else self._root


def _is_file(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)


def _state(status: os.stat_result) -> FileState:
    # Kept in 63 bits, as SQLite counts; some file systems use 64 for the inode.
    return FileState(status.st_size, status.st_mtime_ns, status.st_ino & 0x7FFF_FFFF_FFFF_FFFF)


def _state_of(entry: os.DirEntry[str]) -> FileState | None:
    try:
        status = entry.stat(follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return _state(status) if _is_file(status) else None


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
