"""``make prove``: every long proof at its full count; the report is written, not typed."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.prove import (
    abuse,
    chaos,
    crashes,
    kills,
    losses,
    machines,
    paused,
    seeds,
    soak,
    workspace,
)

REPORT = Path("docs/proof.md")

PROOFS: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "seeds": ("The runtime's tests under 50 seeds of interleaving", seeds.run),
    "machines": ("Random lives of actors and supervisors, 20,000 each", machines.run),
    "workspace": (
        "A tree of 1,000 files copied in, saved, appended to, deleted: the fold is the disk",
        workspace.run,
    ),
    "worker": ("`antiphon run` shows every line; `yes` fills nothing", workspace.run_this),
    "kills": (
        "`kill -9` of the server under full load, 20 times, with a tail and a page open",
        lambda: kills.run(20),
    ),
    "crashes": (
        "`kill -9` of a process that writes to its log, at chosen and at random points, 200 times",
        losses.run_crashes,
    ),
    "power": (
        "100 power cuts: all, some or the tail of what was not synced is gone",
        losses.run_power,
    ),
    "actors": ("Store, bus, a subscriber actor and sockets killed under load", crashes.run_actors),
    "paused": (
        "100 subscribers stand still for 10 s at 10,000 events a second, then catch up",
        paused.run,
    ),
    "soak": (
        "Five minutes at 10,000 events a second in a bounded log; a reader and a durable stall",
        soak.run,
    ),
    "chaos": (
        "Ten minutes of kills, cuts, frozen networks, revoked tokens: each has what it may see",
        chaos.run,
    ),
    "abuse": (
        "5,000 idle and 5,000 opening connections, 100,000 subscriptions, a million topics",
        abuse.run,
    ),
    "stubborn": ("`kill -9` of a server with a stubborn worker", crashes.run_stubborn),
}


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


def _section(title: str, commit: str, seconds: float, result: dict[str, Any]) -> str:
    held = "held" if result["held"] else "**DID NOT HOLD**"
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    lines = [f"## {title}", "", f"{held}, in {seconds:.0f} s, {when}, commit {commit}", ""]
    for name, value in result.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            lines += ["", *_table(value)]
        elif name != "held":
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            fence = "\n" in shown
            lines += (
                [f"{name}:", "", "```text", shown.rstrip(), "```", ""]
                if fence
                else [f"- {name}: {shown}"]
            )
    return "\n".join([*lines, ""])


def _write(report: Path, sections: dict[str, str]) -> None:
    """Put these sections into the report; those of other proofs stay as they were."""
    known = {}
    if report.exists():
        for part in report.read_text("utf-8").split("\n## ")[1:]:
            known[part.partition("\n")[0]] = f"## {part.rstrip()}\n"
    known |= sections
    made = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    head = f"# Proofs\n\nWritten by `make prove`, {made}; each with its own time and commit.\n"
    body = [known[title] for title, _ in PROOFS.values() if title in known]
    report.write_text("\n".join([head, *body]), encoding="utf-8")


def _table(rows: list[dict[str, Any]]) -> list[str]:
    names = list(rows[0])
    lines = ["| " + " | ".join(name.replace("_", " ") for name in names) + " |"]
    lines.append("| " + " | ".join("---" for _ in names) + " |")
    lines += ["| " + " | ".join(str(row[name]) for name in names) + " |" for row in rows]
    return [*lines, ""]


def main() -> int:
    """Run the proofs named, or all; 1 if any did not hold."""
    parser = argparse.ArgumentParser(prog="benchmarks.prove", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PROOFS)}")
    parser.add_argument("--report", type=Path, default=REPORT, help="where the report goes")
    options = parser.parse_args()
    unknown = set(options.names) - set(PROOFS)
    if unknown:
        parser.error(f"no such proof: {', '.join(sorted(unknown))}")
    held = True
    for name in options.names or PROOFS:
        title, run = PROOFS[name]
        print(f"== {title}", file=sys.stderr, flush=True)
        commit, started = _commit(), time.monotonic()
        result = run()
        held &= bool(result["held"])
        _write(options.report, {title: _section(title, commit, time.monotonic() - started, result)})
    print(f"{options.report}: {'everything held' if held else 'NOT everything held'}")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
