"""The documents say what the server is: every route, field, code, frame and topic."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any, get_args

import jsonschema_rs
import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route

import antiphon
from antiphon.errors import BusClosed, BusError
from antiphon.gateway.audit import DENIED
from antiphon.gateway.documents.openapi import statuses
from antiphon.gateway.documents.own_events import OWN_EVENTS
from antiphon.gateway.documents.schemas import structs_in, words_of
from antiphon.gateway.faults import TITLES
from antiphon.messages import ClientFrame, EventIn, ServerFrame, WorkerStart

SOURCES = Path(antiphon.__file__).parent


@pytest.fixture
async def openapi(desk: Any) -> dict[str, Any]:
    document: dict[str, Any] = await desk.get("/openapi.json", token=None)
    return document


# --- OpenAPI ----------------------------------------------------------------------------


async def test_the_openapi_document_is_valid(openapi: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(openapi).validate()


async def test_every_route_is_in_the_document_and_every_path_of_it_is_a_route(
    desk: Any, openapi: dict[str, Any]
) -> None:
    there = {
        (re.sub(r":path}", "}", route.path), method)
        for route in desk.gateway._http.app().routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    told = {
        (path, method.upper()) for path, methods in openapi["paths"].items() for method in methods
    }
    assert told == there


async def test_every_part_of_a_path_is_described(openapi: dict[str, Any]) -> None:
    for path, methods in openapi["paths"].items():
        for operation in methods.values():
            parts = [p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"]
            assert parts == re.findall(r"\{(\w+)\}", path), path


async def test_every_field_has_the_words_of_its_docstring(
    desk: Any, openapi: dict[str, Any]
) -> None:
    kinds = [kind for row in desk.gateway._http.operations for kind in (row.body, row.answers)]
    structs = structs_in([kind for kind in kinds if kind is not None])
    assert {EventIn, WorkerStart} < set(structs)
    described = 0
    for struct in structs:
        schema = openapi["components"]["schemas"][struct.__name__]
        _, words = words_of(struct)
        for name, text in words.items():
            encoded = {f.name: f.encode_name for f in msgspec.structs.fields(struct)}[name]
            assert schema["properties"][encoded]["description"] == text
            described += 1
    assert described > 40
    policy = openapi["components"]["schemas"]["PolicyInfo"]["properties"]
    assert policy["excess_bytes"]["description"] == "Over the limits now."
    assert policy["share"]["description"].startswith("Used of `max_bytes` or `max_count`")


async def test_every_code_is_there_with_its_status(openapi: dict[str, Any]) -> None:
    def codes(cls: type[BusError]) -> set[str]:
        return {cls.code}.union(*map(codes, cls.__subclasses__()))

    only_in_process = {BusClosed.code}
    wire = codes(BusError) - only_in_process | {"internal"}
    told = openapi["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]
    assert set(told) == set(TITLES) == wire
    for methods in openapi["paths"].values():
        for operation in methods.values():
            for number, answer in operation["responses"].items():
                content = answer.get("content", {}).get("application/problem+json")
                if content is not None:
                    _, only = content["schema"]["allOf"]
                    for code in only["properties"]["code"]["enum"]:
                        media = (code, number) == ("bad_request", "415")
                        assert media or str(statuses()[code]) == number


async def test_cloudevents_cookies_and_the_header_against_forgery_are_told(
    openapi: dict[str, Any],
) -> None:
    publish = openapi["paths"]["/v1/events"]["post"]
    assert set(publish["requestBody"]["content"]) == {
        "application/json",
        "application/cloudevents+json",
        "application/cloudevents-batch+json",
    }
    assert publish["security"] == [{"token": []}, {"cookie": [], "csrf": []}]
    assert openapi["paths"]["/v1/events"]["get"]["security"] == [{"token": []}, {"cookie": []}]
    assert openapi["paths"]["/health"]["get"]["security"] == []


async def test_the_page_shows_every_operation_without_any_script(
    desk: Any, openapi: dict[str, Any]
) -> None:
    answer = await desk.ask("GET", "/docs", token=None)
    html = answer.body.decode()
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert not re.search(r"<script|<link|src=|@import|url\(", html)
    operations = [one for methods in openapi["paths"].values() for one in methods.values()]
    for operation in operations:
        assert f'id="{operation["operationId"]}"' in html
    targets = re.findall(r'id="([^"]+)"', html)
    assert len(targets) == len(set(targets))
    assert set(re.findall(r'href="#([^"]+)"', html)) <= set(targets)


# --- AsyncAPI ---------------------------------------------------------------------------


def official() -> jsonschema_rs.Validator:
    folder = Path(__file__).parents[2] / "web/node_modules/@asyncapi/specs/schemas"
    schema = msgspec.json.decode((folder / "3.0.0-without-$id.json").read_bytes())
    return jsonschema_rs.validator_for(schema)


async def test_the_asyncapi_document_is_valid_by_the_official_schema(desk: Any) -> None:
    await desk.bus.set_schema("build.*", {"$defs": {"n": {"type": "integer"}}, "$ref": "#/$defs/n"})
    await desk.bus.set_schema("a-b.+", {"properties": {"x": {"minimum": 1}}})
    document = await desk.get("/asyncapi.json")
    official().validate(document)
    for ref in re.findall(r'"#(/(?:components|channels|servers)/[^"]+)"', str(document)):
        at = document
        for step in ref.strip("/").split("/"):
            at = at[step]
    (channel,) = (one for one in document["channels"].values() if one["address"] == "build.*")
    assert channel["messages"]["event"]["payload"]["schema"]["$defs"] == {"n": {"type": "integer"}}


async def test_every_frame_is_a_message_in_its_direction(desk: Any) -> None:
    document = await desk.get("/asyncapi.json")

    def frames(operation: str) -> set[str]:
        refs = document["operations"][operation]["messages"]
        return {ref["$ref"].rpartition("/")[2] for ref in refs}

    assert frames("ask") == {frame.__name__ for frame in get_args(ClientFrame)}
    assert frames("tell") == {frame.__name__ for frame in get_args(ServerFrame)}
    schemas = document["components"]["schemas"]
    assert schemas["Sub"]["properties"]["window"]["description"].startswith("Most events")
    assert document["channels"]["socket"]["address"] == "/v1/ws"


async def test_the_schemas_of_topics_are_told_to_those_only_who_may_see_them(
    desk: Any,
) -> None:
    await desk.bus.set_schema("build.*", {"type": "object"})
    refused = await desk.ask("GET", "/asyncapi.json", token=None)
    assert refused.status == 401
    addresses = [one["address"] for one in (await desk.get("/asyncapi.json"))["channels"].values()]
    assert addresses.count("build.*") == 1
    stranger = await desk.issue("stranger", sub=["other.*"])
    told = await desk.get("/asyncapi.json", token=stranger)
    assert "build.*" not in [one["address"] for one in told["channels"].values()]


def test_every_topic_that_the_sources_publish_to_is_among_the_own_events() -> None:
    """Those that are written as literals; formatted parts count as one name."""
    found = {DENIED}
    for path in SOURCES.rglob("*.py"):
        if path.name == "own_events.py":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= set(
                    re.findall(r"^_sys\.(?:audit|store|stats|schemas)[a-z.]*$", node.value)
                )
            found |= deeds(node)
    kinds = {topic for topic in found if not topic.endswith(".")} - {"_sys.audit"}  # a beginning
    wanted = {"_sys.store.warning", "_sys.audit.actor.killed", "_sys.audit.token.revoked"}
    assert wanted < kinds
    assert kinds <= {own.topic for own in OWN_EVENTS}


def deeds(node: ast.AST) -> set[str]:
    """The topic of a call of ``Audit.did`` or ``Audit.token``."""
    match node:
        case ast.Call(
            func=ast.Attribute(attr=("did" | "token") as kind), args=[ast.Constant(str(what)), *_]
        ):
            return {f"_sys.audit.{what}" if kind == "did" else f"_sys.audit.token.{what}"}
    return set()
