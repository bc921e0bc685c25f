"""What is known of a folder's files, and what a look at the disk changes about it.

Pure: looks are handed in as values, changes come out. Reading the disk is
``scanner.py``; what is not looked at, ``ignore.py``.

Paths are relative, with ``/`` between names; the folder itself is the empty path.

Promises: docs/semantics/files.md#states.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias


class FileState(NamedTuple):
    """What tells two states of one file apart, taken in a single look."""

    size: int
    mtime_ns: int
    inode: int


Kind: TypeAlias = Literal["created", "changed", "deleted"]


class Change(NamedTuple):
    """One path went from one state to another.

    Attributes:
        state: The new state; for ``deleted`` the last one seen.
        ignored: Deleted only from view: a rule now leaves the path out.
    """

    kind: Kind
    path: str
    state: FileState
    ignored: bool = False


@dataclass(frozen=True, slots=True)
class Gone:
    """There is no file and no folder at *path*, or a rule leaves it out (*ignored*)."""

    path: str
    ignored: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """There is a file, or a symbolic link, at *path*."""

    path: str
    state: FileState


@dataclass(frozen=True, slots=True)
class Listing:
    """There is a folder at *path*, and this is all it holds.

    Attributes:
        ignored: Names that are there, but that a rule leaves out.
        deep: The folders in it are to be listed too, known or not.
    """

    path: str
    files: Mapping[str, FileState]
    folders: Set[str]
    ignored: Set[str] = frozenset()
    deep: bool = False


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Nothing can be said about *path*: what was known stays."""

    path: str
    reason: str


Sight: TypeAlias = Gone | Found | Listing | Unreadable


@dataclass(slots=True)
class Outcome:
    """What a sight means.

    Attributes:
        changes: At most one for each path; deletions first.
        to_list: Folders in it whose own content must be looked at.
        gone: Folders that are no longer there.
    """

    changes: list[Change] = field(default_factory=list)
    to_list: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


def join(folder: str, name: str) -> str:
    """The path of *name* in *folder*."""
    return f"{folder}/{name}" if folder else name


class Tree:
    """The last known state of every file under one folder.

    Args:
        files: What is known from an earlier run.
    """

    def __init__(self, files: Iterable[tuple[str, FileState]] = ()) -> None:
        self._folders: dict[str, dict[str, FileState | None]] = {"": {}}
        for path, state in files:
            folder, _, name = path.rpartition("/")
            self._ensure(folder)[name] = state

    def __contains__(self, folder: object) -> bool:
        return folder in self._folders

    def files(self) -> dict[str, FileState]:
        """All files by path."""
        return {
            join(folder, name): state
            for folder, names in self._folders.items()
            for name, state in names.items()
            if state is not None
        }

    def folders(self, under: str = "") -> Iterator[str]:
        """The known folder *under* and all known folders in it."""
        todo = [under] if under in self._folders else []
        while todo:
            folder = todo.pop()
            yield folder
            todo += [join(folder, name) for name in self._folders_in(folder)]

    def nearest(self, path: str) -> str:
        """*path*, or the topmost folder on the way to it that is not known as one.

        What lies in an unknown folder is found by listing that folder: only then are
        its rules known.
        """
        cut = path.find("/")
        while cut != -1:
            if path[:cut] not in self._folders:
                return path[:cut]
            cut = path.find("/", cut + 1)
        return path

    def see(self, sight: Sight) -> Outcome:
        """Take in what was seen."""
        outcome = Outcome()
        match sight:
            case Gone(path, ignored):
                self._remove(path, ignored, outcome)
            case Found(path, state):
                self._put(path, state, outcome)
            case Listing():
                self._relist(sight, outcome)
            case Unreadable():
                pass
        return outcome

    def _relist(self, seen: Listing, outcome: Outcome) -> None:
        if seen.path not in self._folders:
            self._remove(seen.path, False, outcome)  # was a file
        known = self._ensure(seen.path)
        for name in sorted(known.keys() - seen.files.keys() - seen.folders):
            self._remove(join(seen.path, name), name in seen.ignored, outcome)
        for name in sorted(seen.folders):
            self._place_folder(seen, name, known, outcome)
        for name in sorted(seen.files):
            self._put(join(seen.path, name), seen.files[name], outcome)

    def _place_folder(
        self,
        seen: Listing,
        name: str,
        known: dict[str, FileState | None],
        outcome: Outcome,
    ) -> None:
        path = join(seen.path, name)
        if known.get(name) is not None:
            self._remove(path, False, outcome)  # was a file
        if seen.deep or name not in known:
            outcome.to_list.append(path)
        if name not in known:
            self._ensure(path)

    def _put(self, path: str, state: FileState, outcome: Outcome) -> None:
        folder, _, name = path.rpartition("/")
        if path in self._folders:
            self._remove(path, False, outcome)  # was a folder
        names = self._ensure(folder)
        before = names.get(name)
        if before == state:
            return
        names[name] = state
        outcome.changes.append(Change("changed" if before else "created", path, state))

    def _remove(self, path: str, ignored: bool, outcome: Outcome) -> None:
        """Forget *path* and all in it; the folder watched is emptied, but stays."""
        for folder in reversed(list(self.folders(path))):
            for name, state in sorted(self._folders[folder].items()):
                if state is not None:
                    outcome.changes.append(Change("deleted", join(folder, name), state, ignored))
            outcome.gone.append(folder)
            del self._folders[folder]
        if not path:
            self._folders[""] = {}
            return
        parent, _, name = path.rpartition("/")
        state = self._folders.get(parent, {}).pop(name, None)
        if state is not None:
            outcome.changes.append(Change("deleted", path, state, ignored))

    def _ensure(self, folder: str) -> dict[str, FileState | None]:
        """The entries of *folder*, made known with all folders above it."""
        path, below = folder, ""
        while path not in self._folders:
            self._folders[path] = {below: None} if below else {}
            path, _, below = path.rpartition("/")
        if below:
            self._folders[path][below] = None
        return self._folders[folder]

    def _folders_in(self, folder: str) -> list[str]:
        return [name for name, state in self._folders[folder].items() if state is None]
