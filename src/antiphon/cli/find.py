"""Finding the running server and its token, as every client command does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import typer

from antiphon.client import local
from antiphon.client.endpoint import Endpoint, NoServer
from antiphon.client.http import HttpClient
from antiphon.client.local import TOKEN_VARIABLE, ServerFile, how_to_start, read_server_file
from antiphon.errors import BadRequest
from antiphon.places import data_folder

__all__ = [
    "TOKEN_VARIABLE",
    "Client",
    "ServerFile",
    "advice",
    "find",
    "finder",
    "how_to_start",
    "read_server_file",
]


def find(data: Path | None, url: str | None) -> Endpoint:
    """As ``client.local.find``.

    Raises:
        BadParameter: *url* is no address.
        NoServer: No address was given, and no server has left one in the data folder.
    """
    try:
        return local.find(data, url)
    except BadRequest as error:
        raise typer.BadParameter(f"{error}, got {error.value}", param_hint="--url") from error


def finder(data: Path | None, url: str | None) -> Callable[[], Endpoint]:
    """Say at every call where the server is now: it may come back on another port.

    Raises:
        BadParameter: At once, if *url* is no address.
        StartError: At once, if the settings file can't be read.
    """
    data_folder(data)
    if url is not None:
        find(data, url)
    return lambda: local.find(data, url)


def advice(data: Path | None, url: str | None) -> str:
    """Say what to do when no server answers."""
    return "is the address right?" if url is not None else how_to_start(data)


class Client(HttpClient):
    """A client of the server that the options name, whose errors say how to start one."""

    def __init__(self, data: Path | None, url: str | None, *, timeout: float = 30.0) -> None:
        super().__init__(find(data, url), timeout=timeout)
        self._hint = advice(data, url)

    def _ask(self, method: str, path: str, body: bytes | None) -> bytes:
        try:
            return super()._ask(method, path, body)
        except NoServer as error:
            if error.sent:
                raise
            raise NoServer(f"{error}; {self._hint}") from error
