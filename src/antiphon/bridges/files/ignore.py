"""Which paths are left out: fixed names, given patterns, and ``.gitignore`` files.

Pure: the text of a ``.gitignore`` is handed in. Git's rules hold: the deepest file
speaks first, in a file the last line that matches, and what lies in a folder that is
left out can't be taken back in. Rules from outside the watched folder don't count.

Patterns are compiled by pathspec; which of them decides is found here, since git asks
folder by folder, from the top. Oddities are pathspec's: an escaped slash, a trailing
``**/``, and ``?``, which is one character here and one byte to git.

Promises: docs/semantics/files.md#left-out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from pathspec import GitIgnoreSpec

NEVER = frozenset({".git", "node_modules", "__pycache__"})
"""Names that are left out wherever they stand."""

_DIR_MARK = "ps_d"


class _Rule(NamedTuple):
    regex: re.Pattern[str]
    leaves_out: bool
    folders_only: bool

    def speaks_of(self, path: str, is_folder: bool) -> bool:
        """Whether this rule matches *path* itself, not just a folder above it."""
        if self.folders_only:
            if not is_folder:
                return False
            path += "/"
        found = self.regex.search(path)
        if found is None:
            return False
        if _DIR_MARK not in self.regex.groupindex or found.start(_DIR_MARK) == -1:
            return True
        return found.group() == "/" or found.start(_DIR_MARK) == len(path) - 1


class Rules:
    """The patterns of one place, in the syntax of ``.gitignore``; faulty lines say nothing."""

    def __init__(self, lines: Iterable[str]) -> None:
        rules = [rule for line in lines if (rule := _compile(line)) is not None]
        self._last_first = rules[::-1]

    def verdict(self, path: str, is_folder: bool) -> bool | None:
        """True: left out; False: taken back in; None: nothing is said of *path*."""
        for rule in self._last_first:
            if rule.speaks_of(path, is_folder):
                return rule.leaves_out
        return None


def _compile(line: str) -> _Rule | None:
    if line.rstrip() == "!/":
        return None  # says nothing to git, but much to pathspec
    try:
        patterns = GitIgnoreSpec.from_lines([line]).patterns
    except (ValueError, re.error):
        return None
    for pattern in patterns:
        regex = getattr(pattern, "regex", None)
        if pattern.include is not None and regex is not None:
            return _Rule(regex, pattern.include, line.rstrip().endswith("/"))
    return None


class Ignore:
    """All the rules of one watched folder.

    Args:
        patterns: Left out in addition, in the syntax of ``.gitignore``; no ``.gitignore``
            can take back in what they name.
        never: Relative paths that are left out whatever any rule says.
    """

    def __init__(self, patterns: Iterable[str] = (), never: Iterable[str] = ()) -> None:
        self._given = Rules(patterns)
        self._never = frozenset(never)
        self._texts: dict[str, str] = {}
        self._rules: dict[str, Rules] = {}

    def set_rules(self, folder: str, text: str | None) -> bool:
        """Set what the ``.gitignore`` in *folder* says; whether that is news."""
        if self._texts.get(folder) == text:
            return False
        self._texts.pop(folder, None)
        self._rules.pop(folder, None)
        if text is not None:
            self._texts[folder] = text
            self._rules[folder] = Rules(text.removeprefix("\ufeff").splitlines())
        return True

    def keep_rules(self, folders: Iterable[str]) -> None:
        """Forget the rules of all folders but these."""
        for folder in self._texts.keys() - set(folders):
            self.set_rules(folder, None)

    def leaves_out(self, folder: str, name: str, is_folder: bool) -> bool:
        """Whether *name* in *folder*, itself not left out, is left out."""
        if name in NEVER:
            return True
        path = f"{folder}/{name}" if folder else name
        if path in self._never or self._given.verdict(path, is_folder):
            return True
        return self._by_gitignore(folder, path, is_folder)

    def _by_gitignore(self, folder: str, path: str, is_folder: bool) -> bool:
        if not self._rules:
            return False
        while True:
            rules = self._rules.get(folder)
            if rules is not None:
                below = path[len(folder) + 1 :] if folder else path
                verdict = rules.verdict(below, is_folder)
                if verdict is not None:
                    return verdict
            if not folder:
                return False
            folder = folder.rpartition("/")[0]
