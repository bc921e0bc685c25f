"""Following a tail to its end: a count, Ctrl-C or a closed pipe; the position is then known.

The position is of what was written, event by event, so that going on from it
repeats and skips nothing.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

from antiphon.cli.console import complain, describe
from antiphon.cli.show import seq_of
from antiphon.client.tail import Item, Tail, TailNotice
from antiphon.errors import AntiphonError
from antiphon.ids import Cursor

QUIET = ("live",)
"""Notices that a person needn't read."""


class Interrupts:
    """Ctrl-C and SIGTERM: at once while waiting, else after the line being written."""

    def __init__(self) -> None:
        self.came = False
        self._waiting = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *why: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        if self._waiting:
            raise KeyboardInterrupt

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Let the block be interrupted; what it would have returned is then not consumed."""
        self._waiting = True
        try:
            if self.came:
                raise KeyboardInterrupt
            yield
        finally:
            self._waiting = False


class Follower:
    """Writes what a tail brings.

    Args:
        write: Takes one event as the server wrote it.
        limit: Stop after so many events; None: never.
    """

    def __init__(
        self, tail: Tail, write: Callable[[bytes], None], *, limit: int | None = None
    ) -> None:
        self._tail = tail
        self._write = write
        self._left = limit
        self._position: str | None = None
        self._base: str | None = None

    @property
    def cursor(self) -> str | None:
        """The position after the last event written."""
        # The tail moves only when it is asked for more: then it knows better than we do.
        written = self._position is not None and self._tail.cursor == self._base
        return self._position if written else self._tail.cursor

    def run(self, interrupts: Interrupts) -> None:
        """Follow until the limit or an interrupt."""
        items = iter(self._tail)
        try:
            while self._left != 0:
                with interrupts.waiting():
                    item = next(items)
                self._take(item, interrupts)
                sys.stdout.flush()
                if interrupts.came:
                    return
        except KeyboardInterrupt:
            return
        finally:
            self._tail.close()

    def _take(self, item: Item, interrupts: Interrupts) -> None:
        if isinstance(item, TailNotice):
            if item.kind not in QUIET:
                complain(item.message)
            return
        self._base = self._position = self._tail.cursor
        epoch = Cursor.parse(item.cursor).epoch
        for data in item.events:
            self._write(data)
            seq = seq_of(data)
            if seq is not None:
                self._position = str(Cursor(epoch, seq))
            if self._left is not None:
                self._left -= 1
            if self._left == 0 or interrupts.came:
                return
        self._position = item.cursor


def follow(tail: Tail, write: Callable[[bytes], None], *, limit: int | None = None) -> int:
    """Follow *tail*; the position is the last line on standard error, however it ends.

    Returns:
        The exit code: 1 if the server refused to go on.

    Raises:
        AntiphonError: It failed before it began.
    """
    follower = Follower(tail, write, limit=limit)
    code = 0
    try:
        with Interrupts() as interrupts:
            follower.run(interrupts)
    except AntiphonError as error:
        if follower.cursor is None:
            raise
        complain(describe(error))
        code = 1
    finally:
        if follower.cursor is not None:
            print(json.dumps({"cursor": follower.cursor}), file=sys.stderr, flush=True)
    return code
