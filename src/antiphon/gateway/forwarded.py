"""What a proxy says about whom it speaks for: believed from named addresses, else not looked at.

``X-Forwarded-For``, ``-Proto`` and ``-Host``, as nginx and Caddy send them; RFC 7239's
``Forwarded`` is not read, since a proxy that doesn't know it passes a stranger's on.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from starlette.types import Scope

from antiphon.errors import StartError, cut

UNIX = "unix"
SECURE = {"http": "https", "websocket": "wss"}
PLAIN = {"http": "http", "websocket": "ws"}


class Proxies:
    """The peers whose word counts.

    Args:
        named: Addresses, networks as ``10.0.0.0/8``, and ``unix`` for every peer on the
            Unix socket.

    Raises:
        StartError: One of them is none of these.
    """

    def __init__(self, named: Iterable[str] = ()) -> None:
        named = tuple(named)
        self.unix = UNIX in named
        try:
            self._networks = [ip_network(name) for name in named if name != UNIX]
        except ValueError as error:
            raise StartError(
                f"a proxy is an address, a network as 10.0.0.0/8, or unix: {cut(str(error))}"
            ) from None

    def has(self, address: str) -> bool:
        """Whether *address* is a proxy's."""
        found = _address(address)
        return found is not None and any(found in network for network in self._networks)

    def believes(self, scope: Scope) -> bool:
        """Whether the request of *scope* comes straight from one of them."""
        if on_unix(scope):
            return self.unix
        client = scope.get("client")
        return client is not None and self.has(client[0])

    def client(self, hops: str) -> str | None:
        """Who is behind them: the last of *hops* that is none of them; None if it is no address.

        What stands before that one was written by a stranger.
        """
        for hop in reversed(hops.split(",")):
            found = _address(_bare(hop.strip()))
            if found is None:
                return None
            if not self.has(str(found)):
                return str(found)
        return None


def on_unix(scope: Scope) -> bool:
    """Whether it came on the Unix socket: that has no port."""
    server = scope.get("server")
    return server is None or server[1] is None


def values(scope: Scope, name: bytes) -> tuple[str, ...]:
    """Every value of a header."""
    return tuple(v.decode("latin-1") for n, v in scope["headers"] if n == name)


def behind(scope: Scope, proxies: Proxies) -> Scope:
    """*scope*, with client and scheme as a believed proxy tells them.

    What it leaves out or garbles stays as the connection is.
    """
    if not proxies.believes(scope):
        return scope
    told = dict(scope)
    client = proxies.client(",".join(values(scope, b"x-forwarded-for")))
    if client is not None:
        told["client"] = (client, 0)
    schemes = values(scope, b"x-forwarded-proto")
    if schemes in (("https",), ("http",)):
        told["scheme"] = (SECURE if schemes == ("https",) else PLAIN)[scope["type"]]
    return told


def _bare(hop: str) -> str:
    """Without a port: ``1.2.3.4:5`` and ``[::1]:5`` are written too."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found
