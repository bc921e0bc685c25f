"""``topics`` and ``topics describe``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from typer.core import TyperGroup

from antiphon.cli import console
from antiphon.cli.find import Client
from antiphon.cli.options import DataOption, JsonOption, PatternsArgument, UrlOption
from antiphon.errors import AntiphonError

HELP = ("--help", "-h")


class ListUnlessTold(TyperGroup):
    """A group whose first argument may be left out: ``topics 'a.*'`` is ``topics list 'a.*'``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put ``list`` before what names no command."""
        if not args or (args[0] not in self.commands and args[0] not in HELP):
            args = ["list", *args]
        return super().parse_args(ctx, args)


topics_app = typer.Typer(cls=ListUnlessTold, help="List the topics in the log, or describe them.")


@topics_app.command("list")
def topics(
    patterns: PatternsArgument = None,
    by_size: Annotated[
        bool, typer.Option("--size", help="The largest first, with their shares of the log.")
    ] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
    url: UrlOption = None,
) -> None:
    """List the topics in the log."""
    with Client(data, url) as client:
        found = client.topics(patterns or [])
    if by_size:
        found.sort(key=lambda topic: (-topic.size_bytes, topic.name))
    if as_json:
        write = console.raw_lines()
        for topic in found:
            write(msgspec.json.encode(topic))
        return
    if by_size:
        whole = sum(topic.size_bytes for topic in found) or 1
        console.print_table(
            ("TOPIC", "EVENTS", "SIZE", "SHARE"),
            [
                (t.name, t.count, console.size(t.size_bytes), f"{t.size_bytes / whole:.1%}")
                for t in found
            ],
        )
        return
    console.print_table(
        ("TOPIC", "EVENTS", "SIZE", "FIRST", "LAST"),
        [(t.name, t.count, console.size(t.size_bytes), t.first_seq, t.last_seq) for t in found],
    )


@topics_app.command()
def describe(
    pattern: Annotated[str, typer.Argument(metavar="PATTERN", help="Such as worker.*.")],
    schema: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="From now on payloads must fit this JSON schema."),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the schema away.")] = False,
    data: DataOption = None,
    url: UrlOption = None,
) -> int:
    """Show, set or remove the JSON schema of a pattern's payloads.

    A publish that doesn't fit is refused; what is stored stays. All patterns
    that match a topic count.
    """
    if schema is not None and remove:
        raise typer.BadParameter("--schema and --remove exclude each other", param_hint="--schema")
    with Client(data, url) as client:
        if schema is not None:
            client.set_schema(pattern, _read(schema))
            console.say(f"payloads for {pattern} must fit {schema} from now on")
        elif remove:
            client.remove_schema(pattern)
            console.say(f"payloads for {pattern} are free again")
        else:
            return _show(pattern, client)
    return 0


def _read(file: Path) -> bytes:
    """A file's JSON.

    Raises:
        AntiphonError: It holds none.
    """
    text = file.read_bytes()
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise AntiphonError(f"{file} is no JSON: {error}") from error
    return text


def _show(pattern: str, client: Client) -> int:
    found = client.schemas()
    if pattern not in found:
        others = f"; these have: {', '.join(sorted(found))}" if found else ""
        console.complain(f"{pattern} has no schema of its own{others}")
        return 1
    console.raw_lines()(msgspec.json.format(msgspec.json.encode(found[pattern]), indent=2))
    return 0
