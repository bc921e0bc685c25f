"""All commands, by groups; each is in the module of its subject."""

from __future__ import annotations

from typing import Annotated

import typer

from antiphon.cli import archive, events, keeping, server, watching, workers
from antiphon.cli.actors import actors_app
from antiphon.cli.benching import bench_app
from antiphon.cli.doctor import doctor
from antiphon.cli.subscriptions import subscriptions_app
from antiphon.cli.tokens import token_app
from antiphon.cli.topics import topics_app

EVENTS, WORKERS, SERVER = "Events", "Workers", "Server"

app = typer.Typer(
    name="antiphon",
    help="A supervised actor runtime with a durable event bus.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"antiphon {version('antiphon')}")
        except PackageNotFoundError:
            typer.echo("antiphon, from a folder of sources that was not installed")
        raise typer.Exit


@app.callback()
def antiphon(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print it and exit."),
    ] = False,
) -> None:
    """A supervised actor runtime with a durable event bus."""


app.command(rich_help_panel=SERVER)(server.serve)
app.command(rich_help_panel=EVENTS)(events.publish)
app.command(rich_help_panel=EVENTS)(events.tail)
app.command(rich_help_panel=EVENTS)(events.query)
app.add_typer(topics_app, name="topics", rich_help_panel=EVENTS)
app.add_typer(subscriptions_app, name="subscriptions", rich_help_panel=EVENTS)
app.command(rich_help_panel=EVENTS)(keeping.retention)
app.command(rich_help_panel=EVENTS)(keeping.forget)
app.command(rich_help_panel=EVENTS)(watching.watch)
app.command(rich_help_panel=EVENTS)(archive.export)
app.command("import", rich_help_panel=EVENTS)(archive.import_)
app.command(
    rich_help_panel=WORKERS,
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
)(workers.run)
app.command(rich_help_panel=WORKERS)(workers.ps)
app.command(rich_help_panel=WORKERS)(workers.logs)
app.command(rich_help_panel=WORKERS)(workers.stop)
app.add_typer(actors_app, name="actors", rich_help_panel=SERVER)
app.add_typer(token_app, name="token", rich_help_panel=SERVER)
app.command(rich_help_panel=SERVER)(server.status)
app.command(rich_help_panel=SERVER)(server.shutdown)
app.command(rich_help_panel=SERVER)(server.config)
app.command(rich_help_panel=SERVER)(doctor)
app.command(rich_help_panel=SERVER)(archive.backup)
app.add_typer(bench_app, name="bench", rich_help_panel=SERVER)
