"""Why the server closes a socket: the close codes of ``bus.v1.json``.

4000 to 4499: connect again, with backoff. 4500 to 4999: that would not help.
"""

from __future__ import annotations

from enum import IntEnum

from antiphon.messages import Bye


class CloseCode(IntEnum):
    """The codes in use; docs/gateway.md explains each to users."""

    GOING_AWAY = 4000
    """The server is shutting down."""
    CRASHED = 4001
    """The actor behind the connection ended: it failed or was killed."""
    SILENT = 4002
    """No frame came within 10 s after a ping."""
    STUCK = 4003
    """Answers could not be written for 30 s: the client doesn't read."""
    HANDSHAKE_TIMEOUT = 4008
    """No hello within 10 s."""
    CROWDED = 4009
    """This token's name has as many connections as it may."""
    BAD_HELLO = 4500
    """The first frame was no hello, or names a version that isn't spoken here."""
    UNAUTHORIZED = 4501
    """No token, or one that isn't known."""
    TOKEN_ENDED = 4502
    """The token was revoked, was replaced, or has expired."""

    @property
    def retry(self) -> bool:
        """Whether to connect again."""
        return self < 4500


def bye(code: CloseCode, reason: str) -> Bye:
    """The frame that goes before the close."""
    return Bye(code=int(code), reason=reason, retry=code.retry)
