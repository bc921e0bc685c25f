"""The built page: files of one folder, never anything outside it."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

FOLDER = Path(__file__).parent.parent / "web"
FOREVER = "public, max-age=31536000, immutable"
ASK_AGAIN = "no-cache"
METHODS = ("GET", "HEAD")
NOT_BUILT = "Antiphon is running, but its page has not been built: run `make web`.\n"


class Page:
    """Serves ``/`` and what belongs to it.

    Files under ``assets/`` carry a hash of their content in their names, so browsers
    may keep them for ever; all others are asked for anew. They are small, so each is
    answered whole: an answer in pieces would take in what its client sends meanwhile.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder

    async def __call__(self, request: Request) -> Response:
        name = request.scope["path"].removeprefix("/") or "index.html"
        body = await run_in_threadpool(self._read, name)
        if body is None and name != "index.html":
            raise HTTPException(404)
        if request.method not in METHODS:
            raise HTTPException(405, headers={"Allow": ", ".join(METHODS)})
        if body is None:
            return PlainTextResponse(NOT_BUILT, headers={"cache-control": "no-store"})
        keep = FOREVER if name.startswith("assets/") else ASK_AGAIN
        kind = mimetypes.guess_type(name)[0] or "text/plain"
        return Response(body, headers={"cache-control": keep}, media_type=kind)

    def _read(self, name: str) -> bytes | None:
        try:
            folder = self._folder.resolve()
            file = (folder / name).resolve()
            inside = file.is_relative_to(folder) and file.is_file()
            return file.read_bytes() if inside else None
        except (OSError, ValueError):  # a name that no file can have
            return None
