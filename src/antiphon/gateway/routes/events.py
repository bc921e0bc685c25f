"""Publishing and asking for events."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from antiphon.bus import Bus, Page, Principal
from antiphon.bus.event_rules import decode_publish
from antiphon.errors import BadRequest, BusError, NotFound, cut
from antiphon.gateway.answers import json, json_bytes
from antiphon.gateway.audit import Refusals
from antiphon.gateway.bodies import body_of, json_of
from antiphon.gateway.cloudevents import (
    BATCHED,
    JSON,
    STRUCTURED,
    as_batch,
    as_binary,
    as_structured,
    mode_of,
    preferred,
    read_cloudevents,
)
from antiphon.gateway.limits import PUBLISH_EVENTS
from antiphon.gateway.operations import Content, Operation, Parameter
from antiphon.gateway.problems import encode
from antiphon.gateway.publishing import Patience, result, results, submit
from antiphon.gateway.queries import query_of
from antiphon.messages import Event, EventIn, EventPage, Level, PublishReply
from antiphon.messages.cloudevents import CloudEvent

LEVELS: dict[str, Level] = {"synced": "synced", "committed": "committed", "none": "none"}

PATTERN = Parameter(name="pattern", about="which topics; * if absent", repeated=True)
SEQ = Parameter(name="seq", about="its seq", kind=int)
AS_ONE = Content(media=STRUCTURED, kind=CloudEvent)
AS_BATCH = Content(media=BATCHED, kind=list[CloudEvent])
CURSOR_HEADER = "x-antiphon-cursor"
PAGE_HEADERS = (
    Parameter(name=CURSOR_HEADER, about="of a batch: the position after the page"),
    Parameter(name="link", about="of a batch: where the next page is; absent at the end"),
)
LEVEL = Parameter(name="level", about="when to answer; synced if absent", kind=Level)
QUERY = (
    PATTERN,
    Parameter(name="order", about="asc if absent", kind=Literal["asc", "desc"]),
    Parameter(name="after", about="go on after this cursor or seq, ascending"),
    Parameter(name="before", about="go on before this cursor or seq, descending"),
    Parameter(name="since", about="recorded at this time or later", kind=datetime),
    Parameter(name="until", about="recorded at this time or earlier", kind=datetime),
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
                gives=(AS_BATCH,),
                gives_headers=PAGE_HEADERS,
            ),
            Operation(
                method="POST",
                path="/v1/events",
                summary="Publish one event or a list",
                about=(
                    "A request with `ce-` headers is a CloudEvent in binary mode: its body is the"
                    " payload, of any JSON content type."
                ),
                handle=self._publish,
                body=EventIn | list[EventIn],
                answers=PublishReply,
                query=(LEVEL,),
                takes=(AS_ONE, AS_BATCH),
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
                parts=(SEQ,),
                codes=("not_found",),
                gives=(AS_ONE, AS_BATCH),
            ),
            Operation(
                method="GET",
                path="/v1/events/{seq}/payload",
                summary="The payload of one event; the other fields are in ce- headers",
                about="A CloudEvent in binary mode.",
                handle=self._payload,
                answers=Any,
                parts=(SEQ,),
                codes=("not_found",),
            ),
        ]

    async def _publish(self, request: Request, principal: Principal) -> Response:
        level = _level(request)
        events = _events_of(request)
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
        found = await self._bus.query(patterns, **wanted, principal=principal)
        if preferred(_accept(request), (JSON, BATCHED)) == JSON:
            return json_bytes(_page(found))
        return _batch(request, found)

    async def _event(self, request: Request, principal: Principal) -> Response:
        return _in_form(await self._stored(request, principal), preferred(_accept(request), FORMS))

    async def _payload(self, request: Request, principal: Principal) -> Response:
        headers, body = as_binary(await self._stored(request, principal))
        return Response(body, headers={"cache-control": "no-store", **headers})

    async def _stored(self, request: Request, principal: Principal) -> bytes:
        """The event that the path names.

        Raises:
            NotFound: It isn't there, or may not be seen.
        """
        text = request.path_params["seq"]
        if not (text.isascii() and text.isdigit() and len(text) <= 16):
            raise BadRequest(f"a seq is a number, got {cut(text)}", value=text)
        event = await self._bus.get(int(text), principal=principal)
        if event is None:
            raise NotFound(f"no event {int(text)}", value=text)
        return event


FORMS = (JSON, STRUCTURED, BATCHED)


def _events_of(request: Request) -> EventIn | list[EventIn | BusError]:
    """What the request wants published, as plain JSON or as CloudEvents."""
    mode = mode_of(request.headers.raw)
    if mode is None:
        return decode_publish(json_of(request))
    return read_cloudevents(mode, request.headers.raw, body_of(request))


def _accept(request: Request) -> str:
    return ",".join(request.headers.getlist("accept"))


def _in_form(event: bytes, form: str) -> Response:
    if form == JSON:
        return json_bytes(event)
    return json_bytes(as_structured(event) if form == STRUCTURED else as_batch([event]), media=form)


def _batch(request: Request, found: Page) -> Response:
    """A page as CloudEvents; what a list has no place for is in headers."""
    response = json_bytes(as_batch(found.data), media=BATCHED)
    response.headers[CURSOR_HEADER] = found.cursor
    if found.next is not None:
        given = request.query_params.multi_items()
        descending = ("order", "desc") in given or any(name == "before" for name, _ in given)
        kept = [pair for pair in given if pair[0] not in ("after", "before")]
        following = urlencode([*kept, ("before" if descending else "after", found.next)])
        response.headers["link"] = f'<{request.url.path}?{following}>; rel="next"'
    return response


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
