"""Tokens: issue, list, revoke; and whose the asker's own is."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from antiphon.bus import Principal
from antiphon.gateway.answers import json
from antiphon.gateway.bodies import decode, json_of
from antiphon.gateway.holds import Pass
from antiphon.gateway.issuing import Issuer
from antiphon.gateway.limits import LOGIN_BYTES
from antiphon.gateway.operations import Operation, Parameter, Right, pass_of
from antiphon.gateway.tokens import Grant
from antiphon.messages import TokenCreate, TokenInfo, TokenIssued


class TokenRoutes:
    """``/v1/tokens`` and ``/v1/me``."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer

    def operations(self) -> list[Operation]:
        return [
            Operation(
                method="GET",
                path="/v1/me",
                summary="Whose token this is, and what it opens",
                handle=self._me,
                answers=TokenInfo,
            ),
            Operation(
                method="GET",
                path="/v1/tokens",
                summary="The issued tokens, by name; never themselves",
                handle=self._list,
                right=Right.ADMIN,
                answers=list[TokenInfo],
            ),
            Operation(
                method="POST",
                path="/v1/tokens",
                summary="Issue a token, or replace one; the answer alone tells it",
                handle=self._create,
                right=Right.ADMIN,
                body=TokenCreate,
                body_bytes=LOGIN_BYTES * 16,
                answers=TokenIssued,
                status=201,
                codes=("invalid_pattern", "not_found", "overloaded", "storage_unavailable"),
            ),
            Operation(
                method="DELETE",
                path="/v1/tokens/{name}",
                summary="Revoke a token: it and all its connections end at once",
                handle=self._revoke,
                right=Right.ADMIN,
                parts=(Parameter(name="name", about="the token's name"),),
                status=204,
                codes=("not_found", "storage_unavailable"),
            ),
            Operation(
                method="POST",
                path="/v1/admin-token",
                summary="Replace the admin token: the old one, its cookies and connections end",
                handle=self._rotate,
                right=Right.ADMIN,
                optional_body=True,
                answers=TokenIssued,
                status=201,
                codes=("storage_unavailable",),
            ),
        ]

    async def _me(self, request: Request, principal: Principal) -> Response:
        return json(_info(pass_of(request)))

    async def _list(self, request: Request, principal: Principal) -> Response:
        return json(self._issuer.list())

    async def _create(self, request: Request, principal: Principal) -> Response:
        ask = decode(json_of(request), TokenCreate)
        return json(await self._issuer.create(ask, principal), status=201)

    async def _revoke(self, request: Request, principal: Principal) -> Response:
        await self._issuer.revoke(request.path_params["name"], principal)
        return Response(status_code=204)

    async def _rotate(self, request: Request, principal: Principal) -> Response:
        json_of(request, empty=True)
        token, passed = await self._issuer.rotate(principal)
        return json(TokenIssued(token=token, info=_info(passed)), status=201)


def _info(passed: Pass) -> TokenInfo:
    if isinstance(passed.owner, Grant):
        return passed.owner.info
    access = passed.principal.access
    return TokenInfo(
        name=passed.principal.name,
        id=passed.id,
        pub=list(access.pub),
        sub=list(access.sub),
        deny=list(access.deny),
        roles=["admin"],
    )
