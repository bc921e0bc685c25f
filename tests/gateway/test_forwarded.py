"""What a proxy says counts only from a proxy."""

from __future__ import annotations

from typing import Any

import pytest

from antiphon.errors import StartError
from antiphon.gateway.forwarded import Proxies, behind

TCP = ("127.0.0.1", 7117)


def scope(client: str | None, *headers: tuple[str, str], server: Any = TCP, **more: Any) -> Any:
    raw = [(name.encode(), value.encode()) for name, value in headers]
    at = None if client is None else (client, 5000)
    return {
        "type": "http",
        "scheme": "http",
        "headers": raw,
        "client": at,
        "server": server,
        **more,
    }


def forwarded(hops: str, scheme: str = "https") -> tuple[tuple[str, str], ...]:
    return ("x-forwarded-for", hops), ("x-forwarded-proto", scheme)


def test_nobody_is_believed_unless_named() -> None:
    asked = scope("127.0.0.1", *forwarded("192.0.2.1"))
    assert behind(asked, Proxies()) is asked
    assert behind(asked, Proxies(["10.0.0.0/8", "unix"])) is asked


@pytest.mark.parametrize("named", ["127.0.0.1", "127.0.0.0/8"])
def test_a_named_proxy_tells_client_and_scheme(named: str) -> None:
    told = behind(scope("127.0.0.1", *forwarded("192.0.2.1")), Proxies([named]))
    assert (told["client"], told["scheme"]) == (("192.0.2.1", 0), "https")
    socket = scope("127.0.0.1", *forwarded("192.0.2.1"), type="websocket", scheme="ws")
    assert behind(socket, Proxies([named]))["scheme"] == "wss"


@pytest.mark.parametrize("server", [None, ("/run/bus.sock", None)])
def test_on_the_unix_socket_the_word_unix_names_every_peer(server: Any) -> None:
    asked = scope(None, *forwarded("192.0.2.1"), server=server)
    assert behind(asked, Proxies(["unix"]))["client"] == ("192.0.2.1", 0)
    assert behind(asked, Proxies(["127.0.0.1"])) is asked


@pytest.mark.parametrize(
    ("hops", "client"),
    [
        ("6.6.6.6, 192.0.2.1", "192.0.2.1"),
        ("6.6.6.6, 192.0.2.1, 10.0.0.9", "192.0.2.1"),
        ("192.0.2.1:4000", "192.0.2.1"),
        ("[2001:db8::1]:4000", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("unknown", "127.0.0.1"),
        ("6.6.6.6, _hidden", "127.0.0.1"),
        ("", "127.0.0.1"),
        ("10.0.0.1", "127.0.0.1"),
    ],
)
def test_the_client_is_the_last_hop_that_is_no_proxy(hops: str, client: str) -> None:
    """What stands before it was written by the client itself."""
    told = behind(scope("127.0.0.1", *forwarded(hops)), Proxies(["127.0.0.1", "10.0.0.0/8"]))
    assert told["client"][0] == client


@pytest.mark.parametrize("scheme", ["ftp", "https, http", "HTTPS", ""])
def test_a_scheme_that_is_none_is_left_alone(scheme: str) -> None:
    told = behind(scope("127.0.0.1", *forwarded("1.2.3.4", scheme)), Proxies(["127.0.0.1"]))
    assert told["scheme"] == "http"


@pytest.mark.parametrize("name", ["proxy.example", "10.0.0.1/8", "*", ""])
def test_what_is_no_address_is_refused(name: str) -> None:
    with pytest.raises(StartError, match="a proxy is an address"):
        Proxies([name])
