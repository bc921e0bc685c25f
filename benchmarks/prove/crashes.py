"""Parts of a loaded server killed one by one; and the server killed with a stubborn worker."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.prove import reader
from benchmarks.prove.publishers import Publisher
from benchmarks.prove.server import Served, wait_for
from benchmarks.prove.tail import OpenTail

# Two processes write to one pipe: each line is one write, so that they can't mix.
STUBBORN = """
import os, signal, time
if os.fork() == 0:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.write(1, b"background %d\\n" % os.getpid())
    time.sleep(600)
os.write(1, b"foreground %d\\n" % os.getpid())
time.sleep(600)
"""


def run_actors(kills: int = 20, *, say: Any = print) -> dict[str, Any]:
    """Kill parts of a loaded server; nothing is missing or doubled at a tail left open.

    The parts are the store, the bus, a subscriber actor and the clients' sockets. What
    the subscriber itself handled is checked too: an event in its hands at a kill is a
    dead letter and may be missing there, none comes twice.
    """
    with (
        tempfile.TemporaryDirectory(prefix="antiphon-prove-") as made,
        Served(
            Path(made) / "data",
            *("--actors", f"{reader.__name__}:actors"),
            environment={reader.FILE: str(Path(made) / "handled")},
        ) as served,
    ):
        publishers = [Publisher(f"c{n}", served.url, served.token) for n in range(2)]
        tail = OpenTail(served, "load.*")
        served.run("publish", "load.first", "0")
        wait_for(lambda: tail.seqs, 20, "the tail's first event")
        killed = _kill_while_loaded(served, publishers, kills)
        acknowledged = {id: seq for p in publishers for id, seq in p.acknowledged.items()}
        head = max(acknowledged.values())
        wait_for(lambda: tail.last >= head, 60, "the tail")
        file = Path(made) / "handled"
        wait_for(lambda: reader.handled(file)[-1] >= head, 60, "the subscriber")
        handled = reader.handled(file)
        shown = served.run("actors").stdout
        result = {
            "kills": killed,
            "acknowledged": len(acknowledged),
            "missing": len(acknowledged.keys() - set(tail.ids)),
            "doubled": tail.doubled() + len(tail.ids) - len(set(tail.ids)),
            "subscriber_missing": len(set(tail.seqs) - set(handled)),
            "subscriber_doubled": len(handled) - len(set(handled)),
            "errors": [e for p in publishers for e in p.errors if e.get("op") != "bye"][:3],
            "tree": shown,
        }
        tail.close()
        result["held"] = not (
            result["missing"]
            or result["doubled"]
            or result["errors"]
            or result["subscriber_doubled"]
            or result["subscriber_missing"] > killed.get("reader", 0)
        )
        say({name: value for name, value in result.items() if name != "tree"})
        say(shown)
        return result


def _kill_while_loaded(served: Served, publishers: list[Publisher], kills: int) -> dict[str, int]:
    counts: dict[str, int] = {}

    async def load() -> None:
        stop = asyncio.Event()

        async def publish(publisher: Publisher) -> None:
            while not stop.is_set() or publisher.unknown:
                await publisher.run(stop)

        running = [asyncio.create_task(publish(publisher)) for publisher in publishers]
        for number in range(kills):
            parts = ("log/store", "log/bus", reader.READER.name, None)
            key = parts[number % len(parts)] or await _a_socket(served)
            done = await asyncio.to_thread(served.run, "actors", "kill", key)
            if done.returncode == 0:
                kind = "gateway/sessions/…" if key.startswith("gateway") else key
                counts[kind] = counts.get(kind, 0) + 1
        stop.set()
        await asyncio.gather(*running)

    asyncio.run(load())
    return counts


async def _a_socket(served: Served) -> str:
    """The key of some connection's actor."""
    shown = await asyncio.to_thread(served.run, "actors", "--json")
    keys = [json.loads(line)["key"] for line in shown.stdout.splitlines()]
    return next((key for key in keys if key.startswith("gateway/sessions/")), "gateway/sessions")


def run_stubborn(*, say: Any = print) -> dict[str, Any]:
    """``kill -9`` of a server whose worker has a background child that ignores HUP and TERM."""
    with (
        tempfile.TemporaryDirectory(prefix="antiphon-prove-") as made,
        Served(Path(made) / "data") as served,
    ):
        served.run("run", "-d", "--name", "stubborn", "--", sys.executable, "-c", STUBBORN)

        def pids() -> list[int]:
            lines = [
                line
                for event in served.events("worker.stubborn.progress")
                for line in event["payload"]["lines"]
            ]
            return [int(line.split()[1]) for line in lines]

        found = wait_for(lambda: pids() if len(pids()) == 2 else None, 20, "the worker's lines")
        session = os.getsid(found[0])
        served.kill()
        killed = time.monotonic()
        wait_for(lambda: not _members(session), 10, "the end of the session")
        gone_s = time.monotonic() - killed
        served.start()
        ends = wait_for(
            lambda: served.events("worker.stubborn.failed"), 20, "the worker's end in the log"
        )
        result = {
            "processes": len(found),
            "gone_s": round(gone_s, 2),
            "ends": [event["payload"] for event in ends],
        }
        result["held"] = gone_s <= 6 and len(ends) == 1
        say(result)
        return result


def _members(session: int) -> list[int]:
    """The living processes of a session."""
    members = []
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == session and psutil.Process(pid).status() != "zombie":
                members.append(pid)
        except (ProcessLookupError, PermissionError, psutil.Error):
            continue
    return members
