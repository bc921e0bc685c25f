"""What describes the server: its documents, and the page that shows them.

They hold nothing but what is in the sources, so they need no token; but for
``/asyncapi.json``, which tells the schemas of the topics that its asker may see.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from antiphon.bus import Bus, Principal
from antiphon.gateway.answers import json_bytes
from antiphon.gateway.auth import cookie_name
from antiphon.gateway.documents.asyncapi import asyncapi
from antiphon.gateway.documents.openapi import as_json, openapi
from antiphon.gateway.documents.page import html_page
from antiphon.gateway.operations import Content, Operation, Right


class DocumentRoutes:
    """``/openapi.json``, ``/asyncapi.json`` and ``/docs``.

    Args:
        operations: All of the server's, asked for once somebody reads about them.
    """

    def __init__(self, bus: Bus, port: int, operations: Callable[[], Sequence[Operation]]) -> None:
        self._bus = bus
        self._port = port
        self._operations_of = operations

    def operations(self) -> list[Operation]:
        return [
            Operation(
                method="GET",
                path="/openapi.json",
                summary="The HTTP side as an OpenAPI 3.1 document",
                handle=self._openapi,
                right=Right.ANYBODY,
                answers=dict[str, Any],
            ),
            Operation(
                method="GET",
                path="/asyncapi.json",
                summary="Topics and frames as an AsyncAPI 3 document",
                handle=self._asyncapi,
                answers=dict[str, Any],
            ),
            Operation(
                method="GET",
                path="/docs",
                summary="The HTTP side, to be read",
                handle=self._docs,
                right=Right.ANYBODY,
                gives=(Content(media="text/html"),),
            ),
        ]

    @cached_property
    def _document(self) -> dict[str, Any]:
        return openapi(self._operations_of(), cookie=cookie_name(self._port))

    @cached_property
    def _bytes(self) -> bytes:
        return as_json(self._document)

    @cached_property
    def _html(self) -> str:
        return html_page(self._document)

    async def _openapi(self, request: Request, principal: Principal) -> Response:
        return json_bytes(self._bytes)

    async def _docs(self, request: Request, principal: Principal) -> Response:
        return Response(
            self._html, headers={"cache-control": "no-store"}, media_type="text/html; charset=utf-8"
        )

    async def _asyncapi(self, request: Request, principal: Principal) -> Response:
        may_see = principal.access.may_subscribe
        schemas = {name: one for name, one in self._bus.schemas().items() if may_see(name)}
        secure = request.url.scheme == "https"
        document = asyncapi(schemas, host=request.headers["host"], secure=secure)
        return json_bytes(as_json(document))
