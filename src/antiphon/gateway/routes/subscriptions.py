"""Who follows what: the streams of events, the subscriptions that are open, those that stay."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from antiphon.bus import Bus, Principal
from antiphon.gateway.answers import json
from antiphon.gateway.bodies import decode, json_of
from antiphon.gateway.operations import Content, Operation, Parameter
from antiphon.gateway.queries import stream_of
from antiphon.gateway.register import Register
from antiphon.gateway.routes.events import PATTERN
from antiphon.gateway.sse import HEADERS, EventStreams
from antiphon.messages import DurableInfo, Resume, Resumed, StartWord, SubscriptionInfo

STREAM = (
    PATTERN,
    Parameter(name="after", about="go on after this cursor or seq; Last-Event-ID beats it"),
    Parameter(name="from", about="now if absent", kind=StartWord),
)
NAME = Parameter(name="name", about="its name, or the group's")


class SubscriptionRoutes:
    """``/v1/stream``, ``/v1/subscriptions`` and ``/v1/durables``."""

    def __init__(self, bus: Bus, streams: EventStreams, register: Register) -> None:
        self._bus = bus
        self._streams = streams
        self._register = register

    def operations(self) -> list[Operation]:
        return [
            Operation(
                method="GET",
                path="/v1/stream",
                summary="Events as they come, as server-sent events",
                handle=self._stream,
                query=STREAM,
                gives=(Content(media="text/event-stream"),),
                codes=("invalid_pattern", "overloaded"),
            ),
            Operation(
                method="GET",
                path="/v1/subscriptions",
                summary="The subscriptions that clients have open; an admin sees all",
                handle=self._subscriptions,
                answers=list[SubscriptionInfo],
            ),
            Operation(
                method="GET",
                path="/v1/durables",
                summary="The durable subscriptions and groups; an admin sees all",
                handle=self._durables,
                answers=list[DurableInfo],
            ),
            Operation(
                method="DELETE",
                path="/v1/durables/{name}",
                summary="Forget a durable subscription for good",
                handle=self._drop,
                parts=(NAME,),
                status=204,
                codes=("not_found", "storage_unavailable"),
            ),
            Operation(
                method="POST",
                path="/v1/durables/{name}/resume",
                summary="Let a durable subscription that stopped go on",
                handle=self._resume,
                parts=(NAME,),
                body=Resume,
                optional_body=True,
                answers=Resumed,
                codes=("not_found", "storage_unavailable"),
            ),
        ]

    async def _stream(self, request: Request, principal: Principal) -> Response:
        last = request.headers.get("last-event-id")
        patterns, start = stream_of(request.query_params.multi_items(), last)
        if request.method == "HEAD":
            return Response(headers=HEADERS)
        return self._streams.open(request, principal, patterns, start)

    async def _subscriptions(self, request: Request, principal: Principal) -> Response:
        return json([info for info in self._register if may_see(principal, info.owner)])

    async def _durables(self, request: Request, principal: Principal) -> Response:
        return json([info for info in self._bus.durables() if may_see(principal, info.owner)])

    async def _drop(self, request: Request, principal: Principal) -> Response:
        await self._bus.drop_durable(request.path_params["name"], principal=principal)
        return Response(status_code=204)

    async def _resume(self, request: Request, principal: Principal) -> Response:
        body = json_of(request, empty=True)
        ask = decode(body, Resume) if body else Resume()
        name = request.path_params["name"]
        done = await self._bus.resume_durable(name, skip=ask.skip, principal=principal)
        return json(Resumed(resumed=done))


def may_see(principal: Principal, owner: str) -> bool:
    """Whether *principal* hears of what is *owner*'s."""
    return principal.access.admin or principal.name == owner
