"""Opening a WebSocket to a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from antiphon.client.endpoint import Endpoint, NoServer, reason
from antiphon.errors import Forbidden, Unauthorized
from antiphon.messages.frames import SUBPROTOCOL

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

CONNECT_S = 10.0
FRAME_BYTES = 64 * 1024 * 1024


async def dial(endpoint: Endpoint) -> ClientConnection:
    """A WebSocket that has not said hello yet.

    Raises:
        NoServer: Nobody answered, or not as this protocol does.
        Unauthorized, Forbidden: The door is closed to this client.
    """
    from websockets.asyncio.client import connect, unix_connect
    from websockets.exceptions import InvalidHandshake, InvalidStatus
    from websockets.typing import Subprotocol

    options: dict[str, Any] = {
        "subprotocols": [Subprotocol(SUBPROTOCOL)],
        "compression": None,
        "open_timeout": CONNECT_S,
        "close_timeout": 1,
        "ping_interval": None,  # the protocol has its own
        "max_size": FRAME_BYTES,
    }
    try:
        if endpoint.unix_path is not None:
            return await unix_connect(endpoint.unix_path, endpoint.socket_url, **options)
        return await connect(endpoint.socket_url, ssl=endpoint.tls(), proxy=None, **options)
    except InvalidStatus as error:
        status = error.response.status_code
        if status == 401:
            raise Unauthorized("the server doesn't know this token") from error
        if status == 403:
            raise Forbidden("the server turns this client away") from error
        raise NoServer(f"the server at {endpoint.url} answered {status}") from error
    except (OSError, InvalidHandshake, EOFError, TimeoutError) as error:
        raise NoServer(f"no server answers at {endpoint.url}: {reason(error)}") from error
