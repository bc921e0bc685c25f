"""Tell a service manager how the server is: systemd's protocol, for ``Type=notify``.

A datagram to the socket that ``NOTIFY_SOCKET`` names; without it nothing happens. See
sd_notify(3).
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

logger = logging.getLogger(__name__)

READY = "READY=1"
STOPPING = "STOPPING=1"


def notify(state: str, environ: Mapping[str, str] = os.environ) -> None:
    """Send *state*; a manager that can't be reached is no reason to stop."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            to.settimeout(1.0)
            to.connect(address)
            to.send(state.encode())
    except OSError as error:
        logger.warning("the service manager could not be told %s: %s", state, error)
