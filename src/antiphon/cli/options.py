"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

DataOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="The data folder; default: ANTIPHON_DATA, else the platform's.",
    ),
]
UrlOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="ANTIPHON_URL",
        metavar="URL",
        help="A server elsewhere; ANTIPHON_TOKEN holds its token.",
    ),
]
JsonOption: TypeAlias = Annotated[
    bool, typer.Option("--json", help="One JSON object a line, as on the wire.")
]
LimitOption: TypeAlias = Annotated[
    int | None, typer.Option("--limit", min=1, metavar="N", help="Stop after so many events.")
]
PatternsArgument: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(metavar="[PATTERN]...", help="Such as worker.*; default: all but _sys.*."),
]
