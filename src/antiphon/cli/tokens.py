"""``token``: who else may come in, how far, and for how long."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeAlias, cast, get_args

import msgspec
import typer

from antiphon.cli import console
from antiphon.cli.find import Client
from antiphon.cli.options import DataOption, JsonOption, UrlOption
from antiphon.client.endpoint import NoServer
from antiphon.errors import StartError
from antiphon.messages import Role, TokenCreate, TokenInfo
from antiphon.places import data_folder

HEADERS = ("NAME", "ID", "PUBLISHES", "SEES", "BUT NEVER", "ROLES", "EXPIRES", "LAST USED")

token_app = typer.Typer(help="Issue, list and revoke tokens.", no_args_is_help=True)

Patterns: TypeAlias = list[str] | None


@token_app.command("create")
def create(
    name: Annotated[str, typer.Option(metavar="N", help="Whose it is; events carry it.")],
    pub: Annotated[
        Patterns,
        typer.Option(metavar="PATTERN", help="May publish to these; repeatable, or with commas."),
    ] = None,
    sub: Annotated[Patterns, typer.Option(metavar="PATTERN", help="May see these.")] = None,
    deny: Annotated[
        Patterns, typer.Option(metavar="PATTERN", help="But neither for these.")
    ] = None,
    role: Annotated[
        Patterns, typer.Option(metavar="ROLE", help="worker, terminal or admin; repeatable.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="Good for so long: 12h, 30d.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the place of the token of this name.")
    ] = False,
    overlap: Annotated[
        str | None, typer.Option(metavar="TIME", help="With --replace: so long the old one opens.")
    ] = None,
    as_json: JsonOption = False,
    data: DataOption = None,
    url: UrlOption = None,
) -> None:
    """Issue a token, and print it: this once, and alone on standard output."""
    ask = TokenCreate(
        name=name,
        pub=_listed(pub),
        sub=_listed(sub),
        deny=_listed(deny),
        roles=_roles(role),
        expires_in_s=_seconds(expires),
        replace=replace,
        overlap_s=_seconds(overlap) or 0.0,
    )
    with Client(data, url) as client:
        issued = client.create_token(ask)
    if as_json:
        console.raw_lines()(msgspec.json.encode(issued))
        return
    print(issued.token, flush=True)
    print(f"antiphon: {_about(issued.info)}", file=sys.stderr)


def _about(info: TokenInfo) -> str:
    end = "until it is revoked" if info.expires is None else f"until {_moment(info.expires)}"
    return f"this is the token of {info.name}, good {end}; it is not shown again"


@token_app.command("list")
def list_(as_json: JsonOption = False, data: DataOption = None, url: UrlOption = None) -> None:
    """List the issued tokens: what each opens, never itself."""
    with Client(data, url) as client:
        found = client.tokens()
    if as_json:
        write = console.raw_lines()
        for info in found:
            write(msgspec.json.encode(info))
        return
    now = datetime.now(UTC)
    console.print_table(HEADERS, [_row(info, now) for info in found])


def _row(info: TokenInfo, now: datetime) -> tuple[str, ...]:
    used = info.last_used
    return (
        info.name,
        info.id,
        *(",".join(patterns) or "-" for patterns in (info.pub, info.sub, info.deny)),
        ",".join(info.roles) or "-",
        "never" if info.expires is None else _moment(info.expires),
        "-" if used is None else f"{console.age(max(0.0, (now - used).total_seconds()))} ago",
    )


@token_app.command("revoke")
def revoke(name: str, data: DataOption = None, url: UrlOption = None) -> None:
    """End a token and all connections that are open by it, at once."""
    with Client(data, url) as client:
        client.revoke_token(name)
    console.say(f"{name} is revoked")


@token_app.command("rotate")
def rotate(data: DataOption = None, url: UrlOption = None) -> None:
    """Replace the admin token; the old one, its logins and its connections end at once.

    Works without a server, too.
    """
    try:
        with Client(data, url) as client:
            issued = client.rotate_admin_token()
    except NoServer as error:
        if url is not None or error.sent:
            raise
        _rotate_alone(data_folder(data))
    else:
        if url is not None:
            print(issued.token, flush=True)
            print("antiphon: this is the new admin token", file=sys.stderr)
            return
    console.say("the admin token is replaced, the new one is in its file")


def _rotate_alone(path: Path) -> None:
    """Replace it while no server holds the folder."""
    if not path.is_dir():
        raise StartError(f"there is no data folder {path}, so no admin token to replace")
    from antiphon.app.folder import DataFolder
    from antiphon.gateway import make_token

    folder = DataFolder(path)
    folder.acquire()
    try:
        make_token(folder.token)
    finally:
        folder.release()


def _listed(values: Sequence[str] | None) -> list[str]:
    return [part for value in values or () for part in value.split(",") if part]


def _roles(values: Sequence[str] | None) -> list[Role]:
    roles = _listed(values)
    for role in roles:
        if role not in get_args(Role):
            known = ", ".join(get_args(Role))
            raise typer.BadParameter(f"{role!r} is no role: one of {known}", param_hint="--role")
    return cast("list[Role]", roles)


def _seconds(text: str | None) -> float | None:
    from antiphon.bus.units import parse_duration

    return None if text is None else parse_duration(text)


def _moment(time: datetime) -> str:
    return time.astimezone().isoformat(sep=" ", timespec="minutes")
