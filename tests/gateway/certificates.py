"""Certificates of an authority of our own, and what trusts it."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NamedTuple

import trustme


class Certificate(NamedTuple):
    """The files of one certificate; *ca* is its authority's."""

    cert: Path
    key: Path
    ca: Path

    def trust(self) -> ssl.SSLContext:
        """A client that trusts the authority."""
        return ssl.create_default_context(cafile=self.ca)


def issue(folder: Path, *names: str) -> Certificate:
    """A certificate for this machine and *names*, in files of *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost", "::1", *names)
    made = Certificate(folder / "cert.pem", folder / "key.pem", folder / "ca.pem")
    made.cert.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    made.key.touch(0o600)
    issued.private_key_pem.write_to_path(made.key)
    authority.cert_pem.write_to_path(made.ca)
    return made
