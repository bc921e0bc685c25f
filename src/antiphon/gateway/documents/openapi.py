"""The HTTP side as an OpenAPI 3.1 document, from the table of operations.

Source: https://spec.openapis.org/oas/v3.1.1.html.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from antiphon import __version__
from antiphon.errors import BusError
from antiphon.gateway.documents.schemas import components_of, schema_of
from antiphon.gateway.faults import TITLES
from antiphon.gateway.operations import Content, Operation, Parameter, Right
from antiphon.gateway.problems import PROBLEM_JSON
from antiphon.messages import Problem

ALWAYS = ("bad_request", "forbidden", "internal", "overloaded", "storage_unavailable")
"""What any operation may be refused by."""
WAITS = ("overloaded", "storage_unavailable")
ABOUT = (
    "Events, topics, actors and workers of one Antiphon server. Programs send"
    " `Authorization: Bearer TOKEN`; the page has a cookie, and then what changes something needs"
    " its `Origin` and the header `X-Antiphon: 1`. Every error is a problem with a stable `code`."
    " The WebSocket protocol and the events are in `/asyncapi.json`."
)
SUBJECTS = {
    **dict.fromkeys(("login", "status", "shutdown"), "server"),
    **dict.fromkeys(("ws", "stream"), "events"),
    "forget": "retention",
    "me": "tokens",
}
"""Where else an operation is listed than under the first word of its path."""
RIGHTS = {
    Right.ANYBODY: "Needs no token.",
    Right.KNOWN: "Needs a token; it is shown, and may touch, what its patterns cover.",
    Right.ADMIN: "Needs an admin token.",
}


def openapi(operations: Iterable[Operation], *, cookie: str) -> dict[str, Any]:
    """The document.

    Args:
        cookie: The name of the cookie that a login gives.
    """
    rows = list(operations)
    components = components_of([Problem, *(kind for row in rows for kind in _kinds(row))])
    components["Problem"]["properties"]["code"] = {
        "enum": sorted(TITLES),
        "description": "Stable; the same on every wire.",
    }
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for row in rows:
        paths[path_of(row)][row.method.lower()] = _operation(row)
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Antiphon",
            "version": __version__,
            "summary": "A supervised actor runtime with a durable event bus",
            "description": ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in dict.fromkeys(map(_tag, rows))],
        "paths": dict(paths),
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": cookie,
                    "description": "From `POST /v1/login`.",
                },
                "csrf": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-Antiphon",
                    "description": "`1`, beside the cookie, on requests that change something.",
                },
            },
        },
    }


def statuses() -> dict[str, int]:
    """The HTTP status of each code."""
    found = {"internal": 500, "bad_request": BusError.status}
    classes = [BusError]
    while classes:
        one = classes.pop()
        found[one.code] = one.status
        classes += one.__subclasses__()
    return found


def path_of(row: Operation) -> str:
    """As OpenAPI writes it."""
    return row.path.replace(":path}", "}")


def _kinds(row: Operation) -> Iterator[Any]:
    yield from (row.body, row.answers)
    yield from (content.kind for content in (*row.takes, *row.gives))


def _operation(row: Operation) -> dict[str, Any]:
    parameters = [_parameter(part, "path") for part in row.parts]
    parameters += [_parameter(part, "query") for part in row.query]
    shown: dict[str, Any] = {
        "operationId": _id(row),
        "tags": [_tag(row)],
        "summary": row.summary,
        "description": "\n\n".join(filter(None, (row.about, _right(row)))),
        "security": _security(row),
        "parameters": parameters,
    }
    body = _contents(row.body, row.takes)
    if body:
        shown["requestBody"] = {"required": not row.optional_body, "content": body}
    shown["responses"] = _responses(row, _contents(row.answers, row.gives))
    return {name: value for name, value in shown.items() if value != [] or name == "security"}


def _contents(kind: Any, others: Iterable[Content]) -> dict[str, Any]:
    found = {} if kind is None else {"application/json": {"schema": schema_of(kind)}}
    return found | {other.media: {"schema": schema_of(other.kind)} for other in others}


def _parameter(part: Parameter, place: str) -> dict[str, Any]:
    schema = schema_of(part.kind)
    shown = {"type": "array", "items": schema} if part.repeated else schema
    return {
        "name": part.name,
        "in": place,
        "description": part.about,
        "required": place == "path",
        "schema": shown,
    }


def _right(row: Operation) -> str:
    return RIGHTS.get(row.right) or f"Needs the role `{row.right.name.lower()}`."


def _security(row: Operation) -> list[dict[str, list[str]]]:
    if row.right is Right.ANYBODY:
        return []
    by_cookie: dict[str, list[str]] = {"cookie": []}
    if row.method not in ("GET", "HEAD"):
        by_cookie["csrf"] = []
    return [{"token": []}, by_cookie]


def _responses(row: Operation, content: dict[str, Any]) -> dict[str, Any]:
    done: dict[str, Any] = {"description": "Done" if row.status != 101 else "Switched"}
    if content:
        done["content"] = content
    if row.gives_headers:
        done["headers"] = {
            part.name: {"description": part.about, "schema": {"type": "string"}}
            for part in row.gives_headers
        }
    return {str(row.status): done, **_problems(row)}


def _problems(row: Operation) -> dict[str, Any]:
    codes = {*ALWAYS, *row.codes}
    if row.right is not Right.ANYBODY:
        codes.add("unauthorized")
    if row.reads_body:
        codes.add("payload_too_large")
    if row.parts:
        codes.add("not_found")
    status = statuses()
    by_status: dict[int, list[str]] = defaultdict(list)
    for code in sorted(codes):
        by_status[status[code]].append(code)
    if row.reads_body:
        by_status[415].append("bad_request")
    return {str(number): _problem(by_status[number]) for number in sorted(by_status)}


def _problem(codes: list[str]) -> dict[str, Any]:
    """One status; its codes are told by name, and as the only ones that come with it."""
    words = "; ".join(f"`{code}`: {TITLES[code].lower()}" for code in codes)
    schema = {
        "allOf": [
            {"$ref": "#/components/schemas/Problem"},
            {"properties": {"code": {"enum": codes}}},
        ]
    }
    shown: dict[str, Any] = {
        "description": words,
        "content": {PROBLEM_JSON: {"schema": schema}},
    }
    if any(code in WAITS for code in codes):
        shown["headers"] = {
            "retry-after": {"description": "Seconds", "schema": {"type": "integer"}}
        }
    return shown


def _id(row: Operation) -> str:
    parts = path_of(row).replace("{", "").replace("}", "").replace(".", "_").split("/")
    return "_".join([row.method.lower(), *(part for part in parts if part not in ("", "v1"))])


def _tag(row: Operation) -> str:
    """The subject that it is listed under."""
    if not row.path.startswith("/v1/"):
        return "server"
    first = row.path.split("/")[2]
    return SUBJECTS.get(first, first)


def as_json(document: dict[str, Any]) -> bytes:
    """The document as it is sent: indented, since people read it too."""
    return msgspec.json.format(msgspec.json.encode(document), indent=1)
