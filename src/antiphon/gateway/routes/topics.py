"""Topics, their schemas, and how long their events stay."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from antiphon.actors import ActorSystem
from antiphon.bus import JANITOR, Bus, Principal, ReportRetention, forget
from antiphon.bus.store import StoreCorrupt, StoreUnavailable
from antiphon.errors import ActorDead, StorageUnavailable
from antiphon.gateway.answers import json
from antiphon.gateway.bodies import decode, json_of
from antiphon.gateway.limits import TOPICS
from antiphon.gateway.operations import Operation, Parameter, Right
from antiphon.gateway.queries import topics_of
from antiphon.gateway.routes.events import PATTERN
from antiphon.messages import Forget, Forgotten, RetentionInfo, TopicInfo

PATTERN_PART = Parameter(name="pattern", about="whose schema it is")


class TopicRoutes:
    """``/v1/topics``, ``/v1/schemas``, ``/v1/retention`` and ``/v1/forget``."""

    def __init__(self, bus: Bus, system: ActorSystem) -> None:
        self._bus = bus
        self._system = system

    def operations(self) -> list[Operation]:
        return [
            Operation(
                method="GET",
                path="/v1/topics",
                summary="The topics with their counts",
                handle=self._topics,
                answers=list[TopicInfo],
                query=(
                    PATTERN,
                    Parameter(name="after", about="only topics whose name is past this one"),
                    Parameter(name="limit", about=f"1 to {TOPICS}; {TOPICS} if absent", kind=int),
                ),
                codes=("invalid_pattern",),
            ),
            Operation(
                method="GET",
                path="/v1/schemas",
                summary="The JSON schema of each pattern that has one",
                handle=self._schemas,
                answers=dict[str, dict[str, Any]],
            ),
            Operation(
                method="PUT",
                path="/v1/schemas/{pattern}",
                summary="From now on payloads must fit this schema",
                handle=self._set_schema,
                right=Right.ADMIN,
                parts=(PATTERN_PART,),
                body=dict[str, Any],
                status=204,
                codes=("invalid_pattern", "invalid_schema"),
            ),
            Operation(
                method="DELETE",
                path="/v1/schemas/{pattern}",
                summary="Take a schema away",
                handle=self._remove_schema,
                right=Right.ADMIN,
                parts=(PATTERN_PART,),
                status=204,
                codes=("invalid_pattern", "not_found"),
            ),
            Operation(
                method="GET",
                path="/v1/retention",
                summary="The policies of retention: what they hold, and what goes when",
                handle=self._retention,
                right=Right.ADMIN,
                answers=RetentionInfo,
                codes=("storage_unavailable",),
            ),
            Operation(
                method="POST",
                path="/v1/forget",
                summary="Remove events for good, or count them",
                handle=self._forget,
                right=Right.ADMIN,
                body=Forget,
                answers=Forgotten,
                codes=("invalid_pattern", "invalid_payload", "storage_unavailable"),
            ),
        ]

    async def _topics(self, request: Request, principal: Principal) -> Response:
        patterns, after, limit = topics_of(request.query_params.multi_items())
        found = await self._bus.topics(patterns, principal=principal, after=after, limit=limit)
        return json(found)

    async def _schemas(self, request: Request, principal: Principal) -> Response:
        found = self._bus.schemas()
        may_see = principal.access.may_subscribe
        return json({name: schema for name, schema in found.items() if may_see(name)})

    async def _set_schema(self, request: Request, principal: Principal) -> Response:
        return await self._change(request, principal, decode(json_of(request), dict[str, Any]))

    async def _remove_schema(self, request: Request, principal: Principal) -> Response:
        return await self._change(request, principal, None)

    async def _change(self, request: Request, principal: Principal, schema: Any) -> Response:
        await self._bus.set_schema(request.path_params["pattern"], schema, principal=principal)
        return Response(status_code=204)

    async def _retention(self, request: Request, principal: Principal) -> Response:
        try:
            report = await self._system.ref(JANITOR).call(ReportRetention())
        except ActorDead as error:
            raise StorageUnavailable(f"the janitor is not there: {error}") from error
        return json(report)

    async def _forget(self, request: Request, principal: Principal) -> Response:
        ask = decode(json_of(request), Forget)
        try:
            done = await forget(
                self._bus, pattern=ask.pattern, id=ask.id, principal=principal, dry_run=ask.dry_run
            )
        except (StoreUnavailable, StoreCorrupt) as error:
            raise StorageUnavailable(f"not everything was forgotten: {error}") from error
        return json(done)
