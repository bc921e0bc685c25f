"""Bytes in, lines out: how a command's output becomes the strings of events. Pure.

Leaves out how many lines make an event (``batches.py``).
"""

from __future__ import annotations

LONGEST_LINE = 16 * 1024


class LineSplitter:
    r"""Cuts a stream of bytes into lines, the same lines however the stream is chunked.

    A line ends at ``\n``, which is left out; ``\r`` stays. A line over *longest* bytes
    comes in pieces, none of which cuts a character of UTF-8 in two. At most *longest*
    bytes wait for the rest of their line.

    Args:
        longest: Most bytes of a line or piece; at least 4, the longest character.
    """

    def __init__(self, longest: int = LONGEST_LINE) -> None:
        if longest < 4:
            raise ValueError(f"longest must be at least 4, got {longest}")
        self._longest = longest
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that *data* completes."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if max(map(len, lines), default=0) > self._longest:
            lines = [piece for line in lines for piece in self._pieces(line)]
        if len(self._rest) > self._longest:
            *full, self._rest = self._pieces(self._rest)
            lines += full
        return lines

    def end(self) -> list[bytes]:
        """The last line, if it had no newline."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []

    def _pieces(self, line: bytes) -> list[bytes]:
        pieces = []
        while len(line) > self._longest:
            cut = _boundary(line, self._longest)
            pieces.append(line[:cut])
            line = line[cut:]
        pieces.append(line)
        return pieces


def _boundary(line: bytes, cut: int) -> int:
    """*cut*, or up to three bytes before it, so that no character is cut in two."""
    for back in range(4):
        if line[cut - back] & 0xC0 != 0x80:
            return cut - back
    return cut  # four continuation bytes in a row: not UTF-8 anyway


def text(line: bytes) -> str:
    """A line as text; what isn't UTF-8 becomes U+FFFD."""
    return line.decode("utf-8", "replace")
