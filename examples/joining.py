"""Code that knows nothing of actors: threads publish and read, and the program's logs are events.

Run it: ``python examples/joining.py``
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import antiphon
from antiphon.bridges.logging import BusHandler, publishing_logs
from antiphon.bridges.threads import ThreadBus

THREADS = 4
EACH = 100

logger = logging.getLogger("shop.orders")


def sell(bus: ThreadBus, number: int) -> None:
    """Publish in a plain thread, without waiting for each answer, and log what was done."""
    answers = [bus.publish_soon(f"sold.by{number}", n) for n in range(EACH)]
    last = max(answer.result(10).seq or 0 for answer in answers)
    logger.info("seller %d is done", number, extra={"last_seq": last})


def count(bus: ThreadBus) -> int:
    """Read in a plain thread, from the beginning."""
    with bus.events("sold.*", start="earliest", timeout=10) as events:
        return sum(1 for _ in islice(events, THREADS * EACH))


async def main() -> None:
    """Let four threads sell, one count, and read their logs back."""
    handler = BusHandler(logging.INFO)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        async with antiphon.open(folder) as app:
            with publishing_logs(app.bus), ThreadBus(app.bus) as bus:
                loop = asyncio.get_running_loop()
                with ThreadPoolExecutor(THREADS + 1) as pool:
                    counting = loop.run_in_executor(pool, count, bus)
                    await asyncio.gather(
                        *(loop.run_in_executor(pool, sell, bus, n) for n in range(THREADS))
                    )
                    print(await counting, "events counted in a thread")
            async with app.bus.events("log.*", start="earliest") as events:
                said = sorted([(await anext(events)).payload["message"] for _ in range(THREADS)])
    print(*said, sep="\n")


if __name__ == "__main__":
    asyncio.run(main())
