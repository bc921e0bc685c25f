"""Where a server is, and the error for when it isn't there."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from antiphon.errors import AntiphonError, BadRequest


class NoServer(AntiphonError):
    """Nobody answers at the address, or the connection broke before the answer.

    Attributes:
        sent: The request had left when the connection broke: its outcome is unknown.
    """

    def __init__(self, message: str, *, sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a server, and the token that opens it.

    Args:
        url: ``http://HOST:PORT`` or ``https://HOST:PORT``; a path, a query and a fragment are
            left out of account.
        token: None asks without one.

    Raises:
        BadRequest: The url is none of these, or the token can't stand in a header.
    """

    url: str
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise BadRequest("not an address: expected http://HOST:PORT", value=self.url)
        if self.token is not None and not (self.token.isascii() and self.token.isprintable()):
            raise BadRequest("a token is made of printable ASCII characters")

    @property
    def secure(self) -> bool:
        return urlsplit(self.url).scheme == "https"

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or (443 if self.secure else 80)

    @property
    def socket_url(self) -> str:
        """The address of the WebSocket."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'wss' if self.secure else 'ws'}://{host}:{self.port}/v1/ws"
