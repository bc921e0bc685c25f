"""What is listened on, and every reason why not."""

from __future__ import annotations

import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from antiphon.errors import StartError
from antiphon.gateway.doors import Doors, UnixDoor, bind, open_doors

from .certificates import issue


@contextmanager
def opened(**options: Any) -> Iterator[Doors]:
    doors = open_doors(**{"host": "127.0.0.1", "port": 0, **options})
    try:
        yield doors
    finally:
        doors.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_an_address_that_others_reach_needs_tls_or_a_word(host: str) -> None:
    with pytest.raises(StartError, match="give --tls-cert and --tls-key, or --insecure-bind"):
        bind(host, 0)


@pytest.mark.parametrize("host", ["example.com", "", "*", "127.1"])
def test_what_is_no_address_is_refused(host: str) -> None:
    with pytest.raises(StartError, match="a host is an address or localhost"):
        bind(host, 0, open_to_others=True)


@pytest.mark.parametrize("host", ["0.0.0.0", "0:0:0:0:0:0:0:0"])
def test_whoever_listens_on_every_address_needs_a_name(host: str) -> None:
    with pytest.raises(StartError, match="give --host-name NAME"):
        open_doors(host=host, port=0, insecure_bind=True)
    with opened(host=host, insecure_bind=True, host_names=["bus.example"]) as doors:
        assert f"bus.example:{doors.port}" in doors.tcp_names().hosts
        assert doors.page_url == f"http://bus.example:{doors.port}"
        assert doors.url.startswith(("http://127.0.0.1:", "http://[::1]:"))


def test_with_tls_every_address_is_https(tmp_path: Path) -> None:
    made = issue(tmp_path)
    files = {"tls_cert": made.cert, "tls_key": made.key}
    with opened(**files) as doors:
        assert doors.url == doors.page_url == f"https://127.0.0.1:{doors.port}"
    with opened(host="0.0.0.0", host_names=["bus.example"], **files) as doors:
        assert doors.page_url == f"https://bus.example:{doors.port}"
    for one in files:
        with pytest.raises(StartError, match="both --tls-cert FILE and --tls-key FILE"):
            open_doors(host="127.0.0.1", port=0, **{one: files[one]})  # type: ignore[arg-type]


def test_a_unix_socket_is_its_owners_alone_and_goes_with_its_server(tmp_path: Path) -> None:
    path = tmp_path / "bus.sock"
    with opened(uds=path, tcp=False) as doors:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert (doors.url, doors.port, doors.page_url) == (f"unix://{path}", 0, None)
        with pytest.raises(StartError, match="a server listens there already"):
            UnixDoor(path)
    assert not path.exists()


def test_the_socket_of_a_killed_server_is_replaced_and_a_successors_is_left_alone(
    tmp_path: Path,
) -> None:
    path = tmp_path / "bus.sock"
    killed = UnixDoor(path)
    killed.socket.close()
    assert path.exists()
    with opened(uds=path, tcp=False):
        killed.close()
        assert path.exists()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_what_cannot_be_a_unix_socket_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for path, why in (
        (tmp_path / "file", "is there, and no socket"),
        (tmp_path / "link", "is there, and no socket"),
        (tmp_path / "nowhere" / "s", "no such file"),
        (tmp_path / ("x" * 120), "103 bytes at most"),
    ):
        with pytest.raises(StartError, match=why):
            open_doors(host="127.0.0.1", port=0, uds=path)
    assert (tmp_path / "file").read_text() == "mine"


def test_doors_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(StartError, match="--no-tcp needs --uds"):
        open_doors(host="127.0.0.1", port=0, tcp=False)
    with pytest.raises(StartError, match="--proxy unix needs --uds"):
        open_doors(host="127.0.0.1", port=0, proxies=["unix"])
