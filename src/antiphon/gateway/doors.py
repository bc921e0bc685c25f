"""Where a server listens: on TCP, on a Unix socket, or on both; and the names it goes by there."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import quote

from antiphon.errors import StartError, cut
from antiphon.gateway.forwarded import Proxies
from antiphon.gateway.names import (
    NOTHING,
    Names,
    check_name,
    check_public_url,
    public_names,
    tcp_names,
    unix_names,
)
from antiphon.gateway.tls import Tls

BACKLOG = 1024
UNIX_PATH_BYTES = 103
"""The longest path of a Unix socket that every system takes."""


class UnixDoor:
    """A listening Unix socket, of mode 0600.

    Args:
        path: In a folder that is there. What a server left that was killed is replaced.

    Raises:
        StartError: Something else is there, a living server listens, or it can't be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        _clear(self.path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        narrow = os.umask(0o177)  # so that it is nobody else's from the first moment
        try:
            self.socket.bind(str(self.path))
            self.socket.listen(BACKLOG)
            self._made = _identity(self.path)
        except OSError as error:
            self.socket.close()
            raise StartError(f"cannot listen on {self.path}: {_why(error)}") from error
        finally:
            os.umask(narrow)
        self.socket.setblocking(False)

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self.path))}"

    def close(self) -> None:
        """Listen no more, and take the file away, unless it is another server's by now."""
        self.socket.close()
        with suppress(OSError):
            if _identity(self.path) == self._made:
                self.path.unlink()


def _identity(path: Path) -> tuple[int, int]:
    """Tells one socket from its successor, which may get the same inode."""
    found = path.lstat()
    return found.st_ino, found.st_mtime_ns


def _clear(path: Path) -> None:
    if len(os.fsencode(path)) > UNIX_PATH_BYTES:
        raise StartError(
            f"the path of a Unix socket has {UNIX_PATH_BYTES} bytes at most, "
            f"{path} has {len(os.fsencode(path))}"
        )
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise StartError(f"cannot listen on {path}: {_why(error)}") from error
    if not stat.S_ISSOCK(found.st_mode):
        raise StartError(f"cannot listen on {path}: it is there, and no socket")
    if _answers(path):
        raise StartError(f"cannot listen on {path}: a server listens there already")
    try:
        path.unlink()
    except OSError as error:
        raise StartError(f"cannot replace {path}: {_why(error)}") from error


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError as error:
            return error.errno not in (errno.ECONNREFUSED, errno.ENOENT)
        return True


def bind(host: str, port: int, *, open_to_others: bool = False) -> socket.socket:
    """A listening TCP socket; port 0 picks a free one.

    Args:
        host: An address of this machine, or ``localhost``.
        open_to_others: It may be one that other machines reach.

    Raises:
        StartError: The address is none of these, or the port is in use.
    """
    address = "127.0.0.1" if host == "localhost" else host
    try:
        found = ip_address(address)
    except ValueError:
        raise StartError(
            f"cannot listen on {cut(host) or 'nothing'}: a host is an address or localhost"
        ) from None
    if not found.is_loopback and not open_to_others:
        raise StartError(
            f"cannot listen on {host}, which other machines reach, without TLS: "
            "give --tls-cert and --tls-key, or --insecure-bind to send tokens in clear"
        )
    family = socket.AF_INET6 if found.version == 6 else socket.AF_INET
    # By name, since asyncio lets only what it knows to be TCP send without delay.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
        listening.listen(BACKLOG)  # now, since two that only bind don't meet
    except (OSError, OverflowError) as error:
        listening.close()
        taken = getattr(error, "errno", None) == errno.EADDRINUSE
        way = "; another --port, or 0 for a free one" if taken else ""
        raise StartError(f"cannot listen on {address}:{port}: {_why(error)}{way}") from error
    listening.setblocking(False)
    return listening


def _why(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """All that is listened on, and who may come in by which name.

    Attributes:
        names: More names of the TCP side, as ``check_name`` gives them.
        public: Where browsers find the server behind a proxy, as ``check_public_url`` gives it.
    """

    tcp: socket.socket | None = None
    unix: UnixDoor | None = None
    tls: Tls | None = None
    names: tuple[str, ...] = ()
    public: str | None = None
    proxies: Proxies = Proxies()  # noqa: RUF009 - it never changes

    @property
    def port(self) -> int:
        """The TCP port; 0 without TCP."""
        return int(self.tcp.getsockname()[1]) if self.tcp is not None else 0

    @property
    def url(self) -> str:
        """Where programs of this machine reach it."""
        if self.tcp is None:
            assert self.unix is not None
            return self.unix.url
        address = ip_address(self.tcp.getsockname()[0])
        if address.is_unspecified:
            address = ip_address("127.0.0.1" if address.version == 4 else "::1")
        host = f"[{address}]" if address.version == 6 else str(address)
        return f"{self._scheme}://{host}:{self.port}"

    @property
    def page_url(self) -> str | None:
        """Where a browser finds the page; None if it can't."""
        if self.public is not None:
            return self.public
        if self.tcp is None:
            return None
        if not self.names:
            return self.url
        name = self.names[0]
        return min(Names.of(self._scheme, [name], self.port).origins)

    @property
    def _scheme(self) -> str:
        return "https" if self.tls is not None else "http"

    def tcp_names(self) -> Names:
        """The names on the TCP side."""
        if self.tcp is None:
            return NOTHING
        address = self.tcp.getsockname()[0]
        own = tcp_names(address, self.port, tls=self.tls is not None, names=self.names)
        return own | public_names(self.public)

    def unix_names(self) -> Names:
        """The names on the Unix socket."""
        return unix_names() | public_names(self.public)

    def close(self) -> None:
        """Listen no more. Idempotent."""
        if self.tcp is not None:
            self.tcp.close()
        if self.unix is not None:
            self.unix.close()


def open_doors(
    *,
    host: str,
    port: int,
    tcp: bool = True,
    uds: Path | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    insecure_bind: bool = False,
    host_names: Iterable[str] = (),
    public_url: str | None = None,
    proxies: Iterable[str] = (),
) -> Doors:
    """Listen as the settings of these names say.

    Raises:
        StartError: They contradict each other, or something of it can't be had.
    """
    names = tuple(check_name(name) for name in host_names)
    public = check_public_url(public_url) if public_url is not None else None
    trusted = Proxies(proxies)
    if not tcp and uds is None:
        raise StartError("nothing to listen on: --no-tcp needs --uds PATH")
    if trusted.unix and uds is None:
        raise StartError("--proxy unix needs --uds PATH")
    tls = _tls(tls_cert, tls_key) if tcp else None
    listening = bind(host, port, open_to_others=insecure_bind or tls is not None) if tcp else None
    try:
        if listening is not None and not (names or public):
            _check_named(listening)
        unix = UnixDoor(uds) if uds is not None else None
    except StartError:
        if listening is not None:
            listening.close()
        raise
    return Doors(tcp=listening, unix=unix, tls=tls, names=names, public=public, proxies=trusted)


def _check_named(listening: socket.socket) -> None:
    address = listening.getsockname()[0]
    if ip_address(address).is_unspecified:
        raise StartError(
            f"whoever listens on {address} needs the name that others use: give --host-name NAME"
        )


def _tls(cert: Path | None, key: Path | None) -> Tls | None:
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise StartError("TLS needs both --tls-cert FILE and --tls-key FILE")
    return Tls(cert, key)
