"""One real server in a process of its own; a test that kills it starts it again."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from benchmarks.prove.server import Served


class House(Served):
    """A server, and its owner's requests."""

    def ask(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or b"null")

    def issue(self, name: str, *patterns: str, **more: Any) -> str:
        """A token that publishes to and sees *patterns*."""
        ask = {"name": name, "pub": patterns, "sub": patterns, **more}
        return str(self.ask("POST", "/v1/tokens", ask)["token"])

    def cut(self) -> None:
        """End every connection, by the death of its actor."""
        for actor in self.ask("GET", "/v1/actors"):
            if actor["key"].startswith("gateway/sessions/"):
                self.ask("POST", f"/v1/actors/{actor['key']}/kill")


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    data = tmp_path_factory.mktemp("house") / "data"
    kept = json.dumps({"brief.*": {"max_count": 2}})
    with House(data, environment={"ANTIPHON_RETENTION": kept}) as running:
        yield running
