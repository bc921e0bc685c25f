"""Decisions of a pool, pure: which worker a job is for, and which job is its next.

``jobs.py`` performs them. Keys go to workers by jump consistent hashing (Lamping and
Veach 2014): when n workers become n + 1, one key in n + 1 moves, and only to the new one.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from hashlib import blake2b
from typing import Any, Generic, TypeAlias, TypeVar

T = TypeVar("T")
JobKey: TypeAlias = str | bytes | int

_MULTIPLIER = 2862933555777941757
_64_BITS = (1 << 64) - 1


class Routing(StrEnum):
    """Which worker of a pool a job is for."""

    BY_KEY = "by_key"
    LEAST_LOADED = "least_loaded"
    ROUND_ROBIN = "round_robin"

    def lane(self, mark: int, size: int) -> int:
        """The lane, below *size*, that a job with *mark* waits in.

        Each worker has its own, but for LEAST_LOADED, where the one lane is for whoever
        is free first: nobody is less loaded.
        """
        if self is Routing.BY_KEY:
            return jump(mark, size)
        return mark % size if self is Routing.ROUND_ROBIN else 0

    def lane_of(self, worker: int) -> int:
        """The lane that *worker* takes its jobs from."""
        return 0 if self is Routing.LEAST_LOADED else worker


def stable_hash(key: JobKey) -> int:
    """64 bits of *key*: the same in every process, and for equal keys.

    Raises:
        TypeError: It is no str, bytes or int.
    """
    if isinstance(key, str):
        data = b"s" + key.encode("utf-8", "surrogatepass")
    elif isinstance(key, bytes):
        data = b"b" + key
    elif isinstance(key, int):
        data = b"i%d" % key
    else:
        raise TypeError(f"a job's key is a str, bytes or an int, got {type(key).__name__}")
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


def jump(mark: int, size: int) -> int:
    """The bucket of *mark* (64 bits) among *size*."""
    bucket, following = 0, 0
    while following < size:
        bucket = following
        mark = (mark * _MULTIPLIER + 1) & _64_BITS
        following = int((bucket + 1) * ((1 << 31) / ((mark >> 33) + 1)))
    return bucket


class Lanes(Generic[T]):
    """Jobs that wait, in lanes; in each, first come, first served.

    Args:
        key: Of a message, for BY_KEY; must say the same each time.
        size: How many workers there are.

    Raises:
        ValueError: A key function without BY_KEY, or the reverse.
    """

    def __init__(
        self, routing: Routing, size: int, key: Callable[[Any], JobKey] | None = None
    ) -> None:
        if (key is None) is (routing is Routing.BY_KEY):
            raise ValueError(f"a key function goes with by_key and only there, got {routing}")
        self.routing = routing
        self._key = key
        self._lanes: list[deque[tuple[int, int, T]]] = [deque() for _ in range(size)]
        self._numbers = itertools.count()
        self._turns = itertools.count()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def is_shared(self) -> bool:
        """There is one lane, for all workers."""
        return self.routing is Routing.LEAST_LOADED

    def check(self, message: object) -> None:
        """Raise what ``mark`` would for *message*."""
        if self._key is not None:
            stable_hash(self._key(message))

    def mark(self, message: object) -> int:
        """What decides, with the size, which lane *message* goes to."""
        return next(self._turns) if self._key is None else stable_hash(self._key(message))

    def put(self, job: T, mark: int) -> int:
        """Let *job* wait; in which lane."""
        lane = self.routing.lane(mark, len(self._lanes))
        self._lanes[lane].append((next(self._numbers), mark, job))
        self._length += 1
        return lane

    def has_job(self, worker: int) -> bool:
        """Tell whether something waits for *worker*."""
        return bool(self._lanes[self.routing.lane_of(worker)])

    def take(self, worker: int) -> T:
        """Give *worker* its next job. There must be one."""
        self._length -= 1
        return self._lanes[self.routing.lane_of(worker)].popleft()[2]

    def take_oldest(self) -> T:
        """Give out the job that has waited longest. There must be one."""
        self._length -= 1
        oldest = min((lane for lane in self._lanes if lane), key=lambda lane: lane[0][0])
        return oldest.popleft()[2]

    def resize(self, size: int) -> None:
        """Distribute what waits among *size* workers, in the order of its coming."""
        waiting = sorted(entry for lane in self._lanes for entry in lane)
        self._lanes = [deque() for _ in range(size)]
        for entry in waiting:
            self._lanes[self.routing.lane(entry[1], size)].append(entry)
