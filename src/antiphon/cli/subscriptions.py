"""``subscriptions``, ``subscriptions drop`` and ``subscriptions resume``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from antiphon.cli import console
from antiphon.cli.find import Client
from antiphon.cli.options import DataOption, JsonOption, UrlOption
from antiphon.messages import DurableInfo, SubscriptionInfo

DURABLE = ("NAME", "PATTERNS", "STATE", "LAG", "WAITING", "IN HAND", "PARKED", "LOST", "HOLDERS")
OPEN = ("CONNECTION", "SID", "OWNER", "PATTERNS", "LAG", "WINDOW", "UNACKED", "DURABLE")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Of a durable subscription.")]

subscriptions_app = typer.Typer(
    invoke_without_command=True,
    no_args_is_help=False,
    help="Show who follows what, and how far behind; end or resume a durable subscription.",
)


@subscriptions_app.callback()
def show(
    context: typer.Context,
    as_json: JsonOption = False,
    data: DataOption = None,
    url: UrlOption = None,
) -> None:
    """Show the durable subscriptions, then those that clients have open.

    LAG counts the events of all topics between a subscription's position and
    the end of the log.
    """
    if context.invoked_subcommand is not None:
        context.obj = (data, url)
        return
    with Client(data, url) as client:
        durables, found = client.durables(), client.subscriptions()
    if as_json:
        write = console.raw_lines()
        for one in (*durables, *found):
            write(msgspec.json.encode(one))
        return
    console.print_table(DURABLE, [_durable(one) for one in durables])
    console.say("")
    console.print_table(OPEN, [_open(one) for one in found])
    for one in durables:
        if one.reason is not None:
            console.complain(
                f"{one.name} stands still: {one.reason}; antiphon subscriptions resume {one.name}"
            )


def _durable(one: DurableInfo) -> tuple[object, ...]:
    return (
        one.name,
        " ".join(one.patterns),
        one.state,
        one.lag,
        one.waiting,
        one.in_hand,
        one.parked,
        one.lost,
        " ".join(one.holders) or "-",
    )


def _open(one: SubscriptionInfo) -> tuple[object, ...]:
    return (
        one.conn,
        one.sid,
        one.owner,
        " ".join(one.patterns),
        one.lag,
        "-" if one.window is None else one.window,
        one.unacked,
        one.durable or "-",
    )


def _client(context: typer.Context, data: Path | None, url: str | None) -> Client:
    """Options count before the command's name, too."""
    outer_data, outer_url = context.obj or (None, None)
    return Client(data or outer_data, url or outer_url)


@subscriptions_app.command()
def drop(
    context: typer.Context, name: NameArgument, data: DataOption = None, url: UrlOption = None
) -> None:
    """Forget a durable subscription or a group for good: its place, and what it had not done."""
    with _client(context, data, url) as client:
        client.drop_durable(name)
    console.say(f"{name} is forgotten")


@subscriptions_app.command()
def resume(
    context: typer.Context,
    name: NameArgument,
    skip: Annotated[
        bool, typer.Option("--skip", help="Go on after the event that failed.")
    ] = False,
    data: DataOption = None,
    url: UrlOption = None,
) -> None:
    """Let a durable subscription go on that stopped at an event which failed too often."""
    with _client(context, data, url) as client:
        done = client.resume_durable(name, skip=skip)
    console.say(f"{name} goes on" if done else f"{name} had not stopped")
