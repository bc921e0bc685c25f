"""Issuing, replacing and revoking tokens: the table, its file, and all who are concerned.

A revocation counts at once, before it is on disk; a new token only after that.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from antiphon.bus import Access, Bus, Principal
from antiphon.errors import BadRequest, NotFound, Overloaded, StartError, StorageUnavailable, cut
from antiphon.gateway.audit import Audit
from antiphon.gateway.auth import Auth, make_token
from antiphon.gateway.holds import Pass
from antiphon.gateway.tokens import (
    MOST,
    Grant,
    Rights,
    Secret,
    check_name,
    check_new_name,
    digest,
    new_secret,
)
from antiphon.messages import TokenCreate, TokenInfo, TokenIssued

EXPIRES_S = 100 * 365 * 24 * 3600
OVERLAP_S = 7 * 24 * 3600


class Issuer:
    """Changes what ``Auth`` knows, one change after the other.

    Args:
        admin_file: Where the admin token is kept; None: in memory alone.
    """

    def __init__(self, bus: Bus, auth: Auth, audit: Audit, admin_file: Path | None = None) -> None:
        self._bus = bus
        self._auth = auth
        self._audit = audit
        self._admin_file = admin_file
        self._changing = asyncio.Lock()
        self._learning: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Find out who made which topics, if there are tokens whose topics are counted."""
        if self._learning is None and self._bus.quotas is not None and len(self._auth.tokens):
            self._learning = asyncio.create_task(self._bus.quotas.learn())

    def list(self) -> list[TokenInfo]:
        """Every living token."""
        self._expire()
        return [grant.info for grant in self._auth.tokens]

    async def create(self, ask: TokenCreate, by: Principal) -> TokenIssued:
        """Issue a token; it is told here and never again.

        Raises:
            BadRequest, InvalidPattern: *ask* breaks a rule, or the name has one.
            NotFound: *ask* replaces what isn't there.
            Overloaded: There are as many as there may be.
            StorageUnavailable: It can't be kept.
        """
        _check(ask)
        rights = Rights(
            pub=tuple(ask.pub),
            sub=tuple(ask.sub),
            deny=tuple(ask.deny),
            roles=tuple(sorted(set(ask.roles))),
        )
        rights.principal(ask.name)
        async with self._changing:
            self._expire()
            self._check_place(ask)
            now, secret = self._auth.now(), new_secret()
            expires = None if ask.expires_in_s is None else now + _seconds(ask.expires_in_s)
            fresh = Secret(hash=digest(secret), created=now, expires=expires)
            grant = await self._put(ask, rights, fresh, now)
        self.start()
        what = "replaced" if ask.replace else "issued"
        self._audit.token(what, grant.info, by)
        return TokenIssued(token=secret, info=grant.info)

    async def revoke(self, name: str, by: Principal) -> None:
        """End *name*'s tokens, and every connection that is open by them, at once.

        Raises:
            NotFound: There is none.
            BadRequest: *name* is none.
            StorageUnavailable: It has ended, but would be good again after a restart.
        """
        check_name(name)
        grant = self._auth.tokens.drop(name)
        if grant is None:
            raise NotFound(f"no token is named {cut(name)}", value=name)
        ids, info = [one.id for one in grant.secrets], grant.info
        grant.change(Rights(), grant.secrets)  # whoever still holds it may do nothing more
        self._bus.log.regrant(name, Access())
        self._auth.holds.end(ids, "the token was revoked")
        if self._bus.quotas is not None:
            self._bus.quotas.forget(name)
        self._audit.token("revoked", info, by)
        async with self._changing:
            await self._save("the token has ended, but not in its file, so not for good")

    async def rotate(self, by: Principal) -> tuple[str, Pass]:
        """Put a new admin token in the place of the old one, which ends at once; the new one.

        Raises:
            StorageUnavailable: It can't be kept; the old one is good.
        """
        async with self._changing:
            token = new_secret()
            if self._admin_file is not None:
                try:
                    token = await asyncio.to_thread(make_token, self._admin_file)
                except StartError as error:
                    raise StorageUnavailable(str(error)) from error
            self._auth.replace_admin(token)
        self._audit.did("token.rotated", {}, by)
        passed = self._auth.by_token(token)
        assert passed is not None
        return token, passed

    async def aclose(self) -> None:
        """Keep what was not worth a write of its own: when tokens were last used."""
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.gather(self._learning, return_exceptions=True)
        async with self._changing:
            if self._auth.tokens.unsaved:
                await self._save("")

    # --- steps ------------------------------------------------------------------------------

    async def _put(self, ask: TokenCreate, rights: Rights, fresh: Secret, now: datetime) -> Grant:
        """The grant with its new secret, on disk."""
        tokens = self._auth.tokens
        grant = tokens.get(ask.name)
        if grant is None:
            grant = Grant(ask.name, rights, (fresh,))
            tokens.put(grant)
            try:
                await self._save("the token can't be kept")
            except StorageUnavailable:
                tokens.drop(ask.name)
                raise
            return grant
        before, old = grant.rights, grant.secrets
        leaving = _leaving(old[-1], fresh, now + _seconds(ask.overlap_s))
        grant.change(rights, (leaving, fresh) if leaving.living(now) else (fresh,))
        tokens.put(grant)
        try:
            await self._save("the token can't be kept")
        except StorageUnavailable:
            if tokens.get(ask.name) is grant:  # or it was revoked meanwhile
                grant.change(before, old)
                tokens.put(grant)
                self._bus.log.regrant(grant.name, grant.principal.access)
            raise
        self._replaced(grant, old)
        return grant

    def _replaced(self, grant: Grant, old: tuple[Secret, ...]) -> None:
        """Let the connections of the old secrets go on by the new rights, or end them."""
        self._bus.log.regrant(grant.name, grant.principal.access)
        living = {one.id: one for one in grant.secrets}
        gone = [one.id for one in old if one.id not in living]
        self._auth.holds.end(gone, "the token was replaced")
        for one in living.values():
            if one.expires is not None:
                self._auth.holds.expire(one.id, one.expires.timestamp())

    def _check_place(self, ask: TokenCreate) -> None:
        tokens = self._auth.tokens
        there = tokens.get(ask.name) is not None
        if ask.replace and not there:
            raise NotFound(f"no token is named {ask.name}", value=ask.name)
        if there and not ask.replace:
            raise BadRequest(
                f"a token is named {ask.name} already: revoke it, or replace it", value=ask.name
            )
        if not there and len(tokens) >= MOST:
            raise Overloaded(f"{MOST} tokens are issued, no more are allowed", limit=MOST)

    def _expire(self) -> None:
        """Forget what is over, and write it down."""
        for grant, secret in self._auth.tokens.expire(self._auth.now()):
            self._auth.holds.end([secret.id], "the token has expired")
            self._audit.token("expired", grant.info, None)

    async def _save(self, otherwise: str) -> None:
        tokens = self._auth.tokens
        data = tokens.encode()
        try:
            await asyncio.to_thread(tokens.save, data)
        except OSError as error:
            tokens.unsaved = True
            why = (error.strerror or str(error)).lower()
            raise StorageUnavailable(f"{otherwise}: {why}") from error


def _check(ask: TokenCreate) -> None:
    check_new_name(ask.name)
    if ask.expires_in_s is not None and not 1 <= ask.expires_in_s <= EXPIRES_S:
        raise BadRequest(
            f"expires_in_s must be from 1 to {EXPIRES_S}, got {ask.expires_in_s:g}",
            value=ask.expires_in_s,
            limit=EXPIRES_S,
        )
    if not 0 <= ask.overlap_s <= OVERLAP_S:
        raise BadRequest(
            f"overlap_s must be from 0 to {OVERLAP_S}, got {ask.overlap_s:g}",
            value=ask.overlap_s,
            limit=OVERLAP_S,
        )
    if ask.overlap_s and not ask.replace:
        raise BadRequest("overlap_s goes with replace")


def _leaving(old: Secret, fresh: Secret, until: datetime) -> Secret:
    """*old*, good until then at the latest, and no longer than what replaces it."""
    ends = [until, *(end for end in (old.expires, fresh.expires) if end is not None)]
    return msgspec.structs.replace(old, expires=min(ends))


def _seconds(count: float) -> timedelta:
    return timedelta(seconds=count)
