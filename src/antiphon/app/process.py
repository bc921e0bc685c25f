"""What the process has of its system: a terminal, open files, a certificate on its disk."""

from __future__ import annotations

import logging
import os

from antiphon.errors import StartError
from antiphon.gateway.tls import Tls

logger = logging.getLogger(__name__)


def has_terminal() -> bool:
    """Whether a terminal can end the process by hanging up."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def reload_certificate(tls: Tls) -> None:
    """Take a renewed certificate; a bad one leaves the old one in its place."""
    try:
        tls.reload()
    except StartError as error:
        logger.error("the certificate stays as it was: %s", error)
    else:
        logger.warning("the certificate was read again from %s", tls.cert)


def raise_open_files(needed: int) -> None:
    """Let the process open *needed* files, as far as the system lets it."""
    import resource  # which Windows doesn't have

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < needed:
        logger.warning("only %d files may be open, max_connections takes up to %d", most, needed)
