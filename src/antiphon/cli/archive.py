"""``backup``, ``export`` and ``import``: the log as a file that can be kept or carried.

``backup`` and ``export`` read the log's own file, so they need no server, and one that
runs is not held up. ``import`` publishes, so it needs one.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, NamedTuple

import msgspec
import typer

from antiphon.cli import console
from antiphon.cli.events import moment_of, position
from antiphon.cli.find import Client
from antiphon.cli.options import DataOption, JsonOption, PatternsArgument, UrlOption
from antiphon.cli.progress import Tell, progress
from antiphon.client.endpoint import NoServer
from antiphon.client.http import HttpClient
from antiphon.errors import AntiphonError, BusError, SubscriptionReset
from antiphon.messages import Event, EventIn, Published, Refused
from antiphon.messages.cloudevents import decode_cloudevent, encode_cloudevent
from antiphon.places import LOG_FILE, data_folder

if TYPE_CHECKING:
    from antiphon.bus.store import Query, Stored
    from antiphon.stores.sqlite.look import Contents

EXPORT_PAGE = 2000
BATCH_EVENTS = 500
BATCH_BYTES = 1024 * 1024
LINE_BYTES = 2 * 1024 * 1024
"""A longer line holds no event that could be stored."""
PASSING = ("overloaded", "storage_unavailable")
PATIENCE_S = 60.0
"""How long the import tries again while the server can't take events."""
AUTHID = "authid"
"""The header that tells who had published an imported event."""
SERVERS_BYTES = 256
"""Room for what the server writes into an event: its principal, time and seq."""

_encode = msgspec.json.Encoder().encode
_decode_event = msgspec.json.Decoder(Event).decode


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the backup goes.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """Copy the log, whole and checked, while the server runs or not.

    To go back to it: stop the server, put FILE in the place of log.db in the
    data folder, and remove log.db-wal and log.db-shm.
    """
    from antiphon.stores.sqlite.backup import back_up

    with progress("backing up") as tell:
        done = back_up(data_folder(data) / LOG_FILE, file.expanduser(), force=force, progress=tell)
    if as_json:
        fields = {"path": str(done.path), "head": done.head, "size_bytes": done.size_bytes}
        console.raw_lines()(msgspec.json.encode(fields))
    else:
        size = console.size(done.size_bytes)
        console.say(console.clean(f"{done.path} holds the log up to event {done.head}, {size}"))


# --- export ---------------------------------------------------------------------------------


def export(
    patterns: PatternsArgument = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Not before: a time, a date, or 2h ago.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Not after.")] = None,
    after: Annotated[
        str | None, typer.Option(metavar="CURSOR|SEQ", help="Only after this position.")
    ] = None,
    data: DataOption = None,
) -> int:
    """Write stored events as CloudEvents, one JSON object a line, oldest first.

    Ends at the event that was the newest when it began.
    """
    from antiphon.stores.sqlite.look import look

    log = data_folder(data) / LOG_FILE
    if not log.exists():
        raise AntiphonError(f"there is no log to export: {log} is missing")
    contents = look(log)
    query = _asked(contents, patterns or ["*"], after, since, until)
    write = console.raw_lines()
    count = failed = 0
    with progress("exporting", quiet=sys.stdout.isatty()) as tell:
        for page in _pages(log, query):
            for row in page:
                try:
                    line = encode_cloudevent(_decode_event(row.data))
                except msgspec.DecodeError as error:
                    console.complain(f"{row.seq} is left out, it is no event: {error}")
                    failed += 1
                else:
                    write(line)
                    count += 1
            if tell is not None:
                tell(page[-1].seq - query.after, contents.head - query.after)
        sys.stdout.flush()
    console.complain(f"exported {console.counted(count, 'event')}, up to {contents.head}")
    return 1 if failed else 0


def _asked(
    contents: Contents,
    patterns: Sequence[str],
    after: str | None,
    since: str | None,
    until: str | None,
) -> Query:
    """What to read: the topics by name, and the bounds.

    Raises:
        InvalidPattern, BadRequest: One is none.
        SubscriptionReset: *after* is of another log.
    """
    from antiphon.bus.position import resolve
    from antiphon.bus.store import Query
    from antiphon.bus.topics import check_pattern, matches

    checked = [check_pattern(pattern) for pattern in patterns]
    names = frozenset(n for n in contents.trimmed if any(matches(p, n) for p in checked))
    begin = position(after)
    low = 0
    if begin is not None:
        start = resolve(begin, contents.epochs, contents.head)
        low = start.position
        if start.reset is not None:
            raise SubscriptionReset(start.reset, str(low))
        removed = max((contents.trimmed[name] for name in names), default=0)
        if removed > low:
            console.complain(f"some events from {low + 1} to {removed} were removed from the log")
    return Query(
        topics=None if len(names) == len(contents.trimmed) else names,
        after=low,
        before=contents.head + 1,
        since_us=_micros("--since", since),
        until_us=_micros("--until", until),
        limit=EXPORT_PAGE,
    )


def _micros(option: str, text: str | None) -> int | None:
    from datetime import datetime

    found = moment_of(option, text)
    if found is None:
        return None
    return round(datetime.fromisoformat(found).timestamp() * 1_000_000)


def _pages(log: Path, query: Query) -> Iterator[list[Stored]]:
    from dataclasses import replace

    from antiphon.stores.sqlite import SqliteStoreReader

    reader = SqliteStoreReader(log)
    try:
        while page := reader.select(query):
            yield page
            query = replace(query, after=page[-1].seq)
    finally:
        reader.close()


# --- import ---------------------------------------------------------------------------------


class Tally(msgspec.Struct):
    """How an import went, in lines.

    Attributes:
        unattributed: Of the imported, those with no room for the header authid.
        reserved: Of topics that Antiphon alone writes; left out.
        failed: No event, or refused.
    """

    imported: int = 0
    duplicates: int = 0
    unattributed: int = 0
    reserved: int = 0
    failed: int = 0


def import_(
    file: Annotated[
        str, typer.Argument(metavar="FILE|-", help="As export writes it; - the input.")
    ],
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first line that can't be imported.")
    ] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
    url: UrlOption = None,
) -> int:
    """Publish the CloudEvents of a file, one JSON object a line.

    Run again, it changes nothing: each event keeps its id. Who had published it
    is told by its header authid, if that has room. Reserved topics are left out.
    """
    with ExitStack() as stack:
        lines: IO[bytes] = sys.stdin.buffer
        size = 0
        if file != "-":
            lines = stack.enter_context(Path(file).expanduser().open("rb"))
            size = os.fstat(lines.fileno()).st_size
        client = stack.enter_context(Client(data, url))
        client.health()
        tell = stack.enter_context(progress("importing"))
        work = Import(client, strict=strict)
        try:
            work.run(lines, tell=tell, size=size)
        except NoServer as error:
            raise NoServer(f"{error}; import again: what is stored stays as it is") from error
    if as_json:
        console.raw_lines()(msgspec.json.encode(work.tally))
    else:
        console.say(summary(work.tally))
    return 1 if work.tally.failed else 0


def summary(tally: Tally) -> str:
    """Say in one line how it went."""
    parts = [f"imported {console.counted(tally.imported, 'event')}"]
    if tally.duplicates:
        parts.append(f"{tally.duplicates} were there already")
    if tally.unattributed:
        parts.append(f"{tally.unattributed} have no room for the header authid")
    if tally.reserved:
        parts.append(f"{tally.reserved} of reserved topics were left out")
    if tally.failed:
        parts.append(f"{console.counted(tally.failed, 'line')} failed")
    return "; ".join(parts)


class Line(NamedTuple):
    """A line's event, to be published.

    Attributes:
        unattributed: There was no room to tell who had published it.
    """

    number: int
    event: EventIn
    unattributed: bool = False


class Import:
    """Takes lines to a server, some hundred at a time, and counts what became of them.

    Args:
        strict: Stop at the first line that fails.
        sleep: Waits so many seconds while the server can't take events.
    """

    def __init__(
        self, client: HttpClient, *, strict: bool, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.tally = Tally()
        self._client = client
        self._strict = strict
        self._sleep = sleep
        self._batch: list[Line] = []
        self._bytes = 0

    def run(self, lines: IO[bytes], *, tell: Tell | None = None, size: int = 0) -> None:
        """Import every line, or with ``strict`` those before the first that fails."""
        read = 0
        for number, line in numbered(lines):
            read += len(line)
            if line.strip():
                self._take(number, line)
            if self._stops():
                break
            if len(self._batch) >= BATCH_EVENTS or self._bytes >= BATCH_BYTES:
                self._send()
                if tell is not None and size:
                    tell(read, size)
            if self._stops():
                return
        self._send()

    def _stops(self) -> bool:
        return self._strict and self.tally.failed > 0

    def _take(self, number: int, line: bytes) -> None:
        try:
            found = read_line(number, line)
        except BusError as error:
            self._fail(number, console.describe(error))
            return
        if found.event.topic.startswith("_"):
            self.tally.reserved += 1
            return
        self._batch.append(found)
        self._bytes += len(line)

    def _send(self) -> None:
        """Publish what waits; what the server can't take now is tried again, with the same ids."""
        deadline = time.monotonic() + PATIENCE_S
        batch, self._batch, self._bytes = self._batch, [], 0
        while batch:
            results = self._client.publish_many([line.event for line in batch])
            again: list[Line] = []
            wait_ms = 0
            for line, result in zip(batch, results, strict=True):
                if not isinstance(result, Refused):
                    self._count(line, result)
                elif result.error.code in PASSING and time.monotonic() < deadline:
                    again.append(line)
                    wait_ms = max(wait_ms, result.error.retry_after_ms or 0)
                else:
                    self._fail(line.number, f"{result.error.message} ({result.error.code})")
            if again:
                self._sleep(wait_ms / 1000)
            batch = again

    def _count(self, line: Line, result: Published) -> None:
        self.tally.duplicates += result.duplicate
        self.tally.imported += not result.duplicate
        self.tally.unattributed += line.unattributed and not result.duplicate

    def _fail(self, number: int, why: str) -> None:
        self.tally.failed += 1
        console.complain(f"line {number}: {why}")


def read_line(number: int, line: bytes) -> Line:
    """Read a line as an event to publish.

    Raises:
        BusError: It holds none.
    """
    from antiphon.bus.access import ADMIN
    from antiphon.bus.event_rules import EVENT_BYTES, add_header
    from antiphon.errors import PayloadTooLarge

    if len(line) > LINE_BYTES:
        raise PayloadTooLarge(f"a line has more than {LINE_BYTES} bytes", limit=LINE_BYTES)
    received = decode_cloudevent(line)
    event = received.event
    if received.principal in (None, ADMIN.name) or AUTHID in (event.headers or {}):
        return Line(number, event)
    headers = add_header(event.headers, AUTHID, received.principal or "")
    signed = msgspec.structs.replace(event, headers=headers)
    fits = AUTHID in headers and len(_encode(signed)) + SERVERS_BYTES <= EVENT_BYTES
    return Line(number, signed) if fits else Line(number, event, unattributed=True)


def numbered(lines: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Each line with its number, from 1; of one that is too long, its beginning."""
    number = 0
    while line := lines.readline(LINE_BYTES + 1):
        number += 1
        rest = line
        while not rest.endswith(b"\n") and len(rest) > LINE_BYTES:
            rest = lines.readline(LINE_BYTES + 1)
        yield number, line
