"""``doctor``: looks at what the server needs, one line each, with advice.

Looks only, unless told to repair. Each check is a function of its own, which gives a
``Finding``.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import msgspec
import typer

from antiphon.cli import console
from antiphon.cli.find import read_server_file
from antiphon.cli.options import DataOption, JsonOption
from antiphon.cli.progress import progress
from antiphon.client.endpoint import Endpoint, NoServer
from antiphon.client.http import HttpClient
from antiphon.errors import AntiphonError, StartError
from antiphon.places import LOCK_FILE, LOG_FILE

if TYPE_CHECKING:
    from antiphon.stores.sqlite.repair import Repaired

NEEDED_PYTHON = (3, 11)
# Older ones may damage a log in WAL mode under several connections (sqlite.org/wal.html).
SAFE_SQLITE = (3, 51, 3)
LOW_BYTES = 1024**3
LEAST_BYTES = 64 * 1024**2
SHOWN_RANGES = 20
REPAIR = "stop the server and run: antiphon doctor --repair"


class Finding(NamedTuple):
    """What one check found.

    Attributes:
        advice: What to do; empty if all is well.
    """

    name: str
    state: Literal["ok", "warn", "fail"]
    about: str
    advice: str = ""


def doctor(
    repair: Annotated[
        bool,
        typer.Option(
            "--repair", help="Save what can be read of a damaged log; the server must be stopped."
        ),
    ] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
) -> int:
    """Look at Python, SQLite, the data folder, its lock, the log, the disk and the port."""
    from antiphon.settings import load

    settings = load({"data": data}).settings
    folder = settings.data
    if repair:
        return repair_log(folder, as_json=as_json)
    findings = [
        check_python(sys.version_info[:3]),
        check_sqlite(),
        check_folder(folder),
        check_lock(folder),
        *check_log(folder),
        check_disk(folder),
        check_port(settings.host, settings.port if settings.tcp else 0, folder),
    ]
    for found in findings:
        _show(found, as_json=as_json)
    return 1 if any(found.state == "fail" for found in findings) else 0


def _show(found: Finding, *, as_json: bool) -> None:
    if as_json:
        console.say(msgspec.json.encode(found._asdict()).decode())
        return
    advice = f"; {found.advice}" if found.advice else ""
    console.say(console.clean(f"{found.state:<5} {found.name:<12} {found.about}{advice}"))


def check_python(version: tuple[int, ...]) -> Finding:
    """Python's version."""
    text = ".".join(map(str, version))
    if version < NEEDED_PYTHON:
        return Finding("python", "fail", text, "3.11 or later is needed")
    return Finding("python", "ok", f"{text} on {platform.system()} {platform.machine()}")


def check_sqlite() -> Finding:
    """SQLite's version, the one inside apsw."""
    import apsw

    text = apsw.sqlite_lib_version()
    version = tuple(int(part) for part in text.split("."))
    if version < SAFE_SQLITE:
        safe = ".".join(map(str, SAFE_SQLITE))
        return Finding("sqlite", "warn", text, f"upgrade apsw, to have SQLite {safe} or later")
    return Finding("sqlite", "ok", text)


def check_folder(folder: Path) -> Finding:
    """Whether the data folder can be used, and by nobody else."""
    try:
        mode = folder.stat().st_mode
    except FileNotFoundError:
        return _missing(folder)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        return Finding("data folder", "fail", f"{folder}: {why}", "choose another by --data")
    if not folder.is_dir():
        return Finding("data folder", "fail", f"{folder} is no folder", "choose another by --data")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return Finding("data folder", "fail", f"{folder} can't be written", "change its owner")
    if mode & 0o077:
        return Finding("data folder", "warn", f"{folder} is open to others", f"chmod 700 {folder}")
    return Finding("data folder", "ok", str(folder))


def _missing(folder: Path) -> Finding:
    above = next(part for part in folder.absolute().parents if part.exists())
    if os.access(above, os.W_OK):
        return Finding("data folder", "ok", f"{folder}, made at the first start")
    return Finding(
        "data folder", "fail", f"{folder} can't be made in {above}", "choose another by --data"
    )


def check_lock(folder: Path) -> Finding:
    """Whether a server holds the folder."""
    path = folder / LOCK_FILE
    if sys.platform == "win32" or not path.exists():
        return Finding("lock", "ok", "free")
    import fcntl

    try:
        with path.open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = path.read_text("ascii", "replace").strip()
        return Finding("lock", "ok", f"held by the running server, process {holder or '?'}")
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        return Finding("lock", "fail", f"{path}: {why}", "change its owner")
    return Finding("lock", "ok", "free")


def check_log(folder: Path) -> list[Finding]:
    """Whether the log is whole; beside a running server too."""
    from antiphon.bus.store import StoreCorrupt, StoreUnavailable
    from antiphon.stores.sqlite import damage
    from antiphon.stores.sqlite.health import examine
    from antiphon.stores.sqlite.schema import SCHEMA

    log = folder / LOG_FILE
    if not log.exists():
        return [Finding("log", "ok", "none yet, made at the first start")]
    try:
        with progress("looking at the log") as tell:
            health = examine(log, progress=tell)
    except StoreCorrupt as error:
        return [Finding("log", "fail", str(error), REPAIR)]
    except StoreUnavailable as error:
        return [Finding("log", "fail", str(error), "is the disk all right?")]
    except StartError as error:
        return [Finding("log", "fail", str(error), "use the program that wrote it")]
    if health.troubles:
        *most, last = [Finding("log", "fail", trouble) for trouble in health.troubles]
        return [*most, last._replace(advice=REPAIR)]
    about = f"{console.counted(health.events, 'event')}, head {health.head}, all in order"
    if damage.forget(log):
        about += "; damage had been noted, and the note is gone"
    if health.schema < SCHEMA:
        advice = f"the next start upgrades it to {SCHEMA}, and keeps a copy of it"
        return [Finding("log", "warn", f"{about}, schema {health.schema}", advice)]
    return [Finding("log", "ok", about)]


def repair_log(folder: Path, *, as_json: bool = False) -> int:
    """Make a damaged log whole again, as far as its events can be read; 0 if it is whole now.

    Raises:
        StartError: A server holds the folder.
        StoreUnavailable: There is no room for a new file.
    """
    from antiphon.app.folder import DataFolder
    from antiphon.stores.sqlite.repair import repair

    log = folder / LOG_FILE
    if not log.exists():
        raise AntiphonError(f"there is no log to repair: {log} is missing")
    held = DataFolder(folder)
    held.acquire()
    try:
        before = check_log(folder)
        if all(found.advice != REPAIR for found in before):
            for found in before:
                _show(found, as_json=as_json)
            return 1 if any(found.state == "fail" for found in before) else 0
        with progress("reading the damaged log") as tell:
            done = repair(log, progress=tell)
        about = f"{console.counted(done.saved, 'event')}; the damaged log is kept as {done.kept}"
        saved = Finding("saved", "ok" if done.saved else "warn", about)
        for found in (saved, _lost(done), *check_log(folder)):
            _show(found, as_json=as_json)
    finally:
        held.release()
    return 0


def _lost(done: Repaired) -> Finding:
    ranges = done.lost
    if not ranges and not done.saved:
        return Finding("lost", "warn", "all there may have been", "a backup may have it")
    if not ranges:
        return Finding("lost", "ok", "nothing that is known of")
    count = sum(last - first + 1 for first, last in ranges)
    shown = ", ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in ranges[:SHOWN_RANGES])
    more = f" and {len(ranges) - SHOWN_RANGES} more ranges" if len(ranges) > SHOWN_RANGES else ""
    return Finding("lost", "warn", f"{count} seqs at most: {shown}{more}", "a backup may have them")


def check_disk(folder: Path) -> Finding:
    """How much room is left where the log is."""
    place = folder.absolute()
    place = next(part for part in (place, *place.parents) if part.exists())
    free = shutil.disk_usage(place).free
    log = folder / LOG_FILE
    used = f"; the log has {console.size(log.stat().st_size)}" if log.exists() else ""
    about = f"{console.size(free)} free{used}"
    if free < LEAST_BYTES:
        return Finding("disk", "fail", about, "make room: publishes will be refused")
    if free < LOW_BYTES:
        return Finding("disk", "warn", about, "make room soon")
    return Finding("disk", "ok", about)


def check_port(host: str, port: int, folder: Path) -> Finding:
    """Whether the port is free, or ours."""
    server = read_server_file(folder)
    if server is not None:
        try:
            with HttpClient(Endpoint(server.url, cert=server.cert), timeout=5.0) as client:
                client.health()
        except NoServer:
            pass  # left by a server that was killed; the port itself decides
        except AntiphonError as error:
            return Finding("port", "fail", f"{server.url}: {error}", "is it another program?")
        else:
            return Finding("port", "ok", f"{server.url} answers")
    if port == 0:
        return Finding("port", "ok", "a free one is picked")
    try:
        with socket.create_server((host, port)):
            return Finding("port", "ok", f"{port} is free")
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        return Finding("port", "fail", f"{host}:{port}: {why}", "choose another by --port")
