"""``actors`` and ``actors kill``."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from antiphon.cli import console
from antiphon.cli.find import Client
from antiphon.cli.options import DataOption, JsonOption, UrlOption
from antiphon.client.endpoint import NoServer
from antiphon.messages import ActorInfo

HEADERS = ("ACTOR", "STATE", "GEN", "RESTARTS", "WAITING", "HANDLED", "FAILED", "AGE", "NOW")
EVERY_S = 1.0

actors_app = typer.Typer(
    invoke_without_command=True, no_args_is_help=False, help="Show the actors, as a tree."
)


@actors_app.callback()
def show(
    context: typer.Context,
    watching: Annotated[
        bool, typer.Option("--watch", "-w", help="Show them anew every second, until Ctrl-C.")
    ] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
    url: UrlOption = None,
) -> None:
    """Show the actors, as a tree."""
    if context.invoked_subcommand is not None:
        context.obj = (data, url)
        return
    if watching and as_json:
        raise typer.BadParameter("--watch and --json exclude each other", param_hint="--watch")
    with Client(data, url) as client:
        found = client.actors()
    if watching:
        watch(found, data, url)
        return
    if as_json:
        write = console.raw_lines()
        for actor in found:
            write(msgspec.json.encode(actor))
        return
    console.print_table(HEADERS, _rows(found))


def watch(found: list[ActorInfo], data: Path | None, url: str | None) -> None:
    """Show the tree again and again; a server that goes away is waited for."""
    with contextlib.suppress(KeyboardInterrupt):
        if sys.stdout.isatty():
            console.redraw(())
        lines = console.table_lines(HEADERS, _rows(found))
        while True:
            console.redraw(lines)
            time.sleep(EVERY_S)
            try:
                with Client(data, url) as client:
                    lines = console.table_lines(HEADERS, _rows(client.actors()))
            except NoServer as error:
                lines = [console.clean(f"waiting: {error}")]


@actors_app.command()
def kill(
    context: typer.Context,
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="As the list shows it, such as log/store.")
    ],
    data: DataOption = None,
    url: UrlOption = None,
) -> None:
    """Let an actor crash; its supervisor decides what follows."""
    outer_data, outer_url = context.obj or (None, None)
    with Client(data or outer_data, url or outer_url) as client:
        client.kill(key)
    console.say(f"killed {console.clean(key)}")


def as_tree(actors: list[ActorInfo]) -> list[tuple[ActorInfo, int]]:
    """Every actor after its parent, siblings in the order they came, with its level below root."""
    children: dict[str | None, list[ActorInfo]] = {}
    known = {actor.key for actor in actors}
    for actor in actors:
        # The root is nobody's child; neither is one whose parent has gone meanwhile.
        rooted = actor.parent is None or actor.parent not in known or actor.parent == actor.key
        children.setdefault(None if rooted else actor.parent, []).append(actor)
    ordered: list[tuple[ActorInfo, int]] = []
    waiting = [(actor, 0) for actor in reversed(children.get(None, []))]
    while waiting:
        actor, level = waiting.pop()
        ordered.append((actor, level))
        waiting.extend((child, level + 1) for child in reversed(children.get(actor.key, [])))
    return ordered


def _rows(actors: list[ActorInfo]) -> list[tuple[object, ...]]:
    return [_row(actor, level) for actor, level in as_tree(actors)]


def _row(actor: ActorInfo, level: int) -> tuple[object, ...]:
    return (
        "  " * level + actor.key,
        actor.state,
        actor.generation,
        actor.restarts,
        f"{actor.depth}/{actor.capacity}",
        actor.processed,
        actor.failed,
        console.age(actor.age_s),
        actor.current or "",
    )
