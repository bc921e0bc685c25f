"""Twenty thousand random lives of actors, and as many of supervisors, by hypothesis."""

from __future__ import annotations

import logging
from typing import Any

from tests.actors.machines import Families, Lives, Machine, explore, shares

EXAMPLES = 20_000
RARE = 1.0


def run(examples: int = EXAMPLES, *, say: Any = print) -> dict[str, Any]:
    """Run both machines; how often each rule and change ran, in percent."""
    logging.getLogger("antiphon.actors").setLevel(logging.CRITICAL)  # the crashes are meant
    result: dict[str, Any] = {"examples_each": examples}
    held = True
    for machine in (Lives, Families):
        failure = _run(machine, examples)
        rules, changes = shares(machine.ran), shares(machine.changes)
        least = min([*rules.values(), *changes.values()])
        name = machine.__name__.lower()
        result |= {
            f"{name}_steps": machine.ran.total(),
            f"{name}_rules_percent": rules,
            f"{name}_changes_percent": changes,
            f"{name}_failure": failure,
        }
        held = held and failure is None and least >= RARE
        say({key: value for key, value in result.items() if key.startswith(name)})
    return {**result, "held": held}


def _run(machine: type[Machine], examples: int) -> str | None:
    try:
        explore(machine, examples)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return None
