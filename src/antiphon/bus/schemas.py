"""Which payloads topics take: JSON schemas by patterns, kept in one file beside the log.

Every schema whose pattern matches a topic counts, so a narrow one can't undo a wide one.

Promises: docs/semantics/bus.md#schemas.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from antiphon.bus.json_schema import Schema
from antiphon.bus.topics import check_pattern, is_reserved, matches
from antiphon.errors import (
    BadRequest,
    BusError,
    InvalidPattern,
    PayloadMisfit,
    StartError,
    StorageUnavailable,
)

MOST = 256
"""Most patterns that have a schema."""


class Ruled(NamedTuple):
    """A pattern and its schema."""

    pattern: str
    schema: Schema


class Schemas:
    """The schemas of one log.

    Args:
        path: The file that keeps them; None keeps them in memory.

    Raises:
        StartError: The file can't be read, or holds something else: better no server than
            one that lets everything through.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._by_pattern: dict[str, Schema] = {} if path is None else _read(path)

    def all(self) -> dict[str, Any]:
        """Every schema as JSON values, by pattern, sorted."""
        return {name: schema.source for name, schema in sorted(self._by_pattern.items())}

    def of(self, topic: str) -> tuple[Ruled, ...]:
        """Those that *topic* must keep to."""
        return tuple(
            Ruled(pattern, schema)
            for pattern, schema in sorted(self._by_pattern.items())
            if matches(pattern, topic)
        )

    def changed(self, pattern: str, source: Any | None) -> dict[str, Schema]:
        """All schemas as they will be with *source* for *pattern*; None removes it.

        Raises:
            InvalidPattern: *pattern* is none, or of reserved topics.
            InvalidSchema: *source* is none.
            BadRequest: There are too many.
        """
        check_pattern(pattern)
        if is_reserved(pattern):
            raise InvalidPattern(
                f"'{pattern}' takes no schema: reserved topics are Antiphon's own", value=pattern
            )
        following = {name: one for name, one in self._by_pattern.items() if name != pattern}
        if source is not None:
            following[pattern] = Schema(source)
        if len(following) > MOST:
            raise BadRequest(f"{len(following)} patterns with a schema, {MOST} at most", limit=MOST)
        return following

    def save(self, following: Mapping[str, Schema]) -> None:
        """Keep *following* on disk, whole or not at all. Blocks; may run in any thread.

        Raises:
            StorageUnavailable: The disk refused.
        """
        if self._path is None:
            return
        data = msgspec.json.encode({name: one.source for name, one in sorted(following.items())})
        fresh = self._path.with_name(f"{self._path.name}.new")
        try:
            _write_synced(fresh, msgspec.json.format(data))
            fresh.replace(self._path)
            _sync_folder(self._path.parent)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise StorageUnavailable(f"the schemas can't be kept: {why}") from error

    def take(self, following: dict[str, Schema]) -> None:
        """Go by *following* from now on."""
        self._by_pattern = following


def check(topic: str, payload: Any, ruled: tuple[Ruled, ...]) -> None:
    """See that *payload* keeps to every schema of its topic.

    Raises:
        PayloadMisfit: It doesn't; the text has the JSON pointer and what is wrong there.
    """
    for pattern, schema in ruled:
        misfit = schema.misfit(payload)
        if misfit is not None:
            raise PayloadMisfit(topic, pattern, *misfit)


def _read(path: Path) -> dict[str, Schema]:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        return {check_pattern(pattern): Schema(source) for pattern, source in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError, BusError) as error:
        raise StartError(f"cannot use the schemas in {path}: {error}") from error


def _write_synced(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
