"""Behind a real nginx and a real Caddy, by the configurations of docs/operate.md."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from benchmarks.prove.server import Served, free_port, wait_for
from tests.docs.blocks import fence
from websockets.sync.client import connect

from .certificates import Certificate, issue
from .conftest import Answer

PAGE = (Path(__file__).parents[2] / "docs/operate.md").read_text("utf-8")
NAMED = "bus.example.org"

NGINX = """
daemon off;
{user}
pid {folder}/nginx.pid;
error_log stderr warn;
worker_processes 1;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{page}
}}
"""
CADDY = """
{{
    admin off
    auto_https off
}}
{page}
"""


def nginx(folder: Path, port: int, upstream: str, made: Certificate) -> list[str]:
    page = fence(PAGE, "nginx").replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
    page = page.replace(f"/etc/ssl/{NAMED}.pem", str(made.cert))
    page = page.replace(f"/etc/ssl/{NAMED}.key", str(made.key)).replace(NAMED, "localhost")
    page = page.replace("http://127.0.0.1:7117", upstream)
    config = folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""  # else it drops to one that can't write here
    config.write_text(NGINX.format(folder=folder, page=page, user=user))
    return ["nginx", "-p", str(folder), "-e", "stderr", "-c", str(config)]


def caddy(folder: Path, port: int, upstream: str, made: Certificate) -> list[str]:
    page = fence(PAGE, "caddyfile").replace("127.0.0.1:7117", upstream.removeprefix("http://"))
    site = f"https://localhost:{port} {{\n    bind 127.0.0.1\n    tls {made.cert} {made.key}"
    page = page.replace(f"{NAMED} {{", site)
    config = folder / "Caddyfile"
    config.write_text(CADDY.format(page=page))
    return ["caddy", "run", "--config", str(config), "--adapter", "caddyfile"]


class Behind:
    """A server, and the proxy through which it is asked."""

    def __init__(self, served: Served, port: int, trust: ssl.SSLContext) -> None:
        self.served = served
        self.port = port
        self.trust = trust
        self.origin = f"https://localhost:{port}"

    @contextmanager
    def asked(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> Iterator[http.client.HTTPResponse]:
        """One request; with the token, unless it brings a cookie."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if "Cookie" not in sent:
            sent["Authorization"] = f"Bearer {self.served.token}"
        if body is not None:
            sent["Content-Type"] = "application/json"
        connection = http.client.HTTPSConnection(
            "localhost", self.port, timeout=20, context=self.trust
        )
        with closing(connection):
            connection.request(method, path, body, sent)
            with connection.getresponse() as answer:
                yield answer

    def ask(self, *arguments: Any, **options: Any) -> Answer:
        with self.asked(*arguments, **options) as answer:
            return Answer(answer.status, answer.headers, answer.read())

    def read(self, *arguments: Any, **options: Any) -> Any:
        answer = self.ask(*arguments, **options)
        assert answer.status == 200, answer
        return answer.json()


@contextmanager
def started(command: list[str], folder: Path, port: int) -> Iterator[None]:
    log = folder / "proxy.log"
    environment = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)

    def accepts() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
        except OSError:
            return False
        return True

    try:
        wait_for(accepts, 20, "the proxy")
        yield
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:  # Caddy waits for streams that are open without end
            process.kill()
            process.wait(10)


@pytest.fixture(params=[nginx, caddy], ids=lambda proxy: proxy.__name__)
def behind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Behind]:
    name = request.param.__name__
    if shutil.which(name) is None:
        assert "ANTIPHON_REQUIRE_PROXIES" not in os.environ, f"{name} is not installed"
        pytest.skip(f"{name} is not installed")
    made = issue(tmp_path / "tls")
    port = free_port()
    options = ("--public-url", f"https://localhost:{port}", "--proxy", "127.0.0.1")
    with Served(tmp_path / "data", *options) as served:
        command = request.param(tmp_path, port, served.url, made)
        with started(command, tmp_path, port):
            yield Behind(served, port, made.trust())


@pytest.mark.long
def test_page_login_publishing_and_a_large_body_pass(behind: Behind) -> None:
    page = behind.ask("GET", "/")
    assert page.status == 200
    assert "script-src 'self'" in page.headers["content-security-policy"]
    token = json.dumps({"token": behind.served.token}).encode()
    login = behind.ask("POST", "/v1/login", token, Origin=behind.origin)
    assert login.status == 204, login
    cookie = login.headers["set-cookie"]
    assert "secure" in cookie.lower()
    mine = {"Cookie": cookie.partition(";")[0], "Origin": behind.origin, "X_Antiphon": "1"}
    done = behind.read("POST", "/v1/events", b'{"topic": "a.b", "payload": 1}', **mine)
    assert done["results"][0]["seq"] > 0
    large = [{"topic": "big.x", "payload": "x" * 200_000} for _ in range(20)]
    body = json.dumps(large).encode()
    assert 3.9e6 < len(body) < 4 * 1024 * 1024
    assert all("seq" in result for result in behind.read("POST", "/v1/events", body)["results"])


@pytest.mark.long
def test_a_socket_passes_both_ways(behind: Behind) -> None:
    options: dict[str, Any] = {
        "subprotocols": ["bus.v1.json"],
        "ssl": behind.trust,
        "compression": None,
        "proxy": None,
        "origin": behind.origin,
    }
    url = f"wss://localhost:{behind.port}/v1/ws"
    with connect(url, **options) as one:
        one.send(json.dumps({"op": "hello", "v": 1, "token": behind.served.token}))
        assert json.loads(one.recv(10))["op"] == "welcome"
        one.send(json.dumps({"op": "sub", "id": 1, "sid": "s", "patterns": ["a.*"]}))
        assert json.loads(one.recv(10))["op"] == "ok"
        behind.served.publish("a.b", 7)
        frame: dict[str, Any] = {}
        while frame.get("op") != "ev":
            frame = json.loads(one.recv(10))
        assert [event["payload"] for event in frame["events"]] == [7]


@pytest.mark.long
def test_strangers_stay_outside_and_are_known_by_their_own_address(behind: Behind) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
        answer = behind.ask("GET", "/v1/events", X_Forwarded_For="192.0.2.66", **headers)
        assert answer.status in (200, 403, 421)
        # Caddy itself answers what is for another host: with nothing, and never from the server.
        assert answer.status != 200 or (answer.body == b"" and "Host" in headers)

    def denied() -> Any:
        found = behind.read("GET", "/v1/events?pattern=_sys.audit.denied")["events"]
        return found and found[0]["payload"]

    assert wait_for(denied, 10, "the denial")["client"] == "127.0.0.1", "a claim was believed"


@pytest.mark.long
def test_an_event_stream_is_not_held_back(behind: Behind) -> None:
    with behind.asked("GET", "/v1/stream?pattern=a.*") as answer:
        assert answer.status == 200
        assert re.match("text/event-stream", answer.headers["content-type"])
        behind.served.publish("a.b", 9)
        seen = b""
        while b'"payload":9' not in seen.replace(b" ", b""):
            part = answer.read1(65536)
            assert part, seen
            seen += part
