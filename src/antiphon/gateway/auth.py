"""Who is asking: the admin token, and the cookie that the page gets for it.

The token is in clear in one file of mode 0600 and nowhere else: not in logs, not in errors,
not in addresses. The cookie is no copy of it but a random id and the time of the
login, signed with a key derived from it, so cookies outlive a restart of the server and
end with their token.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path

from antiphon.bus import ADMIN, Principal
from antiphon.errors import StartError

TOKEN_BYTES = 32
TOKEN_CHARS = 32
"""A token file with fewer characters is refused."""
COOKIE_S = 30 * 24 * 3600
"""Seconds that a login is good for."""


class Auth:
    """Knows the admin token, and makes and checks cookies.

    Args:
        token: The admin token.
        now: Seconds since 1970.
    """

    def __init__(self, token: str, *, now: Callable[[], float] = time.time) -> None:
        self._token = _digest(token)
        self._key = hmac.digest(token.encode(), b"antiphon cookie 1", "sha256")
        self._now = now

    def __repr__(self) -> str:
        return "<Auth>"

    def by_token(self, token: str) -> Principal | None:
        """Whose *token* it is; in constant time."""
        return ADMIN if hmac.compare_digest(_digest(token), self._token) else None

    def make_cookie(self) -> str:
        """A new login."""
        login = f"{int(self._now())}.{secrets.token_hex(16)}"
        return f"{login}.{self._sign(login)}"

    def by_cookie(self, value: str) -> Principal | None:
        """Whose login *value* is; None if it is none, or too old."""
        login, dot, signature = value.rpartition(".")
        if not dot or not hmac.compare_digest(_digest(self._sign(login)), _digest(signature)):
            return None
        age = self._now() - int(login.partition(".")[0])
        return ADMIN if age <= COOKIE_S else None

    def _sign(self, login: str) -> str:
        return hmac.new(self._key, login.encode("utf-8", "replace"), sha256).hexdigest()


def _digest(text: str) -> bytes:
    """Equal length for every comparison."""
    return sha256(text.encode("utf-8", "replace")).digest()


def cookie_name(port: int) -> str:
    """Cookies know no ports, so the name does."""
    return f"antiphon_{port}"


def bearer(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The token of an ``Authorization: Bearer`` header; None if there is no such header."""
    for name, value in headers:
        if name == b"authorization":
            scheme, _, token = value.decode("latin-1").partition(" ")
            return token.strip() if scheme.lower() == "bearer" else ""
    return None


def read_cookies(headers: Iterable[tuple[bytes, bytes]], wanted: str) -> Iterator[str]:
    """Every value of one cookie: a page on another port may have set its own by that name."""
    for header, value in headers:
        if header == b"cookie":
            for part in value.decode("latin-1").split(";"):
                name, _, text = part.strip().partition("=")
                if name == wanted:
                    yield text


def load_token(path: Path) -> str:
    """Read the admin token from *path*, or make it, of mode 0600.

    Raises:
        StartError: It can't be read or made, others may read it, or it is too short.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return _make_token(path)
    except OSError as error:
        raise StartError(f"cannot read token file {path}: {_why(error)}") from error
    if not stat.S_ISREG(found.st_mode):
        raise StartError(f"token file {path} is no regular file")
    if found.st_uid != os.geteuid():
        raise StartError(f"token file {path} belongs to another user (uid {found.st_uid})")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise StartError(
            f"token file {path} may be read by others (mode {mode:04o}): "
            f"delete it for a new token, or run chmod 600 {path}"
        )
    try:
        token = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"cannot read token file {path}: {_why(error)}") from None
    if len(token) < TOKEN_CHARS or not token.isprintable() or " " in token:
        raise StartError(
            f"token file {path} holds no token of at least {TOKEN_CHARS} characters; delete it"
        )
    return token


def _make_token(path: Path) -> str:
    """Write it beside and move it: a crash leaves no half token."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(handle, f"{token}\n".encode())
            os.fsync(handle)
        finally:
            os.close(handle)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise StartError(f"cannot write token file {path}: {_why(error)}") from error
    return token


def _why(error: Exception) -> str:
    """The reason alone: never the text that could not be read."""
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    return "not text"
