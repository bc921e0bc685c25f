"""``actors`` and ``actors kill``."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from antiphon.cli import console
from antiphon.cli.find import Client
from antiphon.cli.options import DataOption, JsonOption, UrlOption
from antiphon.messages import ActorInfo

actors_app = typer.Typer(
    invoke_without_command=True, no_args_is_help=False, help="Show the actors, as a tree."
)


@actors_app.callback()
def show(
    context: typer.Context,
    as_json: JsonOption = False,
    data: DataOption = None,
    url: UrlOption = None,
) -> None:
    """Show the actors, as a tree."""
    if context.invoked_subcommand is not None:
        context.obj = (data, url)
        return
    with Client(data, url) as client:
        found = client.actors()
    if as_json:
        write = console.raw_lines()
        for actor in found:
            write(msgspec.json.encode(actor))
        return
    headers = ("ACTOR", "STATE", "GEN", "RESTARTS", "WAITING", "HANDLED", "FAILED", "AGE", "NOW")
    console.print_table(headers, [_row(actor) for actor in in_tree_order(found)])


@actors_app.command()
def kill(
    context: typer.Context,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Its path, such as log/store.")],
    data: DataOption = None,
    url: UrlOption = None,
) -> None:
    """Let an actor crash; its supervisor decides what follows."""
    outer_data, outer_url = context.obj or (None, None)
    with Client(data or outer_data, url or outer_url) as client:
        client.kill(key)
    console.say(f"killed {console.clean(key)}")


def in_tree_order(actors: list[ActorInfo]) -> list[ActorInfo]:
    """Sort so that every actor follows its parent, siblings in the order they came."""
    children: dict[str | None, list[ActorInfo]] = {}
    known = {actor.key for actor in actors}
    for actor in actors:
        # The root is nobody's child; neither is one whose parent has gone meanwhile.
        rooted = actor.parent is None or actor.parent not in known or actor.parent == actor.key
        children.setdefault(None if rooted else actor.parent, []).append(actor)
    ordered: list[ActorInfo] = []
    waiting = children.get(None, [])[::-1]
    while waiting:
        actor = waiting.pop()
        ordered.append(actor)
        waiting.extend(children.get(actor.key, [])[::-1])
    return ordered


def _row(actor: ActorInfo) -> tuple[object, ...]:
    return (
        "  " * actor.key.count("/") + actor.key.rpartition("/")[2],
        actor.state,
        actor.generation,
        actor.restarts,
        f"{actor.depth}/{actor.capacity}",
        actor.processed,
        actor.failed,
        console.age(actor.age_s),
        actor.current or "",
    )
