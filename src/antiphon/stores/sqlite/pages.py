"""The pages of a log's file, its WAL included, read without SQLite.

For a file that SQLite no longer reads. Nothing here writes, and nobody else may.
Source: https://sqlite.org/fileformat2.html.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Self

PAGE_BYTES = 4096
"""What a page has where neither file says it: SQLite's default, which the log keeps."""
WAL_MAGIC = (0x377F0682, 0x377F0683)
WAL_HEADER = 32
FRAME_HEADER = 24

_u32 = struct.Struct(">I").unpack_from
_u32s = struct.Struct(">II").unpack_from


class FilePages:
    """Each page as the last commit left it; a context manager.

    Attributes:
        count: Pages are numbered from 1 to this.
        size: Bytes of each.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        wal = path.with_name(f"{path.name}-wal")
        self._wal = wal.open("rb") if wal.exists() else None
        self.size = self._page_bytes()
        self._frames = self._committed_frames()
        in_file = self._file.seek(0, 2) // self.size
        self.count = max([in_file, *self._frames])
        self._free = frozenset(self._free_pages())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *why: object) -> None:
        self._file.close()
        if self._wal is not None:
            self._wal.close()

    def read(self, number: int) -> bytes:
        """The page *number*; less than a page, or nothing, if the file is cut short."""
        at = self._frames.get(number)
        if at is not None and self._wal is not None:
            self._wal.seek(at)
            return self._wal.read(self.size)
        self._file.seek((number - 1) * self.size)
        return self._file.read(self.size)

    def in_use(self) -> Iterator[tuple[int, bytes]]:
        """Every page that is not on the list of free ones, with its number."""
        for number in range(1, self.count + 1):
            if number not in self._free:
                yield number, self.read(number)

    def _page_bytes(self) -> int:
        self._file.seek(16)
        size = int.from_bytes(self._file.read(2), "big")
        size = 65536 if size == 1 else size
        if _is_page_size(size):
            return size
        if self._wal is not None:
            self._wal.seek(8)
            size = int.from_bytes(self._wal.read(4), "big")
        return size if _is_page_size(size) else PAGE_BYTES

    def _committed_frames(self) -> dict[int, int]:
        """Where the newest frame of each page lies in the WAL, up to its last commit."""
        if self._wal is None:
            return {}
        self._wal.seek(0)
        header = self._wal.read(WAL_HEADER)
        if len(header) < WAL_HEADER or _u32(header)[0] not in WAL_MAGIC:
            return {}
        salts = header[16:24]
        committed: dict[int, int] = {}
        begun: dict[int, int] = {}
        at = WAL_HEADER
        end = self._wal.seek(0, 2)
        while at + FRAME_HEADER + self.size <= end:
            self._wal.seek(at)
            head = self._wal.read(FRAME_HEADER)
            if head[8:16] != salts:
                break  # left by an earlier round through the WAL
            number, pages_at_commit = _u32s(head)
            begun[number] = at + FRAME_HEADER
            if pages_at_commit:
                committed |= begun
                begun.clear()
            at += FRAME_HEADER + self.size
        return committed

    def _free_pages(self) -> set[int]:
        """What page 1 lists as free; what was deleted there is not to come back."""
        free: set[int] = set()
        first = self.read(1)
        trunk = _u32(first, 32)[0] if len(first) >= 100 and first[:6] == b"SQLite" else 0
        while 0 < trunk <= self.count and trunk not in free:
            free.add(trunk)
            page = self.read(trunk)
            if len(page) < self.size:
                break
            trunk, leaves = _u32s(page)
            leaves = min(leaves, self.size // 4 - 2)
            listed = struct.unpack_from(f">{leaves}I", page, 8)
            if not all(0 < number <= self.count for number in listed):
                break  # no list of ours
            free.update(listed)
        return free


def _is_page_size(size: int) -> bool:
    return 512 <= size <= 65536 and size & (size - 1) == 0
