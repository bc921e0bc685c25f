"""Two tiny real servers for the clients: one of HTTP, one of frames. Each test scripts them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from websockets.sync.server import ServerConnection, serve

Answer = Callable[[str, str, bytes, dict[str, str]], tuple[int, Any]]
Script = Callable[["Talk"], None]


@contextmanager
def http_server(answer: Answer) -> Iterator[str]:
    """Serve HTTP by *answer*: (method, path, body, headers) -> (status, JSON or bytes)."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, reply = answer(self.command, self.path, body, dict(self.headers))
            if status == 0:
                self.close_connection = True
                return
            data = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = _serve

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Talk:
    """The server's side of one connection."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection

    def take(self) -> dict[str, Any]:
        return json.loads(self._connection.recv(5))

    def say(self, **frame: Any) -> None:
        self._connection.send(json.dumps(frame))

    def wait_for_end(self) -> None:
        for _ in self._connection:
            pass

    def drop(self, code: int = 1012, reason: str = "restart") -> None:
        self._connection.close(code, reason)

    def greet(self) -> None:
        """Answer hello."""
        assert self.take()["op"] == "hello"
        limits = dict.fromkeys(
            ("frame_bytes", "event_bytes", "subscriptions", "patterns", "publish_events", "window"),
            1000,
        )
        self.say(op="welcome", conn="c1", epoch="e1", head=0, limits=limits, ping_ms=25000)

    def welcome(self, *, pos: str = "e1.0") -> dict[str, Any]:
        """Answer hello and sub; return the sub."""
        self.greet()
        sub = self.take()
        self.say(op="ok", id=sub["id"], effective=sub["patterns"], pos=pos)
        return sub


@contextmanager
def frame_server(*scripts: Script) -> Iterator[str]:
    """Serve one script a connection, in turn; the last one serves all that follow."""
    waiting = list(scripts)
    failed: list[BaseException] = []

    def handle(connection: ServerConnection) -> None:
        script = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        try:
            script(Talk(connection))
        except (AssertionError, KeyError) as error:
            failed.append(error)

    server = serve(handle, "127.0.0.1", 0, subprotocols=["bus.v1.json"], compression=None)  # type: ignore[list-item]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
    finally:
        server.shutdown()
        thread.join()
    assert not failed, failed
