"""Where a server is, and the error for when it isn't there."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from antiphon.errors import AntiphonError, BadRequest


class NoServer(AntiphonError):
    """Nobody answers at the address, or the connection broke before the answer.

    Attributes:
        sent: The request had left when the connection broke: its outcome is unknown.
    """

    def __init__(self, message: str, *, sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent


def reason(error: Exception) -> str:
    """Why there was no connection, in a few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}".lower()
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a server, and the token that opens it.

    Args:
        url: ``http://HOST:PORT``, ``https://HOST:PORT`` or ``unix:///PATH``; a query and a
            fragment, and the path of the first two, are left out of account.
        token: None asks without one.
        cert: A file of PEM whose first certificate must be the server's, whoever issued it and
            to whatever name; None trusts the system's authorities, or those of the file that
            ``SSL_CERT_FILE`` names.

    Raises:
        BadRequest: The url is none of these, or the token can't stand in a header.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    cert: Path | None = None

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            by_name = parts.scheme in ("http", "https") and bool(parts.hostname)
            by_path = parts.scheme == "unix" and not parts.netloc and len(parts.path) > 1
            usable = (by_name and parts.port != 0) or by_path
        except ValueError:
            usable = False
        if not usable:
            raise BadRequest(
                "not an address: expected http://HOST:PORT, https:// or unix:///PATH",
                value=self.url,
            )
        if self.token is not None and not (self.token.isascii() and self.token.isprintable()):
            raise BadRequest("a token is made of printable ASCII characters")

    @property
    def secure(self) -> bool:
        return urlsplit(self.url).scheme == "https"

    @property
    def unix_path(self) -> str | None:
        """The Unix socket; None if it is reached by TCP."""
        parts = urlsplit(self.url)
        return unquote(parts.path) if parts.scheme == "unix" else None

    @property
    def host(self) -> str:
        """What goes into ``Host``."""
        return urlsplit(self.url).hostname or "localhost"

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or (443 if self.secure else 80)

    @property
    def socket_url(self) -> str:
        """The address of the WebSocket."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'wss' if self.secure else 'ws'}://{host}:{self.port}/v1/ws"

    def tls(self) -> ssl.SSLContext | None:
        """Whom to trust; None without TLS.

        Raises:
            NoServer: *cert* can't be read, or is none.
        """
        if not self.secure:
            return None
        if self.cert is None:
            return ssl.create_default_context()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False  # it is this one certificate or none
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        try:
            context.load_verify_locations(cadata=_first(self.cert.read_text("ascii")))
        except (OSError, ValueError) as error:
            why = f"cannot check the server's certificate by {self.cert}: {error}"
            raise NoServer(why) from error
        return context


def _first(pem: str) -> str:
    """The server's own certificate; to trust its issuers would be to trust all they issued."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    start = pem.find(begin)
    stop = pem.find(end, start)
    if start < 0 or stop < 0:
        raise ValueError("there is no certificate in it")
    return pem[start : stop + len(end)]
