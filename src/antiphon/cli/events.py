"""``publish``, ``tail``, ``query`` and ``topics``."""

from __future__ import annotations

import signal
import sys
from collections import deque
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from antiphon.cli import console
from antiphon.cli.find import Client, advice, finder
from antiphon.cli.options import DataOption, JsonOption, LimitOption, PatternsArgument, UrlOption
from antiphon.cli.times import moment
from antiphon.client.endpoint import NoServer
from antiphon.client.http import PAGE_EVENTS
from antiphon.ids import new_id
from antiphon.messages import EventIn, StartWord
from antiphon.messages.event import Level

LEVELS = ("synced", "committed", "none")
DEFAULT_QUERY = 100
PREFIX_CHARS = 48
"""Of an id, so that the number of a line has room after it."""


class Start(StrEnum):
    """Where a tail begins."""

    EARLIEST = "earliest"
    LAST = "last"
    NOW = "now"


class LevelOption(StrEnum):
    """What to wait for."""

    SYNCED = "synced"
    COMMITTED = "committed"
    NONE = "none"


def publish(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="Such as chat.lobby.")],
    payload: Annotated[
        str | None, typer.Argument(metavar="[JSON|-]", help="Any JSON; - reads it from the input.")
    ] = None,
    type: Annotated[str, typer.Option(help="What kind of event it is.")] = "custom.event",
    source: Annotated[str | None, typer.Option(help="Who says so, a URI reference.")] = None,
    id: Annotated[
        str | None,
        typer.Option(help="Publishing it on this topic again changes nothing; of lines: a prefix."),
    ] = None,
    key: Annotated[str | None, typer.Option(help="What it is about.")] = None,
    correlation_id: Annotated[str | None, typer.Option(help="The work it belongs to.")] = None,
    expect_last_seq: Annotated[
        int | None,
        typer.Option(metavar="SEQ", min=0, help="Only if this is the topic's last; 0: the first."),
    ] = None,
    level: Annotated[LevelOption, typer.Option(help="What to wait for.")] = LevelOption.SYNCED,
    lines: Annotated[
        bool, typer.Option("--lines", help="Each line of the input is an event, a text.")
    ] = False,
    json_lines: Annotated[
        bool, typer.Option("--json-lines", help="Each line of the input is an event, any JSON.")
    ] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
    url: UrlOption = None,
) -> int:
    """Publish one event, or each line of the input as one."""
    given = id if id is not None else new_id()
    by_lines = lines or json_lines
    event = EventIn(
        topic=topic,
        payload=None if by_lines else _payload(payload),
        type=type,
        source=source,
        id=given,
        key=key,
        correlation_id=correlation_id,
        expect_last_seq=expect_last_seq,
    )
    wanted: Level = level.value
    if by_lines:
        single = (payload is not None, expect_last_seq is not None, as_json, wanted == "none")
        if any(single) or (lines and json_lines):
            raise typer.BadParameter(
                "--lines and --json-lines go without each other, JSON, --expect-last-seq,"
                " --json and --level none"
            )
        return _publish_lines(event, json_lines, wanted, data, url)
    with Client(data, url) as client:
        try:
            result = client.publish(event, level=wanted)
        except NoServer as error:
            if error.sent:
                raise NoServer(
                    f"{error}; it may be stored: repeat with --id {given}", sent=True
                ) from error
            raise
    if as_json:
        console.raw_lines()(msgspec.json.encode(result))
    else:
        again = ", which was there already" if result.duplicate else ""
        stored = "was handed in" if result.seq is None else f"is event {result.seq}"
        console.say(f"{result.id} {stored}{again}")
    return 0


def _publish_lines(
    event: EventIn, as_json: bool, level: Level, data: Path | None, url: str | None
) -> int:
    """Publish the input line by line; the counts are the last line on standard error."""
    from antiphon.cli.feeding import Feeder, counts, feed
    from antiphon.cli.lines import LineSplitter, json_payload, text_payload

    if len(event.id or "") > PREFIX_CHARS:
        raise typer.BadParameter(f"of lines, --id has {PREFIX_CHARS} characters at most")
    with Client(data, url) as client:
        client.health()
    payload_of = json_payload if as_json else text_payload
    feeder = Feeder(finder(data, url), event, payload_of, level=level)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        feed(sys.stdin.fileno(), feeder, LineSplitter())
    except KeyboardInterrupt:
        feeder.flush_once()
        raise
    finally:
        feeder.close()
        console.complain(counts(feeder))
    return 1 if feeder.refused else 0


def _payload(text: str | None) -> Any:
    """Take JSON as it is written: the server judges what it may hold."""
    if text is None:
        return None
    data = sys.stdin.buffer.read() if text == "-" else text.encode("utf-8", "surrogateescape")
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except RecursionError:
        return msgspec.Raw(data)
    except msgspec.DecodeError as error:
        hint = "" if data.startswith(b'"') else "; text needs quotes: '\"hello\"'"
        raise typer.BadParameter(f"payload is no JSON: {error}{hint}") from error
    return msgspec.Raw(data.strip())


def tail(
    patterns: PatternsArgument = None,
    start: Annotated[
        Start | None, typer.Option("--from", help="Where to begin; default: now.")
    ] = None,
    after: Annotated[
        str | None, typer.Option(metavar="CURSOR|SEQ", help="Begin after this position.")
    ] = None,
    limit: LimitOption = None,
    as_json: JsonOption = False,
    data: DataOption = None,
    url: UrlOption = None,
) -> int:
    """Follow events as they happen; ends with Ctrl-C.

    Goes on by itself when the server comes back. The last line on standard error
    is the position, for --after.
    """
    from antiphon.cli.follow import follow
    from antiphon.client.tail import Tail

    if start is not None and after is not None:
        raise typer.BadParameter("--from and --after exclude each other", param_hint="--from")
    place = finder(data, url)
    begin: StartWord = "now" if start is None else start.value
    tail = Tail(place, patterns or ["*"], start=begin, after=position(after))
    try:
        return follow(tail, _writer(as_json), limit=limit)
    except NoServer as error:
        hint = advice(data, url)
        raise NoServer(str(error) if hint in str(error) else f"{error}; {hint}") from error


def position(text: str | None) -> str | int | None:
    """Read CURSOR or SEQ."""
    if text is not None and text.isascii() and text.isdigit():
        if len(text) > 16:
            raise typer.BadParameter(f"no position has so many digits: {text[:20]}…")
        return int(text)
    return text


def _writer(as_json: bool, *, dated: bool = False) -> Callable[[bytes], None]:
    if as_json:
        return console.raw_lines()
    from antiphon.cli.show import EventLines

    lines = EventLines(width=console.columns_wide(), dated=dated, colour=console.uses_colour())
    return lambda data: console.say(lines.line(data))


def query(
    patterns: PatternsArgument = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Not before: a time, a date, or 2h ago.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Not after.")] = None,
    type: Annotated[str | None, typer.Option(help="Only of this kind.")] = None,
    source: Annotated[str | None, typer.Option(help="Only from here.")] = None,
    correlation_id: Annotated[str | None, typer.Option(help="Only of this work.")] = None,
    limit: LimitOption = DEFAULT_QUERY,
    as_json: JsonOption = False,
    data: DataOption = None,
    url: UrlOption = None,
) -> None:
    """Print stored events: the newest --limit, oldest first."""
    wanted = {
        "since": moment_of("--since", since),
        "until": moment_of("--until", until),
        "type": type,
        "source": source,
        "correlation_id": correlation_id,
    }
    with Client(data, url) as client:
        found = newest(client, patterns or ["*"], limit or DEFAULT_QUERY, wanted)
    write = _writer(as_json, dated=True)
    for event in found:
        write(event)


def moment_of(option: str, text: str | None) -> str | None:
    """Read an option's moment; see ``times.moment``."""
    try:
        return None if text is None else moment(text, datetime.now().astimezone())
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def newest(
    client: Client, patterns: list[str], limit: int, wanted: dict[str, str | None]
) -> deque[bytes]:
    """Read the newest *limit* events, oldest first, page by page from the head."""
    found: deque[bytes] = deque()
    before: str | None = None
    while len(found) < limit:
        size = min(PAGE_EVENTS, limit - len(found))
        page = client.query(patterns, order="desc", before=before, limit=size, **wanted)
        found.extendleft(page.events)
        before = page.next
        if before is None:
            break
    return found
