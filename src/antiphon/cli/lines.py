"""Taking an input apart into lines, whatever pieces it comes in, and lines into events. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

LINE_BYTES = 256 * 1024
"""A longer line makes no event that a server takes."""


class Line(NamedTuple):
    """One line, without its end; *problem* says why it is none that can be published."""

    number: int
    data: bytes
    problem: str | None = None


class LineSplitter:
    r"""Cuts bytes into numbered lines at ``\n`` and ``\r\n``.

    Holds *limit* bytes at most: of a longer line only its number is kept.
    """

    def __init__(self, limit: int = LINE_BYTES) -> None:
        self._limit = limit
        self._number = 0
        self._begun: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[Line]:
        """The lines that end in *data*."""
        *ends, rest = data.split(b"\n")
        lines = []
        for end in ends:
            self._add(end)
            lines.append(self._cut())
        self._add(rest)
        return lines

    def end(self) -> list[Line]:
        """The last line, if the input did not end with one."""
        return [self._cut(last=True)] if self._size else []

    def _add(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._limit + 1:  # one for a "\r"
            self._begun.clear()
        elif piece:
            self._begun.append(piece)

    def _cut(self, *, last: bool = False) -> Line:
        data, size = b"".join(self._begun), self._size
        self._begun.clear()
        self._size = 0
        self._number += 1
        if not last and data.endswith(b"\r"):
            data = data[:-1]
            size -= 1
        if size > self._limit:
            return Line(self._number, b"", f"over {self._limit} bytes")
        return Line(self._number, data)


class NoPayload(ValueError):
    """A line that can't be read as what it was said to be."""


PayloadOf = Callable[[bytes], Any]


def text_payload(data: bytes) -> str:
    """A line of text as a string.

    Raises:
        NoPayload: It is not UTF-8.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise NoPayload(f"not UTF-8: byte {data[error.start]:#04x} at {error.start}") from None


def json_payload(data: bytes) -> msgspec.Raw | None:
    """A line of JSON as it is written; None for an empty one.

    Raises:
        NoPayload: It is no JSON in UTF-8.
    """
    if not text_payload(data).strip():
        return None
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except RecursionError:
        pass  # JSON, as far as can be told; the server judges its depth
    except msgspec.DecodeError as error:
        raise NoPayload(f"no JSON: {error}") from None
    return msgspec.Raw(data)
