"""The page, open in a real browser throughout, read as a person would: by what it shows."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable

from playwright.sync_api import Page, sync_playwright

from benchmarks.prove.server import Served

BROWSER = "chromium"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
READ = """() => [...document.querySelectorAll('[data-seq]')].map(row => Number(row.dataset.seq))"""


class OpenPage:
    """The page on *served*, filtered to one pattern; a context manager.

    It is loaded once; whatever happens to the server afterwards is the page's to survive.
    """

    def __init__(self, served: Served, pattern: str) -> None:
        self._served = served
        self._pattern = pattern
        self._seen_disorder = 0
        self._loads = 0

    def __enter__(self) -> OpenPage:
        found = shutil.which(BROWSER)
        if found is None:
            raise RuntimeError(f"no {BROWSER} is installed")
        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        self._page: Page = self._browser.new_page(viewport={"width": 1280, "height": 800})
        self._page.on("load", lambda _: self._loaded())
        self._page.goto(f"{self._served.url}/#token={self._served.token}")
        box = self._page.get_by_role("textbox").first
        box.fill(self._pattern)
        box.press("Enter")
        return self

    def __exit__(self, *why: object) -> None:
        self._browser.close()
        self._playwright.stop()

    def _loaded(self) -> None:
        self._loads += 1

    def shown(self) -> list[int]:
        """The seqs of the rows that the page shows now."""
        seqs: list[int] = self._page.evaluate(READ)
        self._seen_disorder += len(seqs) != len(set(seqs))
        return seqs

    def last_seq(self) -> int:
        """The newest seq that the page shows."""
        time.sleep(0.05)
        return max(self.shown(), default=0)

    def missing(self, stored: Iterable[int]) -> int:
        """How many of the *stored* seqs are left out between the rows that it shows."""
        shown = self.shown()
        low, high = min(shown), max(shown)
        return len({seq for seq in stored if low <= seq <= high}.difference(shown))

    def doubled(self) -> int:
        """How often it showed an event twice, or had to be loaded again."""
        return self._seen_disorder + (self._loads - 1)
