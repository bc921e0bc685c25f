"""The server's certificate: TLS 1.2 or later, and a new certificate without a restart."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

from antiphon.errors import StartError


class Tls:
    """A certificate and its key, ready for the listening socket.

    Args:
        cert: PEM: the server's own certificate, then those of its issuers.
        key: PEM, without a passphrase; not for everybody to read.

    Raises:
        StartError: A file can't be read, others may read the key, or they don't fit.
    """

    def __init__(self, cert: Path, key: Path) -> None:
        self.cert = cert
        self._key = key
        self.context = _context(cert, key)

    def reload(self) -> None:
        """Read both files again, for connections from now on; on an error nothing changes.

        Raises:
            StartError: As at first.
        """
        _context(self.cert, self._key)
        self.context.load_cert_chain(self.cert, self._key)


def _context(cert: Path, key: Path) -> ssl.SSLContext:
    _check_readable("certificate", cert)
    _check_readable("key", key)
    mode = stat.S_IMODE(key.stat().st_mode)
    if mode & stat.S_IROTH:
        raise StartError(
            f"the TLS key {key} may be read by everybody (mode {mode:04o}): run chmod o= {key}"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    asked = False

    def no_passphrase() -> str:
        nonlocal asked
        asked = True
        return ""

    try:
        context.load_cert_chain(cert, key, no_passphrase)
    except (ssl.SSLError, OSError) as error:
        raise StartError(
            f"cannot use the TLS certificate {cert}: {_why(error, key, asked)}"
        ) from None
    return context


def _check_readable(what: str, path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise StartError(f"cannot read the TLS {what} {path}: {why}") from error


def _why(error: OSError, key: Path, asked: bool) -> str:
    if asked:
        return f"its key {key} has a passphrase; store it without one"
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return f"its key is not {key}, they don't belong together"
    return f"it or its key {key} is no PEM that OpenSSL can use"
