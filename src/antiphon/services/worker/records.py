"""The files ``workers/ID.json``: what lives, so that nothing is forgotten by a crash.

A file is written before its worker starts and goes after its end is in the log. The end
is written into the file first, with the id of its event: so whoever finds the file says
the same end with the same id, and the log keeps it once. Mode 0600: it holds the
environment of the command.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any, Literal

import msgspec

from antiphon.messages import WorkerStart

_log = logging.getLogger(__name__)
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\.json")

EndKind = Literal["complete", "failed", "cancelled"]


class End(msgspec.Struct, frozen=True, kw_only=True):
    """How a stay ended: the event that says so. ``id`` is that event's."""

    kind: EndKind
    payload: dict[str, Any]
    id: str

    @property
    def reason(self) -> str | None:
        reason = self.payload.get("reason")
        return reason if isinstance(reason, str) else None


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One stay of one worker, as its file holds it.

    Attributes:
        stopped: Somebody has asked for its end, so it is not started again.
    """

    id: str
    run: str
    start: WorkerStart
    end: End | None = None
    stopped: bool = False

    @property
    def lasting(self) -> bool:
        """Whether it is to run again if whoever ran it is lost."""
        return self.start.restart == "always" and not self.stopped


class Records:
    """The folder of these files. Every method blocks for as long as the disk does.

    Raises:
        OSError: By every method: the disk refuses.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, record: Record) -> None:
        """Write or replace one file, whole or not at all."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(record.id)
        fresh = path.with_suffix(".new")
        try:
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(fd, "wb") as file:
                os.fchmod(fd, 0o600)
                file.write(msgspec.json.encode(record))
                file.flush()
                os.fsync(fd)
            fresh.replace(path)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise

    def remove(self, record: Record) -> None:
        """Remove the file, if it is still of this stay."""
        path = self._path(record.id)
        try:
            found = msgspec.json.decode(path.read_bytes(), type=Record)
        except (FileNotFoundError, msgspec.DecodeError):
            return
        if found.run == record.run:
            path.unlink(missing_ok=True)

    def read_all(self) -> list[Record]:
        """Every record there is, oldest first; a file that can't be read is set aside."""
        found = []
        names = sorted(os.listdir(self.folder)) if self.folder.is_dir() else []
        for name in names:
            path = self.folder / name
            if _NAME.fullmatch(name):
                try:
                    found.append(msgspec.json.decode(path.read_bytes(), type=Record))
                except msgspec.DecodeError as error:
                    aside = path.replace(path.with_suffix(".broken"))
                    _log.error("set aside %s, which is no record of a worker: %s", aside, error)
            elif name.endswith(".new"):
                path.unlink(missing_ok=True)  # a write that a crash cut off
        return sorted(found, key=lambda record: record.run)

    def _path(self, id: str) -> Path:
        return self.folder / f"{id}.json"
