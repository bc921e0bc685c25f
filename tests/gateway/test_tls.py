"""The certificate: what is refused at the start, and a new one without a restart."""

from __future__ import annotations

import ssl
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from antiphon.errors import StartError
from antiphon.gateway.tls import Tls

from .certificates import Certificate, issue


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return issue(tmp_path_factory.mktemp("tls"))


def test_nothing_older_than_tls_1_2(made: Certificate) -> None:
    context = Tls(made.cert, made.key).context
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_NONE


def test_a_key_that_everybody_may_read_is_refused_a_groups_is_not(
    made: Certificate, tmp_path: Path
) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes(made.key.read_bytes())
    key.chmod(0o644)
    with pytest.raises(StartError, match=r"may be read by everybody \(mode 0644\): run chmod o="):
        Tls(made.cert, key)
    key.chmod(0o640)
    Tls(made.cert, key)


def test_each_thing_that_can_be_wrong_is_named(made: Certificate, tmp_path: Path) -> None:
    other = issue(tmp_path / "other")
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    junk.chmod(0o600)
    for cert, key, why in (
        (tmp_path / "none.pem", made.key, "cannot read the TLS certificate .*no such file"),
        (made.cert, tmp_path / "none.pem", "cannot read the TLS key .*no such file"),
        (made.cert, other.key, "don't belong together"),
        (junk, made.key, "no PEM"),
        (made.cert, junk, "no PEM"),
        (tmp_path, made.key, "cannot read the TLS certificate .*is a directory"),
    ):
        with pytest.raises(StartError, match=why) as error:
            Tls(cert, key)
        assert "\n" not in str(error.value)


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(
    made: Certificate, tmp_path: Path
) -> None:
    locked = tmp_path / "locked.pem"
    sealing = ["openssl", "pkey", "-aes256", "-passout", "pass:secret", "-in", str(made.key)]
    subprocess.run([*sealing, "-out", str(locked)], check=True, capture_output=True)
    locked.chmod(0o600)
    with pytest.raises(StartError, match="has a passphrase"):
        Tls(made.cert, locked)


def test_a_renewed_certificate_is_taken_and_a_bad_one_changes_nothing(
    made: Certificate, tmp_path: Path
) -> None:
    first, second = issue(tmp_path / "1"), issue(tmp_path / "2")
    tls = Tls(first.cert, first.key)
    assert served_by(tls, first)
    second.cert.replace(first.cert)
    with pytest.raises(StartError, match="belong together"):
        tls.reload()
    assert served_by(tls, first)
    second.key.replace(first.key)
    tls.reload()
    assert served_by(tls, second)


def served_by(tls: Tls, made: Certificate) -> bool:
    """Whether a handshake in memory is trusted by the authority of *made*."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = tls.context.wrap_bio(to_server, to_client, server_side=True)
    client = made.trust().wrap_bio(to_client, to_server, server_hostname="localhost")
    for _ in range(10):
        try:
            client.do_handshake()
            return True
        except ssl.SSLWantReadError:
            pass
        with suppress(ssl.SSLWantReadError):
            server.do_handshake()
    return False
