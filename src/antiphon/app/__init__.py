"""The one place that names concrete parts and starts them, supervised.

``open`` gives log and bus inside somebody's own asyncio program, no server;
``serve`` adds the services, the gateway and the page.
"""

from antiphon.app.background import NotStartedError
from antiphon.app.core import Core, core, open
from antiphon.app.server import serve, serve_detached

__all__ = ["Core", "NotStartedError", "core", "open", "serve", "serve_detached"]
