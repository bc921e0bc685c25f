"""Which hosts and origins are a server's own, worked out without one."""

from __future__ import annotations

import pytest

from antiphon.errors import StartError
from antiphon.gateway.names import check_name, check_public_url, public_names, tcp_names, unix_names


def test_on_loopback_the_names_are_this_machines() -> None:
    found = tcp_names("127.0.0.1", 7117)
    assert found.hosts == {"127.0.0.1:7117", "localhost:7117", "[::1]:7117"}
    assert found.origins == {f"http://{host}" for host in found.hosts}


def test_with_tls_only_https_is_an_origin() -> None:
    found = tcp_names("127.0.0.1", 7117, tls=True)
    assert "https://localhost:7117" in found.origins
    assert not any(origin.startswith("http:") for origin in found.origins)


@pytest.mark.parametrize(("tls", "port"), [(False, 80), (True, 443)])
def test_the_default_port_may_be_left_out_of_the_host_and_is_of_the_origin(
    tls: bool, port: int
) -> None:
    found = tcp_names("127.0.0.1", port, tls=tls)
    assert {"localhost", f"localhost:{port}"} <= found.hosts
    assert f"http{'s' * tls}://localhost" in found.origins
    assert not any(origin.endswith(f":{port}") for origin in found.origins)
    assert "localhost" not in tcp_names("127.0.0.1", 443 if port == 80 else 80, tls=tls).hosts


def test_elsewhere_the_address_itself_and_the_names_given_but_not_this_machines() -> None:
    """`localhost` is another machine's name for itself: a page there would be let in here."""
    found = tcp_names("192.0.2.7", 7117, tls=True, names=("bus.example", "box:8443"))
    assert found.hosts == {"192.0.2.7:7117", "bus.example:7117", "box:8443"}
    assert "https://box:8443" in found.origins


def test_on_every_address_the_names_are_this_machines_and_those_given() -> None:
    found = tcp_names("0.0.0.0", 7117, tls=True, names=("bus.example",))
    assert found.hosts == {
        *("127.0.0.1:7117", "localhost:7117", "[::1]:7117", "bus.example:7117"),
    }


def test_a_public_url_is_a_host_and_an_origin_of_its_own() -> None:
    found = public_names(check_public_url("HTTPS://Bus.Example.org/"))
    assert found.hosts == {"bus.example.org", "bus.example.org:443"}
    assert found.origins == {"https://bus.example.org"}
    assert public_names(check_public_url("https://bus.example.org:8443")).origins == {
        "https://bus.example.org:8443"
    }
    assert unix_names().hosts == {"localhost", "localhost:80"}


@pytest.mark.parametrize(
    "url",
    [
        *("bus.example.org", "ftp://bus", "https://", "https://bus/path", "https://u@bus"),
        *("https://bus?x=1", "https://bus#x", "https://bus:0", "https://bus:99999", "https://b_s"),
        *("https://*.example.org", "https://bus.example.org."),
    ],
)
def test_what_is_no_public_url_is_refused(url: str) -> None:
    with pytest.raises(StartError, match="public url"):
        check_public_url(url)


@pytest.mark.parametrize(
    "name", ["", "*", "*.example", "http://bus", "bus/", "bus:0", "bus:99999", "u@bus", "b s", "a."]
)
def test_what_is_no_host_name_is_refused(name: str) -> None:
    with pytest.raises(StartError, match="host name"):
        check_name(name)


def test_a_host_name_is_lower_case() -> None:
    assert check_name("Bus.Example:8443") == "bus.example:8443"
    assert check_name("[2001:DB8::1]") == "[2001:db8::1]"
