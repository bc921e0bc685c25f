"""Listening, starting and ending."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path
from typing import Any

import pytest

from antiphon.errors import StartError
from antiphon.gateway import bind

from .conftest import serving


def test_a_port_in_use_is_a_start_error_of_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=f"cannot listen on 127.0.0.1:{port}: ") as error:
            bind("127.0.0.1", port)
        assert "\n" not in str(error.value)
        assert str(error.value).endswith("; another --port, or 0 for a free one")


def test_two_servers_cannot_bind_one_port_even_before_they_serve() -> None:
    with bind("127.0.0.1", 0) as first, pytest.raises(StartError):
        bind("127.0.0.1", first.getsockname()[1])


def test_a_port_that_cannot_be_is_a_start_error() -> None:
    with pytest.raises(StartError):
        bind("127.0.0.1", 70_000)


async def test_port_0_picks_one_and_the_address_says_which(desk: Any) -> None:
    assert desk.gateway.url == f"http://127.0.0.1:{desk.port}"
    assert desk.port > 0


async def test_closing_twice_is_closing_once_and_frees_the_port(tmp_path: Path) -> None:
    async with serving(tmp_path) as desk:
        await desk.gateway.aclose()
        await desk.gateway.aclose()
        await asyncio.wait_for(desk.gateway.wait(), 5)
        bind("127.0.0.1", desk.port).close()


async def test_nothing_of_a_request_is_logged(desk: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Neither its token nor its query, however much is logged."""
    caplog.set_level(logging.INFO)
    await desk.ask("GET", "/v1/events?pattern=secret.*")
    await desk.ask("GET", "/v1/events?token=secret", token="secret")
    async with desk.client() as one:
        await one.sub("secret")
    assert desk.token not in caplog.text
    assert "secret" not in caplog.text
