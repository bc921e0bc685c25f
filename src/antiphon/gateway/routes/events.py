"""Publishing and asking for events."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

from antiphon.bus import Bus, Page, Principal
from antiphon.bus.event_rules import decode_publish
from antiphon.errors import BadRequest, NotFound, cut
from antiphon.gateway.answers import json, json_bytes
from antiphon.gateway.audit import Refusals
from antiphon.gateway.bodies import read_json
from antiphon.gateway.limits import PUBLISH_EVENTS
from antiphon.gateway.operations import Operation, Parameter
from antiphon.gateway.problems import encode
from antiphon.gateway.publishing import Patience, result, results, submit
from antiphon.gateway.queries import query_of
from antiphon.messages import Event, EventIn, EventPage, Level, PublishReply

LEVELS: dict[str, Level] = {"synced": "synced", "committed": "committed", "none": "none"}

PATTERN = Parameter(name="pattern", about="which topics; * if absent", repeated=True)
LEVEL = Parameter(name="level", about="when to answer; synced if absent", kind=Level)
QUERY = (
    PATTERN,
    Parameter(name="order", about="asc if absent", kind=Literal["asc", "desc"]),
    Parameter(name="after", about="go on after this cursor or seq, ascending"),
    Parameter(name="before", about="go on before this cursor or seq, descending"),
    Parameter(name="since", about="recorded at this time or later", kind=datetime),
    Parameter(name="until", about="recorded before this time", kind=datetime),
    Parameter(name="type", about="equal to this"),
    Parameter(name="source", about="equal to this"),
    Parameter(name="correlation_id", about="equal to this"),
    Parameter(name="limit", about="events a page, 1 to 500; 100 if absent", kind=int),
)


class EventRoutes:
    """``/v1/events``.

    Args:
        patience: Ends the waiting for the log when the server must end.
        refused: Told of each event of a list that was refused; of a request, ``Http`` tells.
    """

    def __init__(self, bus: Bus, patience: Patience, refused: Refusals) -> None:
        self._bus = bus
        self._patience = patience
        self._refused = refused

    def operations(self) -> list[Operation]:
        return [
            Operation(
                method="GET",
                path="/v1/events",
                summary="A page of stored events",
                handle=self._query,
                answers=EventPage,
                query=QUERY,
                codes=("invalid_pattern", "gap", "reset"),
            ),
            Operation(
                method="POST",
                path="/v1/events",
                summary="Publish one event or a list",
                handle=self._publish,
                body=EventIn | list[EventIn],
                answers=PublishReply,
                query=(LEVEL,),
                codes=(
                    "invalid_topic",
                    "invalid_payload",
                    "payload_too_large",
                    "id_conflict",
                    "wrong_expected_seq",
                    "overloaded",
                    "storage_unavailable",
                ),
            ),
            Operation(
                method="GET",
                path="/v1/events/{seq}",
                summary="One event",
                handle=self._event,
                answers=Event,
                codes=("not_found",),
            ),
        ]

    async def _publish(self, request: Request, principal: Principal) -> Response:
        level = _level(request)
        events = decode_publish(await read_json(request))
        if isinstance(events, EventIn):
            (one,) = submit(self._bus, [events], principal, level)
            return json(PublishReply(results=[await result(one, self._patience)]))
        if not 1 <= len(events) <= PUBLISH_EVENTS:
            raise BadRequest(
                f"a list has 1 to {PUBLISH_EVENTS} events, got {len(events)}",
                limit=PUBLISH_EVENTS,
            )
        submitted = submit(
            self._bus,
            events,
            principal,
            level,
            refused=lambda error: self._refused(error, "POST /v1/events", principal.name),
        )
        return json(PublishReply(results=await results(submitted, self._patience)))

    async def _query(self, request: Request, principal: Principal) -> Response:
        patterns, wanted = query_of(request.query_params.multi_items())
        return json_bytes(_page(await self._bus.query(patterns, **wanted, principal=principal)))

    async def _event(self, request: Request, principal: Principal) -> Response:
        text = request.path_params["seq"]
        if not (text.isascii() and text.isdigit() and len(text) <= 16):
            raise BadRequest(f"a seq is a number, got {cut(text)}", value=text)
        event = await self._bus.get(int(text), principal=principal)
        if event is None:
            raise NotFound(f"no event {int(text)}", value=text)
        return json_bytes(event)


def _level(request: Request) -> Level:
    text = request.query_params.get("level", "synced")
    if text not in LEVELS:
        raise BadRequest(f"level must be one of {', '.join(LEVELS)}, got {cut(text)}", value=text)
    return LEVELS[text]


def _page(found: Page) -> bytes:
    return b'{"events":[%s],"cursor":%s,"next":%s}' % (
        b",".join(found.data),
        encode(found.cursor),
        encode(found.next),
    )
