"""``watch``: a folder's changes as events, from a process of its own.

The server's own watcher (``serve --workspace``) runs in the server; this one may run
wherever the folder is. It goes on when the server comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from antiphon.cli import console
from antiphon.cli.find import Client, finder
from antiphon.cli.options import DataOption, UrlOption
from antiphon.client.endpoint import Endpoint, NoServer
from antiphon.client.http import HttpClient
from antiphon.client.results import error_of
from antiphon.messages import EventIn, Refused
from antiphon.places import data_folder

if TYPE_CHECKING:
    from antiphon.bridges.files import FolderWatcher


def watch(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to watch.")],
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Leave this out, as in .gitignore; repeatable."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Its source is /watch/NAME; default: the folder's name.")
    ] = None,
    data: DataOption = None,
    url: UrlOption = None,
) -> int:
    """Publish a folder's changes as file.created, file.changed and file.deleted.

    What changed since the last time comes first. Ends with Ctrl-C.
    """
    import asyncio

    from antiphon.bridges.files import FolderWatcher, check_root, journal_path

    check_root(folder)
    with Client(data, url) as client:
        client.health()
    own = data_folder(data)
    watcher = FolderWatcher(
        folder,
        HttpPublisher(finder(data, url)),
        journal_path(own, folder),
        ignore=ignore or (),
        exclude=(own,),
        name=name,
        on_problem=console.complain,
    )
    console.complain(f"watching {folder.resolve()}; Ctrl-C ends it")
    asyncio.run(_until_signalled(watcher))
    return 0


class HttpPublisher:
    """Takes a watcher's events to a server, in a thread beside the watcher's loop.

    Args:
        find: Says where the server is, asked again whenever it was lost.
    """

    def __init__(self, find: Callable[[], Endpoint]) -> None:
        self._find = find
        self._client: HttpClient | None = None

    async def publish_batch(self, events: Sequence[EventIn], /) -> None:
        """Publish *events*, in order; return when all are on the server's disk.

        Raises:
            ConnectionError: The server is not there now; the same ids may come again.
            BusError: The first refusal.
        """
        import asyncio

        await asyncio.to_thread(self._publish, events)

    def _publish(self, events: Sequence[EventIn]) -> None:
        try:
            if self._client is None:
                self._client = HttpClient(self._find())
            results = self._client.publish_many(events)
        except NoServer as error:
            self._client = None
            raise ConnectionError(str(error)) from error
        for result in results:
            if isinstance(result, Refused):
                raise error_of(result)


async def _until_signalled(watcher: FolderWatcher) -> None:
    import asyncio
    import signal

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await watcher.run(stop)
