"""Appends batches to the log named on the command line, until it is killed.

Prints the head it found, then the last seq of each batch once it is stored.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from antiphon.bus.store import Row
from antiphon.stores import SqliteEventStore


def main(path: str, seed: str) -> None:
    chance = random.Random(int(seed))
    store = SqliteEventStore(Path(path))
    head = store.open().head
    print(head, flush=True)
    while True:
        batch = [
            Row(seq, f"t{seq % 7}", f"id-{seq}" if seq % 3 else None, b'{"seq":%d}' % seq)
            for seq in range(head + 1, head + 1 + chance.randint(1, 60))
        ]
        store.append(batch, 1_790_000_000_000_000 + batch[-1].seq)
        head = batch[-1].seq
        print(head, flush=True)
        store.tend(idle=chance.random() < 0.1)


if __name__ == "__main__":
    main(*sys.argv[1:])
