"""The server's own tree, and what becomes of the server when it gives up."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

from benchmarks.prove.server import Served, wait_for

SUPERVISORS = {"root": None, "log": "root", "services": "root", "gateway": "root", "user": "root"}


def parents(served: Served) -> dict[str, str | None]:
    lines = served.run("actors", "--json").stdout.splitlines()
    return {actor["key"]: actor["parent"] for actor in map(json.loads, lines)}


def test_the_tree_is_log_services_gateway_and_user(tmp_path: Path) -> None:
    with Served(tmp_path / "data") as served:
        shown = parents(served)
        assert {key: shown[key] for key in SUPERVISORS} == SUPERVISORS
        assert [key for key, parent in shown.items() if parent is None] == ["root"]
        assert {"log/store", "log/bus", "services/workers", "gateway/sessions"} <= set(shown)
        assert all(
            parent == key.rsplit("/", 1)[0]
            for key, parent in shown.items()
            if "/" in key and parent
        )


def ask(served: Served, path: str, body: bytes | None = None) -> bytes:
    headers = {"Authorization": f"Bearer {served.token}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{served.url}{path}", body, headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        read: bytes = answer.read()
    return read


def test_a_root_that_gives_up_ends_the_server_with_1_and_says_why(tmp_path: Path) -> None:
    """Three restarts within five seconds are allowed, the fourth is one too many."""
    with Served(tmp_path / "data") as served:
        assert served.process is not None

        def restarts() -> int:
            shown = json.loads(ask(served, "/v1/actors"))
            return sum(actor["restarts"] for actor in shown if actor["key"] == "services")

        for n in range(4):
            wait_for(lambda n=n: restarts() == n, 10, f"restart {n}")  # type: ignore[misc]
            ask(served, "/v1/actors/services/kill", b"{}")
        assert served.process.wait(timeout=20) == 1
        said = served._log.read_text()
        assert "antiphon: the server gave up: failed: ActorError: root gave up: services" in said


def test_the_end_of_a_worker_or_a_connection_is_no_restart(tmp_path: Path) -> None:
    """More of them than any intensity allows; those who keep them stay as they are."""
    with Served(tmp_path / "data") as served:
        for n in range(5):
            done = served.run("run", "--name", f"w{n}", "--", "sh", "-c", "exit 3")
            assert done.returncode == 3, done
        wait_for(lambda: "services/workers/w4" not in parents(served), 10, "the last worker's end")
        lines = served.run("actors", "--json").stdout.splitlines()
        for actor in map(json.loads, lines):
            assert (actor["generation"], actor["restarts"]) == (1, 0), actor
