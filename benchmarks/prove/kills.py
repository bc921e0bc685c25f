"""``kill -9`` of the server while clients publish at full rate, again and again.

After each kill the server is started on the same port, and the clients repeat
what was not acknowledged. A ``tail`` and a browser page stay open throughout; the
seconds until they are live again count from the start of the new server's process
to the moment when they show an event that was published after it.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.prove.page import OpenPage
from benchmarks.prove.publishers import CLIENTS, Publisher
from benchmarks.prove.server import Served, wait_for
from benchmarks.prove.tail import OpenTail

UNACKNOWLEDGED = 1000
LIVE_S = 60.0
VIOLATIONS = (
    "lost",
    "doubled",
    "moved",
    "still_unknown",
    "tail_missing",
    "tail_doubled",
    "page_missing",
    "page_doubled",
)


async def _load(publishers: list[Publisher], served: Served, seconds: float) -> None:
    """Publish for *seconds*, then kill the server under full load."""
    never = asyncio.Event()
    running = [asyncio.create_task(publisher.run(never)) for publisher in publishers]
    await asyncio.sleep(seconds)
    flying = 0
    while flying < UNACKNOWLEDGED:
        await asyncio.sleep(0)
        flying = sum(p.in_flight for p in publishers)
    await asyncio.to_thread(served.kill)
    await asyncio.gather(*running)


async def _repeat(publishers: list[Publisher]) -> None:
    """Repeat what is unknown, and nothing else."""
    stop = asyncio.Event()
    stop.set()
    await asyncio.gather(*(publisher.run(stop) for publisher in publishers))


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run *work* in a loop of its own: the browser's driver has one in this thread."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


def _live_again(
    served: Served, since: float, tail: OpenTail, page: OpenPage | None
) -> tuple[float, float | None]:
    """Publish one event; seconds from *since* until tail and page, left open, show it."""
    seq = served.publish("load.probe")
    waiting: dict[str, Callable[[], bool]] = {"tail": lambda: tail.last >= seq}
    if page is not None:
        waiting["page"] = lambda: page.last_seq() >= seq
    live: dict[str, float] = {}

    def all_live() -> bool:
        for name, shows in waiting.items():
            if name not in live and shows():
                live[name] = time.monotonic() - since
        return len(live) == len(waiting)

    wait_for(all_live, LIVE_S, "tail and page")
    return live["tail"], live.get("page")


def _shown(head: int, tail: OpenTail, page: OpenPage | None) -> None:
    """Wait until tail and page have come to *head*."""
    wait_for(lambda: tail.last >= head, LIVE_S, "the tail")
    if page is not None:
        wait_for(lambda: page.last_seq() >= head, LIVE_S, "the page")


def _stored(served: Served) -> dict[str, list[int]]:
    """The seqs under which each id is in the log."""
    found: dict[str, list[int]] = {}
    for event in served.events("load.*"):
        found.setdefault(event["id"], []).append(event["seq"])
    return found


def run(rounds: int, *, seed: int = 1, browser: bool = True, say: Any = print) -> dict[str, Any]:
    """Run *rounds* kills; the figures of each, and whether all held."""
    dice = random.Random(seed)
    lines: list[dict[str, Any]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="antiphon-prove-")))
        served = stack.enter_context(Served(folder / "data"))
        publishers = [Publisher(f"c{n}", served.url, served.token) for n in range(CLIENTS)]
        tail = OpenTail(served, "load.*")
        stack.callback(tail.close)
        served.run("publish", "load.first", "0")
        wait_for(lambda: tail.seqs, 20, "the tail's first event")
        page = stack.enter_context(OpenPage(served, "load.*")) if browser else None
        for number in range(1, rounds + 1):
            _run(_load(publishers, served, dice.uniform(0.3, 1.2)))
            before = {id for p in publishers for id in p.acknowledged}
            unknown = {event["id"] for p in publishers for event in p.unknown}
            back = time.monotonic()
            start_s = served.start()
            tail_s, page_s = _live_again(served, back, tail, page)
            stored = _stored(served)
            _run(_repeat(publishers))
            head = max(seq for p in publishers for seq in p.acknowledged.values())
            _shown(head, tail, page)
            after = _stored(served)
            line = {
                "round": number,
                "acknowledged": len(before),
                "unknown": len(unknown),
                "found": len(unknown & stored.keys()),
                "lost": len(before - stored.keys()),
                "doubled": sum(len(seqs) > 1 for seqs in after.values()),
                "moved": sum(
                    after.get(id) != [seq] for p in publishers for id, seq in p.acknowledged.items()
                ),
                "still_unknown": sum(len(p.unknown) for p in publishers),
                "start_s": round(start_s, 2),
                "tail_live_s": round(tail_s, 2),
                "tail_missing": len(after.keys() - set(tail.ids)),
                "tail_doubled": tail.doubled(),
                "page_live_s": None if page_s is None else round(page_s, 2),
                "page_missing": 0 if page is None else page.missing(s[0] for s in after.values()),
                "page_doubled": 0 if page is None else page.doubled(),
            }
            lines.append(line)
            say(line)
        errors = [error for p in publishers for error in p.errors]
    total = Counter[str]()
    for line in lines:
        for name in VIOLATIONS:
            total[name] += line[name]
        total["too_few_unknown"] += line["unknown"] < UNACKNOWLEDGED
    held = not errors and not sum(total.values())
    return {"rounds": lines, "violations": dict(total), "errors": errors[:5], "held": held}
