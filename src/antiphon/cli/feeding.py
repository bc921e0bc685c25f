"""``publish --lines``: each line of the input an event, stored once and in order.

Each line has an id of its own, so a batch whose answer was lost is sent again. Nothing
more is read while the server doesn't take what was read: whoever writes the lines waits.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Sequence

import msgspec

from antiphon.cli import console
from antiphon.cli.lines import Line, LineSplitter, NoPayload, PayloadOf
from antiphon.client.endpoint import Endpoint, NoServer
from antiphon.client.http import HttpClient
from antiphon.client.problems import error_from
from antiphon.errors import BusError, Overloaded, StorageUnavailable
from antiphon.messages import EventIn, Published, Refused
from antiphon.messages.event import Level

BATCH_EVENTS = 500
BATCH_BYTES = 512 * 1024
"""Of lines; JSON may write a byte as six, and a request holds 4 MiB."""
READ_BYTES = 64 * 1024
LINGER_S = 0.05
"""How long a line waits for others."""
PAUSES_S = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Between tries while the server is away."""
LAST_TRY_S = 5.0
HOPELESS = ("forbidden", "invalid_topic", "unauthorized")
"""What every other line would be told too."""


class Waiting(msgspec.Struct):
    """A line on its way."""

    number: int
    size: int
    event: EventIn


class Feeder:
    """Publishes lines in order, each once, through whatever happens to the server.

    Args:
        find: Says where the server is, asked again whenever it was lost.
        event: What all events have in common; its ``id`` begins theirs.
        payload_of: Makes a line's payload; None leaves an empty line out.
        pause: Waits so many seconds.

    Attributes:
        stored: Lines that the server has.
        already: Of these, how many it had from an earlier run.
        refused: Lines left out, each told on standard error.
    """

    def __init__(
        self,
        find: Callable[[], Endpoint],
        event: EventIn,
        payload_of: PayloadOf,
        *,
        level: Level = "synced",
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._find = find
        self._event = event
        self._payload_of = payload_of
        self._level: Level = level
        self._pause = pause
        self._client: HttpClient | None = None
        self._waiting: list[Waiting] = []
        self._size = 0
        self._most = BATCH_EVENTS
        self._tries = 0
        self.stored = 0
        self.already = 0
        self.refused = 0

    @property
    def waiting(self) -> int:
        """Lines that are not answered yet."""
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether it is time to flush."""
        return self.waiting >= BATCH_EVENTS or self._size >= BATCH_BYTES

    def put(self, line: Line) -> None:
        """Take one line, or say why not."""
        if line.problem is not None:
            self._refuse(line.number, line.problem)
            return
        try:
            payload = self._payload_of(line.data)
        except NoPayload as error:
            self._refuse(line.number, str(error))
            return
        if payload is None:
            return
        event = msgspec.structs.replace(
            self._event, payload=payload, id=f"{self._event.id}-{line.number}"
        )
        self._waiting.append(Waiting(line.number, len(line.data), event))
        self._size += len(line.data)

    def flush(self) -> None:
        """Publish what waits; return when all of it is answered.

        Raises:
            BusError: No line can be published.
        """
        while self._waiting:
            try:
                pause_s = self._send(self._batch())
            except NoServer as error:
                if self._tries == 1:
                    console.complain(f"{error}; lines that wait: {self.waiting}")
                self._lose_server()
                pause_s = PAUSES_S[min(self._tries, len(PAUSES_S)) - 1]
            if pause_s:
                self._pause(pause_s)

    def flush_once(self) -> None:
        """Try once more to publish what waits, for a few seconds."""
        self._lose_server()
        while self._waiting:
            left = self.waiting
            try:
                self._send(self._batch(), timeout=LAST_TRY_S)
            except (NoServer, BusError) as error:
                console.complain(str(error))
                return
            if self.waiting == left:
                return

    def close(self) -> None:
        """Close the connection."""
        self._lose_server()

    def _batch(self) -> list[Waiting]:
        size = 0
        batch: list[Waiting] = []
        for one in self._waiting[: self._most]:
            size += one.size
            if batch and size > BATCH_BYTES:
                break
            batch.append(one)
        return batch

    def _send(self, batch: Sequence[Waiting], *, timeout: float = 30.0) -> float:
        """Publish *batch*; seconds to wait before what is left is tried again."""
        self._tries += 1
        if self._client is None:
            self._client = HttpClient(self._find(), timeout=timeout)
        try:
            results = self._client.publish_many([one.event for one in batch], level=self._level)
        except (Overloaded, StorageUnavailable) as error:
            return error.retry_after_ms / 1000
        except BusError as error:
            if error.code in HOPELESS:
                raise
            if len(batch) > 1:  # one of them spoils the others: find it
                self._most = 1
                return 0
            self._refuse(batch[0].number, console.describe(error))
            self._forget(batch, [])
            return 0
        return self._settle(batch, results)

    def _settle(self, batch: Sequence[Waiting], results: Sequence[Published | Refused]) -> float:
        again: list[Waiting] = []
        pause_ms = 0
        for one, result in zip(batch, results, strict=True):
            if isinstance(result, Published):
                self.stored += 1
                self.already += result.duplicate and self._tries == 1
                continue
            fault = result.error
            error = error_from(fault.code, fault.message, retry_after_ms=fault.retry_after_ms)
            if isinstance(error, Overloaded | StorageUnavailable):
                again.append(one)
                pause_ms = max(pause_ms, error.retry_after_ms)
            elif error.code in HOPELESS:
                raise error
            else:
                self._refuse(one.number, console.describe(error))
        self._forget(batch, again)
        return pause_ms / 1000

    def _forget(self, batch: Sequence[Waiting], again: list[Waiting]) -> None:
        self._waiting[: len(batch)] = again
        self._size = sum(one.size for one in self._waiting)
        if not again:
            self._tries = 0
        if not self._waiting:
            self._most = BATCH_EVENTS

    def _lose_server(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _refuse(self, number: int, why: str) -> None:
        self.refused += 1
        console.complain(f"line {number} was left out: {why}")


def feed(file: int, feeder: Feeder, splitter: LineSplitter) -> None:
    """Read lines from the descriptor *file* to its end, and publish them as they come."""
    due = 0.0
    while True:
        left = max(0.0, due - time.monotonic()) if feeder.waiting else None
        if select.select([file], [], [], left)[0]:
            data = os.read(file, READ_BYTES)
            if not data:
                break
            if not feeder.waiting:
                due = time.monotonic() + LINGER_S
            for line in splitter.feed(data):
                feeder.put(line)
        if feeder.is_full or time.monotonic() >= due:
            feeder.flush()
    for line in splitter.end():
        feeder.put(line)
    feeder.flush()


def counts(feeder: Feeder) -> str:
    """What became of all lines, in one line."""
    parts = [f"{console.counted(feeder.stored, 'line')} stored"]
    if feeder.already:
        parts.append(f"{feeder.already} of them by an earlier run")
    if feeder.refused:
        parts.append(f"{feeder.refused} left out")
    if feeder.waiting:
        parts.append(f"{feeder.waiting} unanswered")
    return ", ".join(parts)
