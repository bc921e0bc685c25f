"""``run``, ``ps``, ``logs`` and ``stop``: supervised commands, from the shell."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from antiphon.cli import console
from antiphon.cli.find import Client, finder
from antiphon.cli.options import DataOption, JsonOption, UrlOption
from antiphon.errors import AntiphonError, BadRequest, NotFound
from antiphon.messages import WorkerInfo, WorkerStart

KEPT = frozenset(
    {
        "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR",
        "LANG", "LANGUAGE", "TZ", "TERM", "COLORTERM", "NO_COLOR",
        "VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "PYTHONUNBUFFERED", "XDG_RUNTIME_DIR",
    }
)  # fmt: skip
"""What a command gets of the caller's environment; ``LC_*`` too, and what ``-e`` names."""

CANCELLED = 130
ENDS = frozenset(("complete", "failed", "cancelled"))


class RestartOption(StrEnum):
    """When the command is started again."""

    NEVER = "never"
    ON_FAILURE = "on-failure"
    ALWAYS = "always"


class OutputOption(StrEnum):
    """How much of its output is kept."""

    ALL = "all"
    TAIL = "tail"


class WorkerEvent(msgspec.Struct, frozen=True):
    """The part of a worker's event that is shown."""

    topic: str
    payload: Any = None
    correlation_id: str | None = None
    seq: int | None = None

    @property
    def what(self) -> str:
        return self.topic.rpartition(".")[2]


_event = msgspec.json.Decoder(WorkerEvent).decode


def run(
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="What to run.")],
    name: Annotated[
        str | None, typer.Option(help="Its topics are worker.NAME.*; default: a short id.")
    ] = None,
    restart: Annotated[
        RestartOption, typer.Option(help="When to start it again.")
    ] = RestartOption.NEVER,
    output: Annotated[
        OutputOption,
        typer.Option(help="Keep all (slows a fast command down), or the newest lines."),
    ] = OutputOption.ALL,
    cwd: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to start it; default: here.")
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("-e", "--env", metavar="NAME[=VALUE]", help="Give it this variable too."),
    ] = None,
    detach: Annotated[
        bool, typer.Option("-d", "--detach", help="Print its id and return at once.")
    ] = False,
    data: DataOption = None,
    url: UrlOption = None,
) -> int:
    """Run a command as a supervised worker; follow its output and exit with its code.

    Ctrl-C cancels it.
    """
    start = WorkerStart(
        argv=command,
        name=name,
        cwd=str((cwd or Path.cwd()).absolute()),
        env=environment(os.environ, env or []),
        restart=restart.value,
        output=output.value,
    )
    with Client(data, url) as client:
        head = client.health().head
        worker = client.start_worker(start)
        if detach:
            console.say(worker.id)
            return 0
        console.complain(f"worker {worker.id}")
        return _follow(client, worker.id, worker.run, head, data, url, cancels=True)


def environment(ours: Mapping[str, str], asked: list[str]) -> dict[str, str]:
    """Choose what a command gets of the caller's environment.

    Raises:
        BadRequest: *asked* names a variable that isn't set.
    """
    kept = {n: v for n, v in ours.items() if n in KEPT or n.startswith("LC_")}
    for one in asked:
        name, given, value = one.partition("=")
        if not name or (not given and name not in ours):
            raise BadRequest(f"-e {one}: no such variable here", value=one)
        kept[name] = value if given else ours[name]
    return kept


def ps(as_json: JsonOption = False, data: DataOption = None, url: UrlOption = None) -> None:
    """List the workers, below them the last that ended."""
    with Client(data, url) as client:
        found = client.workers()
    if as_json:
        write = console.raw_lines()
        for worker in found:
            write(msgspec.json.encode(worker))
        return
    headers = ("ID", "STATE", "PID", "STARTS", "RESTART", "AGE", "LINES", "EXIT", "COMMAND")
    console.print_table(headers, [_row(worker) for worker in found])


def _row(worker: WorkerInfo) -> tuple[object, ...]:
    ended = "" if worker.exit_code is None else str(worker.exit_code)
    return (
        worker.id,
        worker.state,
        worker.pid or "-",
        worker.starts,
        worker.restart,
        console.age(worker.age_s),
        worker.lines,
        ended if worker.signal is None else signal_name(worker.signal),
        " ".join(worker.argv)[:200],
    )


def logs(
    worker: Annotated[str, typer.Argument(metavar="ID", help="The worker, living or ended.")],
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on until it ends, or Ctrl-C.")
    ] = False,
    data: DataOption = None,
    url: UrlOption = None,
) -> int:
    """Print the output of a worker's last run."""
    with Client(data, url) as client:
        found = client.query([f"worker.{worker}.*"], order="desc", limit=1).events
        if not found:
            raise NotFound(f"no worker {worker} in the log", value=worker)
        newest = _event(found[0])
        stay, last = newest.correlation_id, 0
        shown = Shown()
        for page in client.pages([f"worker.{worker}.*"], correlation_id=stay, limit=500):
            for data_line in page.events:
                event = _event(data_line)
                last = event.seq or last
                shown.take(event)
        if not follow or shown.code is not None:
            return 0
        return _follow(client, worker, stay, last, data, url, cancels=False)


def stop(
    worker: Annotated[str, typer.Argument(metavar="ID", help="The worker.")],
    data: DataOption = None,
    url: UrlOption = None,
) -> None:
    """End a worker and all its processes; wait until they are gone."""
    with Client(data, url) as client:
        living = {info.id: info for info in client.workers() if info.state != "ended"}
        client.stop_worker(worker)
        if worker in living:
            _wait_for_end(living[worker], data, url)
    console.say(f"stopped {console.clean(worker)}")


def _wait_for_end(worker: WorkerInfo, data: Path | None, url: str | None) -> None:
    from antiphon.client.tail import Batch, Tail

    # From the earliest: its end may have been on its way before anybody asked for it.
    topics = [f"worker.{worker.id}.{end}" for end in sorted(ENDS)]
    with closing(Tail(finder(data, url), topics, start="earliest")) as tail:
        for item in tail:
            runs = map(_event, item.events) if isinstance(item, Batch) else ()
            if any(event.correlation_id == worker.run for event in runs):
                return


class Shown:
    """Writes a worker's events as its output, and knows the exit code once it has ended.

    Attributes:
        code: What ``run`` exits with; None while it lives.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        self._clean = {
            "stdout": _cleaner(sys.stdout.isatty()),
            "stderr": _cleaner(sys.stderr.isatty()),
        }

    def take(self, event: WorkerEvent) -> None:
        """Show one event."""
        payload = event.payload if isinstance(event.payload, dict) else {}
        if event.what == "progress":
            self._lines(payload)
        elif event.what == "restarting":
            delay = payload.get("delay_ms", 0)
            console.complain(f"{why(payload)}; starting again in {delay / 1000:g} s")
        elif event.what in ENDS:
            self.code = exit_code(event.what, payload)
            if event.what != "complete" and "exit_code" not in payload:
                console.complain(f"{event.what}: {why(payload)}")
            elif "message" in payload:
                console.complain(payload["message"])

    def _lines(self, payload: Mapping[str, Any]) -> None:
        name = "stderr" if payload.get("stream") == "stderr" else "stdout"
        out = sys.stderr if name == "stderr" else sys.stdout
        skipped = payload.get("skipped_lines")
        if skipped:
            console.complain(f"{skipped} lines of {name} were folded here")
        clean = self._clean[name]
        out.write("".join(f"{clean(line)}\n" for line in payload.get("lines", [])))
        out.flush()


def _cleaner(terminal: bool) -> Callable[[str], str]:
    return console.coloured if terminal else str


def exit_code(what: str, payload: Mapping[str, Any]) -> int:
    """Turn a worker's end into a process's exit code, as shells count."""
    code, number = payload.get("exit_code"), payload.get("signal")
    if isinstance(code, int):
        return code
    if isinstance(number, int):
        return 128 + number
    return {"complete": 0, "cancelled": CANCELLED}.get(what, 1)


def why(payload: Mapping[str, Any]) -> str:
    """Say in words how a command ended."""
    if "message" in payload:
        return str(payload["message"])
    if payload.get("signal"):
        return f"ended by {signal_name(payload['signal'])}"
    if "exit_code" in payload:
        return f"exit code {payload['exit_code']}"
    return str(payload.get("reason", "ended")).replace("_", " ")


def signal_name(number: int) -> str:
    """Name a signal, such as SIGKILL."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _follow(
    client: Client,
    worker: str,
    run: str | None,
    after: int,
    data: Path | None,
    url: str | None,
    *,
    cancels: bool,
) -> int:
    """Show what a worker does until it has ended; Ctrl-C cancels it, or only stops looking."""
    from antiphon.cli.follow import Interrupts
    from antiphon.client.tail import Tail, TailNotice

    tail = Tail(finder(data, url), [f"worker.{worker}.*"], after=after)
    shown, asked = Shown(), False
    with closing(tail), Interrupts() as interrupts:
        while shown.code is None:
            try:
                with interrupts.waiting():
                    item = next(tail)
            except KeyboardInterrupt:
                if asked or not cancels:
                    return CANCELLED if cancels else 0
                asked, interrupts.came = True, False
                _cancel(client, worker)
                continue
            if isinstance(item, TailNotice):
                if item.kind not in ("live",):
                    console.complain(item.message)
                continue
            for raw in item.events:
                event = _event(raw)
                if run is None or event.correlation_id == run:
                    shown.take(event)
    return CANCELLED if asked else shown.code


def _cancel(client: Client, worker: str) -> None:
    console.complain("cancelling; Ctrl-C again leaves it alone")
    try:
        client.stop_worker(worker)
    except NotFound:
        return  # it has just ended by itself, and the tail brings how
    except AntiphonError as error:
        console.complain(console.describe(error))
