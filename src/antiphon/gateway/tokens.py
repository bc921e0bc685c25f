"""Issued tokens: a table by name, kept in one file of mode 0600 as hashes.

A *name* has rights; a *secret* opens them. A name has one secret, and while one is being
replaced two. Only hashes are kept, so the file opens nothing. Why SHA-256 is enough for
them: ADR 15. Here is no clock and no loop; ``issuing.py`` brings both.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import msgspec

from antiphon.bus import ADMIN, Access, Principal
from antiphon.errors import BadRequest, BusError, StartError, cut
from antiphon.gateway.private import read_private, write_private
from antiphon.messages import Role, TokenInfo

PREFIX = "anti_"
"""So that people and secret scanners know one when they see it."""
SECRET_BYTES = 32
ID_CHARS = 12
MOST = 1000
PATTERNS = 32
ROLES: tuple[Role, ...] = ("worker", "terminal", "admin")
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
SECRET = re.compile(rf"\s*{PREFIX}[A-Za-z0-9_-]{{40}}")
HASH = re.compile(r"[0-9a-f]{64}\Z")
TAKEN = frozenset({"admin", "system", "nobody"})
"""Names that Antiphon gives itself."""
VERSION = 1


def new_secret() -> str:
    """256 random bits that say what they are."""
    return PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def digest(secret: str) -> str:
    """What is kept of *secret*."""
    return sha256(secret.encode("utf-8", "replace")).hexdigest()


class Secret(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One secret of a name; *id* is the beginning of *hash*."""

    hash: str
    created: datetime
    expires: datetime | None = None
    last_used: datetime | None = None

    @property
    def id(self) -> str:
        return self.hash[:ID_CHARS]

    def living(self, now: datetime) -> bool:
        """Whether it opens anything at *now*."""
        return self.expires is None or now < self.expires


class Rights(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a name may do."""

    pub: tuple[str, ...] = ()
    sub: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    roles: tuple[Role, ...] = ()

    def principal(self, name: str) -> Principal:
        """Them, as the bus and the table of operations ask for them.

        Raises:
            BadRequest: They contradict each other, or are too many.
            InvalidPattern: One is no pattern, or can't be granted.
        """
        for kind in ("pub", "sub", "deny"):
            if len(given := getattr(self, kind)) > PATTERNS:
                raise BadRequest(
                    f"a token has at most {PATTERNS} {kind} patterns, got {len(given)}",
                    limit=PATTERNS,
                )
        if "admin" not in self.roles:
            access = Access(self.pub, self.sub, self.deny)
            return Principal(name, access, frozenset(self.roles))
        if self.pub or self.sub or self.deny:
            raise BadRequest("the role admin reaches everything: it takes no pub, sub or deny")
        return Principal(name, ADMIN.access, frozenset(self.roles))


@dataclass(slots=True)
class Grant:
    """A name with its present rights and secrets. Whoever holds it sees them change."""

    name: str
    rights: Rights
    secrets: tuple[Secret, ...]
    principal: Principal = field(init=False)

    def __post_init__(self) -> None:
        self.principal = self.rights.principal(self.name)

    def change(self, rights: Rights, secrets: tuple[Secret, ...]) -> None:
        """Have these from now on."""
        self.principal = rights.principal(self.name)
        self.rights, self.secrets = rights, secrets

    @property
    def info(self) -> TokenInfo:
        """All that may be told of it."""
        newest, access = self.secrets[-1], self.principal.access
        previous = self.secrets[0] if len(self.secrets) > 1 else None
        return TokenInfo(
            name=self.name,
            id=newest.id,
            pub=list(access.pub),
            sub=list(access.sub),
            deny=list(access.deny),
            roles=list(self.rights.roles),
            created=newest.created,
            expires=newest.expires,
            last_used=max(filter(None, (one.last_used for one in self.secrets)), default=None),
            previous_until=None if previous is None else previous.expires,
        )


class _Kept(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    rights: Rights
    secrets: tuple[Secret, ...]


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: int
    tokens: list[_Kept]


class Tokens:
    """All issued tokens.

    Args:
        path: The file; None keeps them in memory.

    Raises:
        StartError: The file can't be used as it is: none of its tokens would be known.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._by_name: dict[str, Grant] = {}
        self._by_id: dict[str, Grant] = {}
        self.unsaved = False
        data = None if path is None else read_private(path, "file of tokens")
        if data is not None:
            try:
                for grant in _read(data):
                    self.put(grant)
            except (ValueError, BusError) as error:
                raise StartError(
                    f"file of tokens {path} is not as it was written: {error};"
                    " delete it to begin with no tokens"
                ) from None
            self.unsaved = False

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Grant]:
        return iter(sorted(self._by_name.values(), key=lambda grant: grant.name))

    def get(self, name: str) -> Grant | None:
        """What *name* has."""
        return self._by_name.get(name)

    def find(self, secret: str) -> tuple[Grant, Secret] | None:
        """Whose *secret* this is, even if it has expired.

        A lookup by the hash tells who measures it nothing: they would need a secret whose
        hash begins as wanted. The comparison is of constant time all the same.
        """
        wanted = digest(secret)
        found = self.by_id(wanted[:ID_CHARS])
        return found if found is not None and hmac.compare_digest(found[1].hash, wanted) else None

    def by_id(self, id: str) -> tuple[Grant, Secret] | None:
        """The secret with this id, even if it has expired."""
        grant = self._by_id.get(id)
        if grant is None:
            return None
        return next(((grant, one) for one in grant.secrets if one.id == id), None)

    def put(self, grant: Grant) -> None:
        """Know *grant*, as it is now."""
        self.drop(grant.name)
        self._by_name[grant.name] = grant
        self._by_id.update(dict.fromkeys((one.id for one in grant.secrets), grant))
        self.unsaved = True

    def drop(self, name: str) -> Grant | None:
        """Forget *name*."""
        grant = self._by_name.pop(name, None)
        if grant is not None:
            self._by_id = {id: owner for id, owner in self._by_id.items() if owner is not grant}
            self.unsaved = True
        return grant

    def used(self, grant: Grant, secret: Secret, now: datetime) -> None:
        """Remember that *secret* was shown, to the minute."""
        minute = now.replace(second=0, microsecond=0)
        if secret.last_used is None or secret.last_used < minute:
            fresh = msgspec.structs.replace(secret, last_used=minute)
            grant.secrets = tuple(fresh if one is secret else one for one in grant.secrets)
            self.unsaved = True

    def expire(self, now: datetime) -> list[tuple[Grant, Secret]]:
        """Forget what is over at *now*; what that was."""
        over = [(grant, one) for grant in self for one in grant.secrets if not one.living(now)]
        for grant, secret in over:
            left = tuple(one for one in grant.secrets if one is not secret)
            self.drop(grant.name)
            grant.secrets = left or grant.secrets
            if left:
                self.put(grant)
        return over

    # --- the file -------------------------------------------------------------------------

    def encode(self) -> bytes:
        """All of them, for ``save``."""
        kept = [_Kept(name=one.name, rights=one.rights, secrets=one.secrets) for one in self]
        self.unsaved = False
        return msgspec.json.format(msgspec.json.encode(_File(version=VERSION, tokens=kept))) + b"\n"

    def save(self, data: bytes) -> None:
        """Write what ``encode`` gave. Blocks; may run in any thread, one at a time.

        Raises:
            OSError: The disk refused; the file is as it was.
        """
        if self._path is not None:
            write_private(self._path, data)


def check_new_name(name: str) -> str:
    """*name*, if a token may get it.

    Older files may have names of dots alone, so only here are they refused.

    Raises:
        BadRequest: It may not.
    """
    check_name(name)
    if not name.strip("."):
        raise BadRequest(
            f"{name} is no name of a token: clients take dots alone in an address for a folder",
            value=name,
        )
    return name


def check_name(name: str) -> str:
    """*name*, if a token may have it.

    Raises:
        BadRequest: It may not.
    """
    if SECRET.match(name):
        raise BadRequest("this is a token itself, its name is asked for")  # and never repeated
    if not NAME.match(name):
        raise BadRequest(
            f"a token's name is 1 to 64 of A-Z a-z 0-9 _ . -, got {cut(name)}", value=name, limit=64
        )
    if name in TAKEN:
        raise BadRequest(f"{name} is a name that Antiphon gives itself", value=name)
    return name


def _read(data: bytes) -> Iterable[Grant]:
    found = msgspec.json.decode(data, type=_File)
    if found.version != VERSION:
        raise ValueError(f"it is of version {found.version}, this program reads {VERSION}")
    if len(found.tokens) > MOST:
        raise ValueError(f"it holds {len(found.tokens)} names, more than {MOST}")
    names = [kept.name for kept in found.tokens]
    hashes = [one.hash for kept in found.tokens for one in kept.secrets]
    if not all(HASH.match(hash) for hash in hashes):
        raise ValueError("a hash in it is none")
    for what, values in (("name", names), ("hash", [hash[:ID_CHARS] for hash in hashes])):
        if len(set(values)) != len(values):
            raise ValueError(f"a {what} stands in it twice")
    if not all(1 <= len(kept.secrets) <= 2 for kept in found.tokens):
        raise ValueError("a name in it has not one or two secrets")
    if any(_naive(one) for kept in found.tokens for one in kept.secrets):
        raise ValueError("a time in it has no offset")
    return [Grant(check_name(kept.name), kept.rights, kept.secrets) for kept in found.tokens]


def _naive(secret: Secret) -> bool:
    times = (secret.created, secret.expires, secret.last_used)
    return any(time is not None and time.tzinfo is None for time in times)
