"""Clients by the other doors of a real server: TLS and a Unix socket, found by its data folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.prove.server import Served
from tests.gateway.certificates import issue

import antiphon
from antiphon.client import Batch, Tail
from antiphon.client.local import find


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short one: the path of a Unix socket has 100 bytes or so."""
    with tempfile.TemporaryDirectory() as found:
        yield Path(found)


async def test_a_client_goes_through_tls_and_a_unix_socket(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, door = issue(folder / "tls"), folder / "door"
    options = ("--tls-cert", str(made.cert), "--tls-key", str(made.key), "--uds", str(door))
    with Served(folder / "data", *options) as served:
        for name in ("ANTIPHON_URL", "ANTIPHON_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("ANTIPHON_DATA", str(served.data))
        assert find().secure, "the client trusts the certificate that the server left"
        async with antiphon.connect() as bus, bus.subscribe("door.*") as events:
            async with antiphon.connect(f"unix://{door}", served.token) as other:
                told = await other.publish("door.a", "through the socket")
            event = await anext(events)
            assert (event.seq, await bus.event(told.seq or 0)) == (told.seq, event)
            with pytest.raises(antiphon.NoServer, match="certificate"):
                await antiphon.connect(find().url.replace("127.0.0.1", "localhost")).__aenter__()
        tail = Tail(find, ["door.*"], start="earliest")
        item = next(tail)
        tail.close()
        assert isinstance(item, Batch)
        assert f'"seq":{told.seq},'.encode() in item.events[0]
