"""``serve``, ``status``, ``shutdown`` and ``config``: living with the server."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from antiphon.cli import console
from antiphon.cli.find import Client, read_server_file
from antiphon.cli.options import DataOption, JsonOption, UrlOption
from antiphon.client.endpoint import NoServer
from antiphon.errors import AntiphonError, StartError
from antiphon.places import config_file, data_folder

if TYPE_CHECKING:
    from antiphon.settings import Settings

SHUTDOWN_S = 60.0
LOOK_EVERY_S = 0.05


def _file(text: str) -> Any:
    return typer.Option(metavar="FILE", help=text)


def serve(
    port: Annotated[
        int | None, typer.Option(help="Default 7117; 0 picks a free one.", show_default=False)
    ] = None,
    host: Annotated[str | None, typer.Option(help="Default 127.0.0.1.", show_default=False)] = None,
    data: DataOption = None,
    workspace: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Watch this folder for file events.")
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Never watch this, as in .gitignore; repeatable."),
    ] = None,
    actors: Annotated[
        str | None,
        typer.Option(metavar="MODULE:FUNCTION", help="Run the actors that this function returns."),
    ] = None,
    ready_file: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Write url, token_file and pid here, once accepting."),
    ] = None,
    open_page: Annotated[
        bool | None, typer.Option("--open", help="Open the page in the browser.")
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return once it is ready; it goes on by itself.")
    ] = False,
    tls_cert: Annotated[
        Path | None, _file("Serve TLS with this certificate; needs --tls-key.")
    ] = None,
    tls_key: Annotated[Path | None, _file("The key of the certificate.")] = None,
    uds: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Listen on this Unix socket, too.")
    ] = None,
    no_tcp: Annotated[bool, typer.Option("--no-tcp", help="Listen on --uds alone.")] = False,
    insecure_bind: Annotated[
        bool | None,
        typer.Option("--insecure-bind", help="Let other machines in without TLS: tokens in clear."),
    ] = None,
    host_name: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name that the server is reached by; repeatable."),
    ] = None,
    public_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where browsers find it behind a proxy.")
    ] = None,
    proxy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS",
            help="Believe X-Forwarded headers from this address, network, or unix; repeatable.",
        ),
    ] = None,
) -> int:
    """Start the server, and stay until it ends."""
    if sys.platform == "win32":
        raise StartError("the server doesn't run on Windows itself; run it inside WSL")
    from antiphon.app import serve as serve_app
    from antiphon.settings import load

    flags: dict[str, Any] = {
        "port": port,
        "host": host,
        "tcp": False if no_tcp else None,
        "uds": uds,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "insecure_bind": insecure_bind,
        "host_names": host_name or None,
        "public_url": public_url,
        "proxies": proxy or None,
        "data": data,
        "workspace": workspace,
        "ignore": ignore or None,
        "actors": actors,
        "ready_file": ready_file,
        "open": open_page,
    }
    settings = load(flags).settings
    return _in_background(settings) if detach else serve_app(settings)


def _in_background(settings: Settings) -> int:
    from antiphon.app import NotStartedError, serve_detached

    try:
        started = serve_detached(settings)
    except NotStartedError as error:
        console.complain(str(error))
        for line in error.said:
            print(console.clean(line), file=sys.stderr)
        return 1
    facts = started.facts
    address = facts.get("page_url", facts["url"])
    if sys.stdout.isatty() and address.startswith("http"):
        # As without --detach: only a person's terminal is told the token.
        address = f"{address}/#token={Path(facts['token_file']).read_text('ascii').strip()}"
    console.say(f"open     {address}")
    console.say(f"process  {started.pid}")
    console.say(f"log      {facts['log_file']}")
    console.say(f"stop     antiphon shutdown --data {settings.data}")
    return 0


def status(as_json: JsonOption = False, data: DataOption = None, url: UrlOption = None) -> None:
    """Show the server on one screen: address, head, disk, lag, workers."""
    with Client(data, url) as client:
        found = client.get("/v1/status")
    if as_json:
        console.raw_lines()(found)
        return
    rows = flat(msgspec.json.decode(found))
    wide = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        console.say(f"{name:<{wide}}  {console.clean(value)}")
    if sys.stdout.isatty() and client.endpoint.token is not None:
        # As with serve: only a person's terminal is told the token.
        console.say(f"{'open':<{wide}}  {client.endpoint.url}/#token={client.endpoint.token}")


def flat(value: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Write nested fields one a line; counts of bytes and seconds as people read them."""
    rows: list[tuple[str, str]] = []
    for name, part in value.items():
        full = f"{prefix}{name}"
        if isinstance(part, dict):
            rows += flat(part, f"{full} ")
        elif isinstance(part, list):
            rows.append((full.replace("_", " "), str(len(part))))
        elif name.endswith("_bytes") and isinstance(part, int):
            rows.append((full.removesuffix("_bytes").replace("_", " "), console.size(part)))
        elif name.endswith("_s") and isinstance(part, int | float):
            rows.append((full.removesuffix("_s").replace("_", " "), console.age(part)))
        else:
            rows.append((full.replace("_", " "), "-" if part is None else str(part)))
    return rows


def shutdown(data: DataOption = None, url: UrlOption = None) -> None:
    """End the server in order, and wait until it has gone."""
    with Client(data, url) as client:
        address = client.endpoint.url
        client.shutdown()
        if not wait_until(lambda: _gone(client), SHUTDOWN_S):
            raise AntiphonError(f"the server at {address} still answers after {SHUTDOWN_S:.0f} s")
    if url is None:
        # Its file and its lock go last: whoever starts the next one needn't wait for them.
        wait_until(lambda: read_server_file(data_folder(data)) is None, 5.0)
    console.say(f"the server at {address} has ended")


def _gone(client: Client) -> bool:
    client.close()
    try:
        client.health()
    except NoServer:
        return True
    return False


def wait_until(done: Callable[[], bool], seconds: float) -> bool:
    """Look again and again; False if it took too long."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_EVERY_S)
    return True


def config(
    as_json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """Print every setting with its value, unit and source."""
    from antiphon.settings import lines, load, shown

    loaded = load({"data": data})
    if loaded.settings.retention:
        from antiphon.app.server import policies

        policies(loaded.settings.retention)
    found = lines(loaded)
    if as_json:
        write = console.raw_lines()
        for line in found:
            fields = {"name": line.name, "value": line.value, "unit": line.unit}
            write(msgspec.json.encode({**fields, "source": line.source}, enc_hook=str))
        return
    rows = [
        (line.name, shown(line.value), line.unit or "-", line.source, line.about) for line in found
    ]
    console.print_table(("SETTING", "VALUE", "UNIT", "SOURCE", "ABOUT"), rows)
    console.say(f"settings file: {config_file()}")
