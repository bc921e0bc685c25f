"""Takes the pictures of the README: a server at work, its page in a real browser.

    make pictures

Needs chromium on the path. The story is the same each time; times and process ids differ.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.prove.page import ARGUMENTS, BROWSER
from benchmarks.prove.server import Served, command, wait_for
from playwright.sync_api import Browser, Page, sync_playwright

from antiphon.client.endpoint import Endpoint
from antiphon.client.http import HttpClient
from antiphon.messages import EventIn

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
DRAWN = """() => new Promise(done =>
    requestAnimationFrame(() => requestAnimationFrame(done)))"""
TASKS = ("read the notes", "draft the summary", "check the figures")


def main() -> int:
    if (found := shutil.which(BROWSER)) is None:
        print(f"no {BROWSER} is installed", file=sys.stderr)
        return 1
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "notes"
        workspace.mkdir()
        with (
            Served(Path(folder) / "data", "--workspace", str(workspace)) as served,
            sync_playwright() as playwright,
        ):
            browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
            page = opened(browser, served, 1280, 800)
            story(served, workspace)
            page.get_by_role("button", name="Actors").click()
            page.get_by_text("keeper").wait_for()
            taken(page, "desktop")
            phone = opened(browser, served, 390, 780)
            phone.get_by_text("worker.tests.failed").or_(
                phone.get_by_text("failed")
            ).first.wait_for()
            taken(phone, "phone")
            browser.close()
    return 0


def opened(browser: Browser, served: Served, width: int, height: int) -> Page:
    """The page, live, as somebody sees it who prefers it dark."""
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="dark")
    page.goto(f"{served.url}/#token={served.token}")
    page.get_by_text("Live", exact=True).first.wait_for()
    return page


def story(served: Served, workspace: Path) -> None:
    """An agent plans, workers run, files are saved; one thing fails."""
    run(served, "server", "sleep 60", wait=False)
    with HttpClient(Endpoint(served.url, served.token)) as client:
        for number, task in enumerate(TASKS, start=1):
            client.publish(EventIn(topic="agent.ada.plan", payload={"step": number, "task": task}))
        for name in ("figures.csv", "summary.md", "sources.md"):
            (workspace / name).write_text(f"{name}\n" * 40)
        wait_for(lambda: len(client.query(["file.*"]).events) >= 3, 10, "the files' events")
        run(served, "build", "for i in 1 2 3 4 5 6; do echo compiling module $i; sleep 0.2; done")
        (workspace / "summary.md").write_text("# Summary\n" * 9)
        wait_for(lambda: len(client.query(["file.changed"]).events) >= 1, 10, "the saved file")
        client.publish(EventIn(topic="agent.ada.done", payload={"step": 2, "words": 412}))
        run(served, "tests", "echo 118 passed; echo 2 failed; exit 1")


def run(served: Served, name: str, script: str, *, wait: bool = True) -> None:
    options = ["--name", name, "--cwd", "/", *([] if wait else ["--detach"])]
    arguments = command("run", *options, "--", "sh", "-c", script, data=served.data)
    subprocess.run(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def taken(page: Page, name: str) -> None:
    """Wait until all that came is drawn, and keep what is seen."""
    page.wait_for_load_state("networkidle")
    page.evaluate(
        "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )
    page.screenshot(path=PICTURES / f"{name}.png")
    print(f"{(PICTURES / name).with_suffix('.png').relative_to(ROOT)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
