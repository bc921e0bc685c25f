"""The end of a real server under load: nothing acknowledged is lost, nobody is left hanging."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from benchmarks.prove.server import Served, wait_for
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

BATCH = 20
TEXT = "x" * 200


class Publisher(threading.Thread):
    """Publishes lists until the server ends; knows what became of each event.

    Attributes:
        tried: Ids that were sent.
        stored: Those that were acknowledged.
        refused: Those that were refused.
        unexpected: What must not have come.
    """

    def __init__(self, served: Served, name: str) -> None:
        super().__init__(name=name)
        self.served = served
        self.token = served.token
        self.tried: set[str] = set()
        self.stored: set[str] = set()
        self.refused: set[str] = set()
        self.rounds = 0
        self.unexpected: list[Any] = []

    def batch(self) -> list[dict[str, Any]]:
        ids = [f"{self.name}-{self.rounds}-{n}" for n in range(BATCH)]
        self.tried.update(ids)
        return [{"topic": "load.x", "id": id, "payload": {"id": id, "text": TEXT}} for id in ids]

    def take(self, results: list[dict[str, Any]]) -> None:
        for result in results:
            (self.refused if "error" in result else self.stored).add(result["id"])
        self.rounds += 1

    def run(self) -> None:
        try:
            while self.publish():
                pass
        except (OSError, http.client.HTTPException, ConnectionClosed):
            pass  # the end
        except Exception as error:
            self.unexpected.append(error)

    def publish(self) -> bool:
        raise NotImplementedError


class HttpPublisher(Publisher):
    def publish(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.served.port, timeout=20)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        try:
            connection.request("POST", "/v1/events", json.dumps(self.batch()), headers)
            answer = connection.getresponse()
            said = json.loads(answer.read())
            if answer.status == 200:
                self.take(said["results"])
            elif answer.status != 503:
                self.unexpected.append((answer.status, said))
        finally:
            connection.close()
        return True


class SocketPublisher(Publisher):
    bye: dict[str, Any] | None = None
    code: int | None = None

    def run(self) -> None:
        url = f"ws://127.0.0.1:{self.served.port}/v1/ws"
        with connect(url, subprotocols=["bus.v1.json"], compression=None, proxy=None) as opened:  # type: ignore[list-item]
            self._socket = opened
            opened.send(json.dumps({"op": "hello", "v": 1, "token": self.token}))
            opened.recv()
            super().run()
            self.code = opened.protocol.close_code

    def publish(self) -> bool:
        with suppress(ConnectionClosed):  # what came before its end is still to be read
            self._socket.send(json.dumps({"op": "pub", "id": self.rounds, "events": self.batch()}))
        while True:
            frame = json.loads(self._socket.recv(20))
            if frame["op"] == "ok":
                self.take(frame["results"])
                return True
            if frame["op"] == "bye":
                self.bye = frame
                for _ in self._socket:  # to its close
                    pass
                return False
            if frame["op"] == "err":
                self.rounds += 1
                return True


def publishers(served: Served) -> Iterator[Publisher]:
    yield from (HttpPublisher(served, f"h{n}") for n in range(3))
    yield from (SocketPublisher(served, f"s{n}") for n in range(3))


def start_worker(served: Served) -> int:
    """A command that would go on for long; its process."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    headers = {"Authorization": f"Bearer {served.token}", "Content-Type": "application/json"}
    body = json.dumps({"argv": ["sleep", "600"], "cwd": "/"})
    connection.request("POST", "/v1/workers", body, headers)
    assert connection.getresponse().read()

    def pid() -> Any:
        connection.request("GET", "/v1/workers", headers=headers)
        return json.loads(connection.getresponse().read())[0].get("pid")

    try:
        found = wait_for(pid, 10, "the worker's process")
    finally:
        connection.close()
    assert isinstance(found, int)
    return found


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_server_that_is_told_to_end_while_all_publish_loses_nothing_acknowledged(
    tmp_path: Path,
) -> None:
    """Every publish in hand is answered, sockets are told to come back, the log closes clean."""
    with Served(tmp_path / "data") as served:
        worker = start_worker(served)
        all_of_them = list(publishers(served))
        for one in all_of_them:
            one.start()
        try:
            wait_for(lambda: all(one.rounds > 3 for one in all_of_them), 20, "the load")
            began = time.monotonic()
            assert served.process is not None
            served.process.send_signal(signal.SIGTERM)
            assert served.process.wait(20) == 0
            assert time.monotonic() - began < 8
        finally:
            served.end()
            for one in all_of_them:
                one.join(25)
        assert not [one.unexpected for one in all_of_them if one.unexpected]
        for one in all_of_them:
            if isinstance(one, SocketPublisher):
                assert one.bye is not None
                assert (one.bye["code"], one.bye["retry"], one.code) == (4000, True, 4000)
        assert not alive(worker)

        wal = served.data / "log.db-wal"
        assert not wal.exists() or wal.stat().st_size == 0
        looked = [json.loads(line) for line in served.run("doctor", "--json").stdout.splitlines()]
        assert {found["state"] for found in looked if found["name"] == "log"} == {"ok"}
        done = served.run("export", "load.*")
        assert done.returncode == 0, done.stderr
        found = [json.loads(line) for line in done.stdout.splitlines()]
        ids = {event["id"] for event in found}
        assert len(ids) == len(found)
        assert all(event["data"] == {"id": event["id"], "text": TEXT} for event in found)
        for one in all_of_them:
            assert one.stored
            assert one.stored <= ids
            assert not one.refused & ids
        assert ids <= set().union(*(one.tried for one in all_of_them))
        assert not served._log.read_text().count("Traceback")


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    """What is in hand then has no answer; the log is whole at the next start."""
    with Served(tmp_path / "data") as served:
        assert served.process is not None
        with socket.create_connection(("127.0.0.1", served.port)) as holding:
            holding.sendall(
                f"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n"
                f"Authorization: Bearer {served.token}\r\n"
                "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n".encode()
            )
            assert served.publish("a.b") > 0
            served.process.send_signal(signal.SIGTERM)
            wait_for(lambda: not accepts(served.port), 10, "the closed port")
            served.process.send_signal(signal.SIGTERM)
            assert served.process.wait(5) == 128 + signal.SIGTERM


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("abstract", [False, True])
def test_a_service_manager_is_told_when_it_is_ready_and_when_it_ends(
    tmp_path: Path, abstract: bool
) -> None:
    path = tmp_path / "notify"
    address = f"\0{path}" if abstract else str(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(20)
        named = address.replace("\0", "@")
        with Served(tmp_path / "data", environment={"NOTIFY_SOCKET": named}) as served:
            assert manager.recv(100) == b"READY=1"
            assert accepts(served.port)
        assert manager.recv(100) == b"STOPPING=1"
