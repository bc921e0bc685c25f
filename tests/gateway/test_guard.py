"""Who is let in at the door, decided without a server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from antiphon.gateway.guard import PRIVATE, Claims, Rules
from antiphon.gateway.names import tcp_names
from antiphon.gateway.operations import Right

RULES = Rules(tcp_names("127.0.0.1", 7117))
READ = Claims(
    socket=False,
    method="GET",
    path="/v1/events",
    host=("127.0.0.1:7117",),
    origin=(),
    site=(),
    token=False,
    csrf=False,
)
WRITE = replace(READ, method="POST", origin=("http://127.0.0.1:7117",), csrf=True)
SOCKET = replace(READ, socket=True, path="/v1/ws")


@pytest.mark.parametrize(
    "host", ["127.0.0.1:7117", "localhost:7117", "LOCALHOST:7117", "[::1]:7117"]
)
def test_this_machines_names_with_the_port_are_let_in(host: str) -> None:
    for claims in (READ, WRITE, SOCKET):
        assert RULES.refusal(replace(claims, host=(host,))) is None


@pytest.mark.parametrize(
    "host",
    [
        (),
        ("127.0.0.1:7117", "127.0.0.1:7117"),
        ("127.0.0.1",),
        ("127.0.0.1:7118",),
        ("evil.example:7117",),
        ("localhost.evil.example:7117",),
        ("127.0.0.1:7117.evil.example",),
        ("0.0.0.0:7117",),
        ("127.0.0.1:7117 ",),
        ("",),
    ],
)
def test_any_other_host_is_refused_for_http_and_sockets_even_with_a_token(
    host: tuple[str, ...],
) -> None:
    for claims in (READ, WRITE, SOCKET):
        assert RULES.refusal(replace(claims, host=host, token=True)) is not None


@pytest.mark.parametrize(
    "origin",
    [
        ("http://evil.example",),
        ("http://127.0.0.1:7118",),
        ("http://127.0.0.1",),
        ("https://127.0.0.1:7117",),
        ("http://127.0.0.1:7117/",),
        ("null",),
        ("",),
        ("http://127.0.0.1:7117", "http://evil.example"),
    ],
)
def test_a_foreign_origin_is_refused_for_http_and_sockets_even_with_a_token(
    origin: tuple[str, ...],
) -> None:
    for claims in (READ, WRITE, SOCKET, replace(READ, path="/")):
        assert RULES.refusal(replace(claims, origin=origin, token=True)) is not None


def test_without_origin_something_is_changed_only_by_an_explicit_token() -> None:
    bare = replace(WRITE, origin=())
    assert RULES.refusal(bare) is not None
    assert RULES.refusal(replace(bare, token=True, csrf=False)) is None
    assert RULES.refusal(replace(bare, path="/v1/login", csrf=False)) is None


def test_with_a_cookie_a_change_needs_the_header_of_our_own() -> None:
    assert RULES.refusal(WRITE) is None
    assert "X-Antiphon" in (RULES.refusal(replace(WRITE, csrf=False)) or "")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_page_of_this_machine_cannot_even_read_by_cookie(site: str) -> None:
    """Another port is the same site to a cookie, but not the same origin."""
    for path in ("/v1/events", "/metrics", "/asyncapi.json"):
        foreign = replace(READ, site=(site,), path=path)
        assert RULES.refusal(foreign) is not None
        assert RULES.refusal(replace(foreign, token=True)) is None
    for path in ("/", "/assets/main.js", "/health", "/docs", "/openapi.json"):
        assert RULES.refusal(replace(READ, site=(site,), path=path)) is None


async def test_every_operation_that_a_cookie_opens_is_private(desk: Any) -> None:
    for operation in desk.gateway._http.operations:
        if operation.right is not Right.ANYBODY:
            assert operation.path.startswith(PRIVATE), operation.path


def test_the_page_itself_reads_without_origin() -> None:
    assert RULES.refusal(replace(READ, site=("same-origin",))) is None
    assert RULES.refusal(replace(READ, site=("none",))) is None
