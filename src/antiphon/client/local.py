"""Finding a server of this machine, by what it leaves in its data folder."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from antiphon.client.endpoint import Endpoint, NoServer
from antiphon.places import SERVER_FILE, data_folder

URL_VARIABLE = "ANTIPHON_URL"
TOKEN_VARIABLE = "ANTIPHON_TOKEN"


class ServerFile(msgspec.Struct, frozen=True):
    """What a running server leaves in its data folder.

    Attributes:
        tls_cert: The file of its certificate, if it has one.
        uds: Its Unix socket, if it has one.
        log_file: Where it writes what went wrong, if it runs in the background.
    """

    url: str
    pid: int
    token_file: str
    tls_cert: str | None = None
    uds: str | None = None
    log_file: str | None = None

    @property
    def cert(self) -> Path | None:
        return Path(self.tls_cert) if self.tls_cert is not None else None


def read_server_file(folder: Path) -> ServerFile | None:
    """Read ``server.json``; None if there is none, or none that can be read as one."""
    try:
        return msgspec.json.decode((folder / SERVER_FILE).read_bytes(), type=ServerFile)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None


def find(data: Path | None = None, url: str | None = None) -> Endpoint:
    """Name the server and its token.

    The token of the data folder goes to that folder's own server and to no other address.

    Args:
        data: None: ``ANTIPHON_DATA``, else the platform's place.
        url: None: the server of the data folder.

    Raises:
        BadRequest: *url* is no address.
        NoServer: No address was given, and no server has left one in the data folder.
    """
    folder = data_folder(data)
    server = read_server_file(folder)
    token = os.environ.get(TOKEN_VARIABLE) or None
    if url is not None:
        own = server is not None and _place(url) in _places(server)
        if not own or server is None:
            return Endpoint(url, token)
        return Endpoint(url, token or _token(server), server.cert)
    if server is None:
        raise NoServer(f"no server is running on {folder}; {how_to_start(data)}")
    return Endpoint(server.url, token or _token(server), server.cert)


def how_to_start(data: Path | None) -> str:
    """Name the command that starts a server."""
    return "start one with: antiphon serve" + (f" --data {data}" if data is not None else "")


def _token(server: ServerFile) -> str | None:
    try:
        return Path(server.token_file).read_text("ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _places(server: ServerFile) -> list[tuple[str, str, int]]:
    found = [_place(server.url)]
    if server.uds is not None:
        found.append(("unix", server.uds, 0))
    return found


def _place(url: str) -> tuple[str, str, int]:
    endpoint = Endpoint(url)
    if endpoint.unix_path is not None:
        return "unix", endpoint.unix_path, 0
    return "https" if endpoint.secure else "http", endpoint.host, endpoint.port
