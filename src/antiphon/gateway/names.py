"""Which names a server answers to: the exact hosts and origins, worked out once at the start.

A name that isn't listed is refused: DNS rebinding makes a browser send a name of its own to this
machine, so "resolves to us" is worth nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Self
from urllib.parse import urlsplit

from antiphon.errors import StartError, cut

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(
    r"(?:[a-z0-9]([a-z0-9-]*[a-z0-9])?)(?:\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:.]+\]"
)


@dataclass(frozen=True, slots=True)
class Names:
    """What ``Host`` and ``Origin`` may be; lower case, with the port unless it is the default."""

    hosts: frozenset[str]
    origins: frozenset[str]

    @classmethod
    def of(cls, scheme: str, hosts: Iterable[str], port: int) -> Self:
        """*hosts* at *port*; one that has a port of its own keeps that."""
        listed: set[str] = set()
        origins: set[str] = set()
        for host in hosts:
            own = _port(host)
            name = host.rpartition(":")[0] if own is not None else host
            at = port if own is None else own
            listed.add(f"{name}:{at}")
            if at == DEFAULT_PORTS[scheme]:
                listed.add(name)
            origins.add(f"{scheme}://{name}" + ("" if name in listed else f":{at}"))
        return cls(frozenset(listed), frozenset(origins))

    def __or__(self, other: Names) -> Names:
        return Names(self.hosts | other.hosts, self.origins | other.origins)


NOTHING = Names(frozenset(), frozenset())


def check_name(name: str) -> str:
    """*name* in lower case: ``HOST`` or ``HOST:PORT``.

    Raises:
        StartError: It is none.
    """
    lowered = name.lower()
    port = _port(lowered)
    host = lowered.rpartition(":")[0] if port is not None else lowered
    if not _HOST.fullmatch(host) or port == 0:
        raise StartError(f"a host name is NAME or NAME:PORT, without http://, got {cut(name)}")
    return lowered


def check_public_url(url: str) -> str:
    """*url* as an origin: scheme and host in lower case, the port unless it is the default.

    Raises:
        StartError: It is none, or names more than a server's root.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    plain = parts.path in ("", "/") and not (parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme not in DEFAULT_PORTS or not plain or not _HOST.fullmatch(host) or port == 0:
        raise StartError(
            f"a public url is https://NAME or https://NAME:PORT, nothing after it, got {cut(url)}"
        )
    (origin,) = Names.of(parts.scheme, [host], port or DEFAULT_PORTS[parts.scheme]).origins
    return origin


def public_names(origin: str | None) -> Names:
    """The names of a public url that ``check_public_url`` gave."""
    if origin is None:
        return NOTHING
    scheme, _, host = origin.partition("://")
    return Names.of(scheme, [host], DEFAULT_PORTS[scheme])


def tcp_names(address: str, port: int, *, tls: bool = False, names: Iterable[str] = ()) -> Names:
    """The names of a server that listens on *address* and *port*.

    Those of this machine are good only where this machine can reach it: elsewhere they
    would be somebody else's origin.
    """
    found = ip_address(address)
    hosts = [f"[{found}]" if found.version == 6 else str(found)]
    if found.is_loopback or found.is_unspecified:
        hosts = [*LOOPBACK, *(() if found.is_unspecified else hosts)]
    return Names.of("https" if tls else "http", [*hosts, *names], port)


def unix_names(names: Iterable[str] = ()) -> Names:
    """The names on a Unix socket, where there is no port."""
    return Names.of("http", ["localhost", *names], DEFAULT_PORTS["http"])


def _port(host: str) -> int | None:
    """The port in *host*; None if it has none."""
    found = re.search(r":(\d{1,5})$", host)
    if found is None or (host.startswith("[") and "]:" not in host):
        return None
    port = int(found[1])
    return port if port <= 65535 else 0
