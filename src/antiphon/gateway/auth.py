"""Who is asking: the admin token, the issued ones, and the cookie that the page gets for either.

The admin token is in clear in one file of mode 0600 and nowhere else: not in logs, not in
errors, not in addresses. A cookie is no copy of a token but the token's id, the time of
the login and a random number, signed with a key derived from the admin token: so cookies
outlive a restart of the server, and end with the admin token and with their own. (A key
made from what is kept of an issued token would let whoever reads that file make cookies.)
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from antiphon.bus import ADMIN, Principal
from antiphon.errors import StartError, Unauthorized
from antiphon.gateway.holds import Ended, Holds, Pass
from antiphon.gateway.limits import TOKEN_SOCKETS
from antiphon.gateway.private import read_private, write_private
from antiphon.gateway.tokens import ID_CHARS, Grant, Secret, Tokens, new_secret

TOKEN_CHARS = 32
"""A token file with fewer characters is refused."""
COOKIE_S = 30 * 24 * 3600
"""Seconds that a login is good for."""


class _Admin:
    """Whoever has the admin token."""

    principal: Principal = ADMIN


class Auth:
    """Knows every token, makes and checks cookies, and says who is connected by what.

    Args:
        token: The admin token.
        tokens: The issued ones.
        now: Seconds since 1970.
        sockets: Most connections of one issued token's name.

    Attributes:
        tokens: The issued ones.
        holds: The connections.
    """

    def __init__(
        self,
        token: str,
        tokens: Tokens | None = None,
        *,
        now: Callable[[], float] = time.time,
        sockets: int = TOKEN_SOCKETS,
    ) -> None:
        self.tokens = Tokens() if tokens is None else tokens
        self._now = now
        self._take(token)
        self.holds = Holds(sockets, now)

    def __repr__(self) -> str:
        return "<Auth>"

    def _take(self, token: str) -> None:
        self._token = _digest(token)
        self._key = hmac.digest(token.encode(), b"antiphon cookie 2", "sha256")
        self._admin = Pass(f"admin-{self._token.hex()[:ID_CHARS]}", _Admin())

    def now(self) -> datetime:
        """The time by which tokens expire."""
        return datetime.fromtimestamp(self._now(), UTC)

    # --- tokens -----------------------------------------------------------------------------

    def by_token(self, token: str) -> Pass | None:
        """What *token* opens; None: nothing. In constant time, as far as it is a secret."""
        is_admin = hmac.compare_digest(_digest(token), self._token)
        found = self.tokens.find(token)
        if is_admin:
            return self._admin
        return None if found is None else self._living(*found)

    def _living(self, grant: Grant, secret: Secret) -> Pass | None:
        now = self.now()
        if not secret.living(now):
            return None
        self.tokens.used(grant, secret, now)
        expires = None if secret.expires is None else secret.expires.timestamp()
        return Pass(secret.id, grant, expires)

    def hold(self, passed: Pass, ended: Ended, *, spare: int = 0) -> Callable[[], None]:
        """Let *ended* be called when the token ends, while a connection lives by it.

        Args:
            spare: As ``Holds.add``.

        Returns:
            What undoes this.

        Raises:
            Unauthorized: It has ended meanwhile.
            Overloaded: Too many connections are open by its name.
        """
        if passed is not self._admin:
            found = self.tokens.by_id(passed.id)
            living = None if found is None else self._living(*found)
            if living is None:
                raise Unauthorized("this token is not known any more")
            passed = living  # its end may be nearer than when it was shown
        return self.holds.add(passed, ended, spare=spare)

    def replace_admin(self, token: str) -> int:
        """From now on *token* is the admin's; how many connections ended with the old one."""
        old = self._admin
        self._take(token)
        return self.holds.end([old.id], "the admin token was replaced")

    # --- cookies ----------------------------------------------------------------------------

    def make_cookie(self, passed: Pass) -> tuple[str, int]:
        """A new login, and the seconds that it is good for."""
        now = self._now()
        login = f"{passed.id}.{int(now)}.{secrets.token_hex(16)}"
        left = COOKIE_S if passed.expires is None else max(0, int(passed.expires - now))
        return f"{login}.{self._sign(login)}", min(COOKIE_S, left)

    def by_cookie(self, value: str) -> Pass | None:
        """Whose login *value* is; None if it is none, too old, or its token has ended."""
        login, dot, signature = value.rpartition(".")
        if not dot or not hmac.compare_digest(_digest(self._sign(login)), _digest(signature)):
            return None
        id, made, _ = login.split(".")
        if self._now() - int(made) > COOKIE_S:
            return None
        if id == self._admin.id:
            return self._admin
        found = self.tokens.by_id(id)
        return None if found is None else self._living(*found)

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
    data = read_private(path, "token file")
    if data is None:
        return make_token(path)
    try:
        token = data.decode("ascii").strip()
    except UnicodeDecodeError:
        raise StartError(f"cannot read token file {path}: not text") from None
    if len(token) < TOKEN_CHARS or not token.isprintable() or " " in token:
        raise StartError(
            f"token file {path} holds no token of at least {TOKEN_CHARS} characters; delete it"
        )
    return token


def make_token(path: Path) -> str:
    """Put a new admin token into *path*.

    Raises:
        StartError: The disk refused; what was there is there.
    """
    token = new_secret()
    try:
        write_private(path, f"{token}\n".encode())
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise StartError(f"cannot write token file {path}: {why}") from error
    return token
