"""Addresses, and whom a client trusts."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from antiphon.client.endpoint import Endpoint, NoServer
from antiphon.errors import BadRequest


@pytest.mark.parametrize(
    ("url", "host", "port", "socket_url"),
    [
        ("http://127.0.0.1:7117", "127.0.0.1", 7117, "ws://127.0.0.1:7117/v1/ws"),
        ("http://[::1]:7117/x", "::1", 7117, "ws://[::1]:7117/v1/ws"),
        ("https://bus.example", "bus.example", 443, "wss://bus.example:443/v1/ws"),
        ("unix:///run/bus.sock", "localhost", 80, "ws://localhost:80/v1/ws"),
    ],
)
def test_an_address_says_all_that_is_needed(
    url: str, host: str, port: int, socket_url: str
) -> None:
    found = Endpoint(url)
    assert (found.host, found.port, found.socket_url) == (host, port, socket_url)


def test_a_unix_socket_is_a_path() -> None:
    assert Endpoint("unix:///run/a%20b.sock").unix_path == "/run/a b.sock"
    assert Endpoint("http://127.0.0.1:1/run/b.sock").unix_path is None


@pytest.mark.parametrize(
    "url", ["", "bus", "ftp://x", "http://", "http://x:0", "http://x:99999", "unix://x/y", "unix:/"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(BadRequest, match="not an address"):
        Endpoint(url)


def test_the_very_certificate_is_trusted_and_no_other_of_its_issuer(tmp_path: Path) -> None:
    """The file has the issuer's certificate too; trusting that would trust all it ever issued."""
    authority = trustme.CA()
    own, other = authority.issue_cert("bus.example"), authority.issue_cert("bus.example")
    chain = tmp_path / "cert.pem"
    chain.write_bytes(own.cert_chain_pems[0].bytes() + authority.cert_pem.bytes())
    endpoint = Endpoint("https://127.0.0.1:7117", cert=chain)
    for served, trusted in ((own, True), (other, False)):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        served.configure_cert(context)
        assert shakes_hands(endpoint, context) is trusted


@pytest.mark.parametrize("content", [None, b"", b"junk", b"-----BEGIN CERTIFICATE-----\n"])
def test_a_certificate_that_cannot_be_read_is_one_line(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "cert.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(NoServer, match="cannot check the server's certificate by") as error:
        Endpoint("https://127.0.0.1:1", cert=path).tls()
    assert "\n" not in str(error.value)


def shakes_hands(endpoint: Endpoint, serving: ssl.SSLContext) -> bool:
    trust = endpoint.tls()
    assert trust is not None
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trust.wrap_bio(to_client, to_server, server_hostname=endpoint.host)
    server = serving.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client, server, client):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError:
            return False
        if side is client:
            return True
    raise AssertionError("the handshake never ended")
