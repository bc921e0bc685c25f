"""What reaches the terminal: text for people, made harmless, and raw lines for programs."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence

from antiphon.errors import AntiphonError, BusError

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def complain(message: str) -> None:
    """Write one line to standard error, with the program's name."""
    print(f"antiphon: {clean(message)}", file=sys.stderr, flush=True)


def say(message: str) -> None:
    """Write one line for people."""
    print(message)


def counted(count: int, noun: str) -> str:
    """Say how many, with the noun in its number."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def raw_lines() -> Callable[[bytes], None]:
    """Make what writes lines for programs, byte by byte as they are.

    On a terminal, what could steer it is written as JSON's own escapes, which mean the same.
    """
    write = sys.stdout.write
    if sys.stdout.isatty():
        return lambda data: _ignore(write(f"{harmless_json(data).decode()}\n"))
    return lambda data: _ignore(write(f"{data.decode('utf-8', 'surrogateescape')}\n"))


def _ignore(_: int) -> None: ...


def harmless_json(data: bytes) -> bytes:
    """Escape what JSON allows to stand for itself but a terminal would obey."""
    text = data.decode("utf-8", "replace")
    return data if text.isprintable() else _escaped(text, "\\u{:04x}").encode()


def describe(error: AntiphonError) -> str:
    """Say in one line what failed; a refusal with its stable code."""
    if not isinstance(error, BusError):
        return str(error)
    hint = "; ANTIPHON_TOKEN gives the token" if error.code == "unauthorized" else ""
    return f"{error} ({error.code}){hint}"


def clean(text: str) -> str:
    r"""Show what is no printable character as ``\x1b``, ``\u202e`` and so on.

    That holds control characters, overrides of direction and what is invisible.
    """
    return text if text.isprintable() else ascii_escapes(text)


def ascii_escapes(text: str) -> str:
    """Escape every character that isn't printable, as Python would write it."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def coloured(text: str) -> str:
    """Clean a line of a program's output, leaving tabs and colours."""
    if text.isprintable():
        return text
    parts = _COLOUR.split(text)
    codes = [*_COLOUR.findall(text), ""]
    kept = ("".join(c if c == "\t" else clean(c) for c in part) for part in parts)
    shown = "".join(part + code for part, code in zip(kept, codes, strict=True))
    return shown + "\x1b[0m" if len(codes) > 1 else shown


def _escaped(text: str, form: str) -> str:
    def one(char: str) -> str:
        if char.isprintable():
            return char
        units = char.encode("utf-16-be", "surrogatepass")
        return "".join(
            form.format(int.from_bytes(units[at : at + 2])) for at in range(0, len(units), 2)
        )

    return "".join(map(one, text))


def uses_colour() -> bool:
    """Whether standard output is a terminal that wants colours."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def dim(text: str, on: bool) -> str:
    """Show *text* less bright."""
    return f"\x1b[2m{text}\x1b[0m" if on else text


def columns_wide() -> int | None:
    """Columns of the terminal; None if output goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def print_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows in aligned columns; numbers to the right."""
    for line in table_lines(headers, rows):
        say(line)


def redraw(lines: Sequence[str]) -> None:
    """Show *lines* in place of what the terminal shows; elsewhere, after an empty line."""
    if not sys.stdout.isatty():
        print("", *lines, sep="\n", flush=True)
        return
    kept = lines[: shutil.get_terminal_size().lines - 1]
    sys.stdout.write("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in kept) + "\x1b[J")
    sys.stdout.flush()


def table_lines(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Align rows in columns, numbers to the right, below dim headers."""
    body = [[cell if isinstance(cell, str) else str(cell) for cell in row] for row in rows]
    table = [list(headers), *[[clean(cell) for cell in row] for row in body]]
    widths = [max(len(row[at]) for row in table) for at in range(len(headers))]
    right = [
        all(row[at][:1].isdigit() or row[at] in ("", "-") for row in body)
        for at in range(len(headers))
    ]
    lines = []
    for number, row in enumerate(table):
        cells = [
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, right, strict=True)
        ]
        line = "  ".join(cells).rstrip()
        lines.append(dim(line, uses_colour()) if number == 0 else line)
    return lines


def size(count: int) -> str:
    """Write a count of bytes in at most four digits and a unit."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def age(seconds: float) -> str:
    """Write a duration in its two largest units."""
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours < 48 else f"{hours // 24}d{hours % 24:02d}h"
