"""A user's own actors inside the server: ``serve --actors MODULE:FUNCTION``.

The function is called with the running ``Core`` (what ``antiphon.open()`` gives) and
returns the children to be supervised under ``user``, or a ``Supervisor`` of them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias, cast

from antiphon.actors import Child, Supervisor
from antiphon.app.core import Core
from antiphon.errors import StartError, cut

Program: TypeAlias = Callable[[Core], Supervisor | Iterable[Child[Any]]]


def find_program(name: str) -> Program:
    """Import the function that *name* (``MODULE:FUNCTION``) says, from the present folder too.

    Raises:
        StartError: There is none, or importing it raised.
    """
    module, colon, function = name.partition(":")
    if not (module and colon and function):
        raise StartError(f"actors are given as MODULE:FUNCTION, got {cut(name)}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = getattr(importlib.import_module(module), function)
    except Exception as error:
        raise StartError(f"cannot load the actors {name}: {error}") from error
    if not callable(found):
        raise StartError(f"cannot load the actors {name}: {function} is no function")
    return cast(Program, found)


async def start_program(name: str, program: Program, running: Core) -> None:
    """Start its actors, supervised.

    Raises:
        StartError: The function raised, or gave something else.
        SpawnFailed, NameTaken: As ``ActorSystem.supervise``.
    """
    try:
        made = program(running)
        supervisor = made if isinstance(made, Supervisor) else Supervisor(list(made))
    except Exception as error:
        raise StartError(f"cannot start the actors {name}: {error}") from error
    await running.system.supervise(supervisor)
