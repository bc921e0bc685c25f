"""A real server as a subprocess, and a real Chromium looking at it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from tests.serving import Server

import antiphon

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    try:
        yield server
    finally:
        server.stop()


def _missing(what: str) -> NoReturn:
    if os.environ.get("ANTIPHON_REQUIRE_BROWSER") == "1":
        pytest.fail(what)
    pytest.skip(what)


# One browser a module, not a session: Playwright's loop must not meet those of other tests.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        _missing(f"no browser: none of {', '.join(NAMES)} is on the path")
    if not (Path(antiphon.__file__).parent / "web" / "index.html").is_file():
        _missing("the page has not been built: run `make web`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of 1280×1000; the test fails when it logs an error or asks anything of others."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    faults: list[str] = []
    hosts: set[str] = set()
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: hosts.add(request.url.split("/")[2].split(":")[0]))
    yield page
    context.close()
    assert faults == []
    assert hosts <= {"127.0.0.1"}
