"""Topics and frames as an AsyncAPI 3.0 document.

A topic is a channel, and so is the WebSocket, with each frame as a message. What AsyncAPI
calls a message's headers are the fields of an event beside its payload.

Source: https://www.asyncapi.com/docs/reference/specification/v3.0.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, get_args

from antiphon import __version__
from antiphon.gateway.documents.own_events import OWN_EVENTS, OwnEvent
from antiphon.gateway.documents.schemas import components_of, schema_of
from antiphon.messages import ClientFrame, Event, ServerFrame
from antiphon.messages.frames import SUBPROTOCOL

JSON = "application/json"
DRAFT = "https://json-schema.org/draft/2020-12/schema"
SCHEMA_FORMAT = "application/schema+json;version=draft-2020-12"
PATH_WORDS = {
    "key": "The actor's path, with dots for slashes.",
    "id": "The worker's name.",
    "name": "The durable subscription's name.",
}
ABOUT = (
    "The events of one Antiphon server. Topics are channels; they are published and followed by"
    " the WebSocket protocol at `/v1/ws`, or by `POST /v1/events` and `GET /v1/stream`. An event's"
    " payload is the message here, its other fields are the message's headers."
)


def asyncapi(schemas: Mapping[str, Any], *, host: str, secure: bool = False) -> dict[str, Any]:
    """The document.

    Args:
        schemas: The JSON Schema of each pattern that has one and may be told.
        host: The server's, as its reader names it, with the port.
        secure: It is reached by TLS.
    """
    asked = [kind.__name__ for kind in get_args(ClientFrame)]
    told = [kind.__name__ for kind in get_args(ServerFrame)]
    channels = {
        "socket": _socket([*asked, *told]),
        "stream": {
            "address": "/v1/stream",
            "title": "Server-sent events",
            "description": "Events of the patterns asked for; `id` is the cursor to go on from.",
            "servers": [{"$ref": "#/servers/http"}],
            "messages": {"Event": {"$ref": "#/components/messages/Event"}},
        },
        **{_key(own.topic): _own_channel(own) for own in OWN_EVENTS},
        **{f"described_{_slug(name)}": _described(name, one) for name, one in schemas.items()},
    }
    operations = {
        "ask": _operation("receive", "socket", asked, "What a client sends"),
        "tell": _operation("send", "socket", told, "What the server sends"),
        "follow": _operation("send", "stream", ["Event"], "Follow events"),
        **{f"tell_{_key(own.topic)}": _own_operation(own) for own in OWN_EVENTS},
    }
    for name in schemas:
        slug = f"described_{_slug(name)}"
        operations[f"publish_{slug}"] = _operation("receive", slug, ["event"], "Publish them")
        operations[f"tell_{slug}"] = _operation("send", slug, ["event"], "Follow them")
    tls = "s" if secure else ""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Antiphon",
            "version": __version__,
            "description": ABOUT,
            "license": {"name": "MIT"},
        },
        "defaultContentType": JSON,
        "servers": {
            "websocket": _server(host, f"ws{tls}", "/v1/ws", f"Subprotocol `{SUBPROTOCOL}`."),
            "http": _server(host, f"http{tls}", "/", "Server-sent events, and publishing by POST."),
        },
        "channels": channels,
        "operations": operations,
        "components": _components(),
    }


@cache
def _components() -> dict[str, Any]:
    """What is the same for everybody; made once, since it takes 10 ms."""
    kinds: list[Any] = [*get_args(ClientFrame), *get_args(ServerFrame), Event]
    schemas = components_of(kinds)
    words = {kind.__name__: schemas[kind.__name__]["description"] for kind in kinds}
    messages = {
        kind.__name__: {
            "name": getattr(kind.__struct_config__, "tag", None) or "event",
            "title": kind.__name__,
            "summary": words[kind.__name__].partition("\n")[0],
            "contentType": JSON,
            "payload": schema_of(kind),
        }
        for kind in kinds
    }
    event = schemas["Event"]
    schemas["EventFields"] = {
        **{name: value for name, value in event.items() if name != "required"},
        "title": "EventFields",
        "description": "An event without its payload.",
        "properties": {k: v for k, v in event["properties"].items() if k != "payload"},
        "required": [name for name in event["required"] if name != "payload"],
    }
    return {
        "messages": messages,
        "schemas": schemas,
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
    }


def _server(host: str, protocol: str, path: str, about: str) -> dict[str, Any]:
    return {
        "host": host,
        "protocol": protocol,
        "pathname": path,
        "description": about,
        "security": [{"$ref": "#/components/securitySchemes/token"}],
    }


def _socket(frames: Iterable[str]) -> dict[str, Any]:
    return {
        "address": "/v1/ws",
        "title": "WebSocket",
        "description": "One JSON object a text frame, told apart by `op`; `hello` comes first.",
        "servers": [{"$ref": "#/servers/websocket"}],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in frames},
    }


def _own_channel(own: OwnEvent) -> dict[str, Any]:
    payload = {"type": "object", "properties": own.payload} if own.payload else {"type": "object"}
    channel = _channel(own.topic, own.about, own.type, payload)
    names = re.findall(r"\{(\w+)\}", own.topic)
    if names:
        channel["parameters"] = {name: {"description": PATH_WORDS[name]} for name in names}
    return channel


def _described(pattern: str, schema: Any) -> dict[str, Any]:
    """A pattern with a schema of its own, which is its own root for what it refers to."""
    about = f"Topics of the pattern `{pattern}`; payloads must fit."
    rooted = schema
    if isinstance(schema, dict):
        rooted = {"$schema": DRAFT, "$id": f"urn:antiphon:schema:{pattern}", **schema}
    payload = {"schemaFormat": SCHEMA_FORMAT, "schema": rooted}
    return _channel(pattern, about, "event", payload)


def _channel(address: str, about: str, name: str, payload: dict[str, Any]) -> dict[str, Any]:
    message = {
        "name": name,
        "contentType": JSON,
        "headers": {"$ref": "#/components/schemas/EventFields"},
        "payload": payload,
    }
    return {"address": address, "description": about, "messages": {"event": message}}


def _own_operation(own: OwnEvent) -> dict[str, Any]:
    return _operation("send", _key(own.topic), ["event"], own.about)


def _operation(action: str, channel: str, messages: Iterable[str], about: str) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": about,
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages],
    }


def _key(topic: str) -> str:
    """A readable key for a topic of Antiphon's own."""
    return re.sub(r"\W+", "_", topic).strip("_")


def _slug(topic: str) -> str:
    """A key for any pattern, of letters, digits, ``-`` and ``_``; each has its own."""
    return "".join(c if c.isalnum() or c == "-" else f"_{ord(c):x}_" for c in topic)
