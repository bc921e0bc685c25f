"""``bench``: how fast it is on this machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from antiphon.cli import console
from antiphon.cli.options import JsonOption

bench_app = typer.Typer(no_args_is_help=True, help="Measure this machine.")


@bench_app.callback()
def bench() -> None:
    """Measure this machine."""


@bench_app.command()
def bus(
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of the workload.")] = False,
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A folder on the disk to be measured.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the bus: 100 subscribers, every event on disk first."""
    from antiphon.cli.bench import bench_bus

    figures = bench_bus(quick=quick, folder=folder, progress=_progress)
    if as_json:
        console.say(json.dumps(figures))
        return
    for name, value in figures.items():
        shown = json.dumps(value) if isinstance(value, dict) else value
        console.say(f"{name:<32}{shown}")


def _progress(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
