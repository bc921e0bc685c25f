"""``bench``: how fast it is on this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from antiphon.cli import console
from antiphon.cli.options import JsonOption

bench_app = typer.Typer(no_args_is_help=True, help="Measure this machine.")


@bench_app.callback()
def bench() -> None:
    """Measure this machine."""


QuickOption: TypeAlias = Annotated[bool, typer.Option("--quick", help="A tenth of the workload.")]
FolderOption: TypeAlias = Annotated[
    Path | None, typer.Option("--dir", metavar="DIR", help="A folder on the disk to be measured.")
]


@bench_app.command()
def bus(
    quick: QuickOption = False, folder: FolderOption = None, as_json: JsonOption = False
) -> None:
    """Measure the bus: 100 subscribers, every event on disk first."""
    from antiphon.cli.bench_bus import bench_bus

    _show(bench_bus(quick=quick, folder=folder, progress=_progress), as_json, _show_lines)


@bench_app.command()
def store(
    quick: QuickOption = False, folder: FolderOption = None, as_json: JsonOption = False
) -> None:
    """Measure the log's file alone, beside plain SQLite."""
    from antiphon.cli.bench_store import bench_store

    _show(bench_store(quick=quick, folder=folder, progress=_progress), as_json, _show_lines)


@bench_app.command()
def replay(
    quick: QuickOption = False, folder: FolderOption = None, as_json: JsonOption = False
) -> None:
    """Measure reading a long log back; fills about 2 GiB of disk, and gives them back."""
    from antiphon.cli.bench_replay import bench_replay

    _show(bench_replay(quick=quick, folder=folder, progress=_progress), as_json, _show_lines)


@bench_app.command()
def gateway(
    quick: QuickOption = False, folder: FolderOption = None, as_json: JsonOption = False
) -> None:
    """Measure a server with 100 sockets, beside a plain one; six minutes."""
    from antiphon.cli.bench_gateway import bench_gateway

    _show(bench_gateway(quick=quick, folder=folder, progress=_progress), as_json, _show_lines)


def _show(
    figures: dict[str, Any], as_json: bool, for_people: Callable[[dict[str, Any]], None]
) -> None:
    if as_json:
        console.say(json.dumps(figures))
    else:
        for_people(figures)


def _show_lines(figures: dict[str, Any]) -> None:
    width = max(map(len, figures)) + 2
    for name, value in figures.items():
        shown = json.dumps(value) if isinstance(value, dict) else value
        console.say(f"{name:<{width}}{shown}")


@bench_app.command()
def actors(
    quick: QuickOption = False,
    asyncio_loop: Annotated[
        bool, typer.Option("--asyncio", help="On asyncio's own loop, not on the server's.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure actors, beside plain Python and the actor libraries that are installed."""
    from antiphon.cli.bench_actors import bench_actors

    figures = bench_actors(quick=quick, asyncio_loop=asyncio_loop, progress=_progress)
    _show(figures, as_json, _show_actors)


def _show_actors(figures: dict[str, Any]) -> None:
    """Who passes how many messages, then everything else."""
    passing = {
        "antiphon": (figures.pop("casts_per_s"), figures.pop("calls_per_s")),
        "plain Python": (figures.pop("plain_casts_per_s"), figures.pop("plain_calls_per_s")),
        "asyncio.Queue": (figures.pop("asyncio_queue_per_s"), None),
    }
    for name, peer in figures.pop("peers").items():
        passing[name] = (peer["casts_per_s"], peer["calls_per_s"])
    console.print_table(
        ("", "casts/s", "calls/s"),
        [(name, *map(_thousands, rates)) for name, rates in passing.items()],
    )
    console.say("")
    if figures.pop("quick"):
        console.say("quick: a tenth of the workload, less exact")
    for name, value in figures.items():
        console.say(f"{name:<32}{_thousands(value) if isinstance(value, int) else value}")


def _thousands(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


def _progress(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
