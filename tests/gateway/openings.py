"""A server with each kind of door: TCP, TLS, Unix socket; and bytes sent through one of them."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect, unix_connect

from antiphon.gateway.doors import open_doors

from .certificates import Certificate
from .conftest import Socket, serving

KINDS = ("tcp", "tls", "uds")
UPGRADE = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
    ("Sec-WebSocket-Protocol", "bus.v1.json"),
)
Headers = Sequence[tuple[str, str | bytes]]


@dataclass(frozen=True)
class Reply:
    """A status of 0: closed without an answer."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: str) -> str:
        """The one value of a header; empty if it isn't there."""
        found = [value for other, value in self.headers if other == name]
        assert len(found) < 2, (name, found)
        return found[0] if found else ""


class Opening:
    """One door of a running desk, and how its own page speaks through it."""

    def __init__(self, desk: Any, kind: str, folder: Path, made: Certificate) -> None:
        self.desk = desk
        self.kind = kind
        self.uds = str(folder / "bus.sock")
        self.made = made
        self._trust = made.trust()
        self.host = "localhost" if kind == "uds" else f"127.0.0.1:{desk.port}"
        self.origin = f"{'https' if kind == 'tls' else 'http'}://{self.host}"
        self.bearer = ("Authorization", f"Bearer {desk.token}")

    @property
    def has_socket_file(self) -> bool:
        return os.path.lexists(self.uds)

    @asynccontextmanager
    async def raw(
        self, *, tls: bool = True
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        if self.kind == "uds":
            reader, writer = await asyncio.open_unix_connection(self.uds)
        else:
            context = self._trust if self.kind == "tls" and tls else None
            reader, writer = await asyncio.open_connection("127.0.0.1", self.desk.port, ssl=context)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def ask(
        self, line: str, *headers: tuple[str, str | bytes], body: bytes = b"", host: Any = None
    ) -> Reply:
        """One request, its own ``Host`` first unless *host* is another, or ``()`` for none."""
        hosts = (self.host if host is None else host,) if not isinstance(host, tuple) else host
        sent = [("Host", one) for one in hosts] + list(headers)
        if body:
            sent.append(("Content-Length", str(len(body))))
        raw = [f"{line} HTTP/1.1".encode()]
        raw += [name.encode() + b": " + _bytes(value) for name, value in sent]
        async with self.raw() as (reader, writer), asyncio.timeout(10):
            writer.write(b"\r\n".join([*raw, b"", body]))
            return await read_reply(reader)

    async def handshake(self, *headers: tuple[str, str | bytes], host: Any = None) -> Reply:
        return await self.ask("GET /v1/ws", *UPGRADE, *headers, host=host)

    @asynccontextmanager
    async def socket(self, **options: Any) -> AsyncIterator[Socket]:
        options = {"subprotocols": ["bus.v1.json"], "compression": None, **options}
        if self.kind == "uds":
            opening = unix_connect(self.uds, "ws://localhost/v1/ws", **options)
        else:
            context: ssl.SSLContext | None = self._trust if self.kind == "tls" else None
            url = f"{self.origin.replace('http', 'ws', 1)}/v1/ws"
            opening = connect(url, ssl=context, proxy=None, **options)
        async with opening as connection:
            yield Socket(connection)

    async def cookie(self) -> str:
        """Log in as the page does."""
        reply = await self.ask(
            "POST /v1/login",
            ("Origin", self.origin),
            ("Content-Type", "application/json"),
            body=b'{"token": "%s"}' % self.desk.token.encode(),
        )
        assert reply.status == 204, reply
        return reply.header("set-cookie")


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


async def read_reply(reader: asyncio.StreamReader) -> Reply:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return Reply(0)
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    pairs = [line.split(": ", 1) for line in lines]
    headers = [(name.lower(), value) for name, value in pairs]
    size = int(dict(headers).get("content-length", "0"))
    return Reply(int(first.split()[1]), headers, await reader.readexactly(size))


@asynccontextmanager
async def opening(
    kind: str, folder: Path, made: Certificate, **options: Any
) -> AsyncIterator[Opening]:
    """A server whose door of *kind* is tried; TCP and the Unix socket are always open."""
    tls = {"tls_cert": made.cert, "tls_key": made.key} if kind == "tls" else {}
    more = {name: options.pop(name) for name in ("proxies", "public_url") if name in options}
    doors = open_doors(host="127.0.0.1", port=0, uds=folder / "bus.sock", **tls, **more)
    async with serving(folder / "web", doors=doors, **options) as desk:
        yield Opening(desk, kind, folder, made)
