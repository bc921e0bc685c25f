"""``retention`` and ``forget``: what stays how long, and what goes for good."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from antiphon.cli import console
from antiphon.cli.find import Client
from antiphon.cli.options import DataOption, JsonOption, UrlOption
from antiphon.errors import AntiphonError
from antiphon.messages import Forget, Forgotten, PolicyInfo

HEADERS = ("TOPICS OF", "KEEPS", "EVENTS", "SIZE", "USED", "OLDEST", "GOES NEXT")


def retention(as_json: JsonOption = False, data: DataOption = None, url: UrlOption = None) -> None:
    """Show how long events stay: each policy, what it holds, and what goes next."""
    with Client(data, url) as client:
        found = client.retention()
    if as_json:
        console.raw_lines()(msgspec.json.encode(found))
        return
    now = datetime.now(UTC)
    console.print_table(HEADERS, [_row(policy, now) for policy in found.policies])
    events = sum(count for reason, count in found.removed.items() if reason != "topics")
    if events:
        parts = [
            f"{count} {'for their number' if reason == 'count' else f'by {reason}'}"
            if reason in ("age", "bytes", "count")
            else f"{count} {reason}"
            for reason, count in found.removed.items()
            if count and reason != "topics"
        ]
        size = console.size(found.removed_bytes)
        console.say(f"\nremoved since the start: {', '.join(parts)} ({size})")
    if found.doubt is not None:
        console.complain(f"{found.doubt}: nothing goes by age")


def _row(policy: PolicyInfo, now: datetime) -> tuple[object, ...]:
    return (
        policy.pattern,
        policy.limits,
        policy.events,
        console.size(policy.size_bytes),
        "-" if policy.share is None else f"{policy.share:.0%}",
        "-" if policy.oldest is None else _ago(policy.oldest, now),
        goes_next(policy, now),
    )


def _ago(then: datetime, now: datetime) -> str:
    return console.age(max(0.0, (now - then).total_seconds()))


def goes_next(policy: PolicyInfo, now: datetime) -> str:
    """Say when the oldest event of a policy goes, and why."""
    if policy.held:
        return "held by durable subscriptions"
    if policy.due:
        over = [
            *([f"{policy.excess_events} events"] if policy.excess_events else []),
            *([console.size(policy.excess_bytes)] if policy.excess_bytes else []),
        ]
        return f"now: {' or '.join(over)}" if over else "now"
    if policy.next is not None:
        return f"in {console.age(max(0.0, (policy.next - now).total_seconds()))}"
    if policy.events and policy.share is not None:
        return "when full"
    return "-"


def forget(
    pattern: Annotated[
        str | None, typer.Argument(metavar="[PATTERN]", help="The events of these topics.")
    ] = None,
    id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="The events with this id.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
    url: UrlOption = None,
) -> int:
    """Remove events for good, such as a pasted secret; a record of who did it stays.

    They leave the log and all its files. Backups made before keep them.
    """
    if (pattern is None) == (id is None):
        raise typer.BadParameter("give either a PATTERN or --id")
    with Client(data, url) as client:
        found = client.forget(Forget(pattern=pattern, id=id, dry_run=True))
        if not found.events:
            return _none(pattern, id, as_json)
        if not yes:
            _confirm(found)
        done = client.forget(Forget(pattern=pattern, id=id))
    if as_json:
        console.raw_lines()(msgspec.json.encode(done))
    else:
        console.say(f"forgot {_events(done)}")
    if not done.scrubbed:
        console.complain("a reader was in the way: the log's WAL may hold their bytes for a while")
    return 0


def _none(pattern: str | None, id: str | None, as_json: bool) -> int:
    if as_json:
        console.raw_lines()(msgspec.json.encode(Forgotten(events=0, size_bytes=0, topics=0)))
        return 0
    wanted = f"event of {pattern}" if id is None else f"event with the id {id}"
    raise AntiphonError(f"nothing to forget: no {wanted} is in the log")


def _confirm(found: Forgotten) -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"this forgets {_events(found)} for good: confirm with --yes")
    console.say(f"This forgets {_events(found)} for good. It can't be undone.")
    if not typer.confirm("Go on?"):
        raise AntiphonError("nothing was forgotten")


def _events(found: Forgotten) -> str:
    events = console.counted(found.events, "event")
    topics = console.counted(found.topics, "topic")
    return f"{events} ({console.size(found.size_bytes)}) of {topics}"
