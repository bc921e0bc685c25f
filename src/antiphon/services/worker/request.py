"""Whether a worker may be started as asked, and the environment it gets. Pure but for
one look at the folder.

Errors name the value and the rule, but of the environment only names, never values.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

import msgspec

from antiphon.errors import BadRequest, cut
from antiphon.messages import WorkerStart

ARGV_BYTES = 128 * 1024
ENV_BYTES = 1024 * 1024
SHOWN_ARGV_BYTES = 8 * 1024
SECRET_NAMES = frozenset({"ANTIPHON_TOKEN"})

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")


def check_start(start: WorkerStart) -> WorkerStart:
    """The same, with its folder filled in.

    Raises:
        BadRequest: Something breaks a rule.
    """
    _check_argv(start.argv)
    _check_env(start.env or {})
    if start.name is not None and not _TOKEN.fullmatch(start.name):
        raise BadRequest(
            f"name must be 1 to 64 letters, digits, _ or -, got {cut(start.name)!r}",
            value=start.name,
        )
    if start.restart not in ("never", "on-failure", "always"):
        raise BadRequest(
            f"restart must be never, on-failure or always, got {cut(start.restart)!r}",
            value=start.restart,
        )
    if start.output not in ("all", "tail"):
        raise BadRequest(
            f"output must be all or tail, got {cut(start.output)!r}", value=start.output
        )
    if start.max_output_bytes < 0:
        raise BadRequest(
            f"max_output_bytes must be at least 0, got {start.max_output_bytes}",
            value=start.max_output_bytes,
        )
    _check_correlation(start.correlation_id)
    return msgspec.structs.replace(start, cwd=_check_cwd(start.cwd))


def _check_argv(argv: list[str]) -> None:
    if not argv or not argv[0]:
        raise BadRequest(f"argv must begin with a program, got {cut(argv)}", value=argv)
    for number, part in enumerate(argv):
        if "\0" in part:
            raise BadRequest(
                f"argv may not contain NUL, but part {number} does: {cut(part)}", value=part
            )
        if not _is_text(part):
            raise BadRequest(f"argv must be valid Unicode, but part {number} isn't", value=part)
    size = _size(argv)
    if size > ARGV_BYTES:
        raise BadRequest(
            f"argv may have {ARGV_BYTES} bytes, got {size}", value=argv[0], limit=ARGV_BYTES
        )


def _check_env(env: Mapping[str, str]) -> None:
    for name, value in env.items():
        if not name or "=" in name or "\0" in name or not _is_text(name):
            raise BadRequest(
                f"env has a name that is empty or contains = or NUL: {cut(name)!r}", value=name
            )
        if "\0" in value or not _is_text(value):
            raise BadRequest(f"the value of env {cut(name)} contains NUL or isn't Unicode")
    size = _size(env) + _size(env.values())
    if size > ENV_BYTES:
        raise BadRequest(f"env may have {ENV_BYTES} bytes, got {size}", limit=ENV_BYTES)


def _check_cwd(cwd: str | None) -> str:
    if cwd is None:
        home = os.path.expanduser("~")
        return home if os.path.isabs(home) and os.path.isdir(home) else "/"
    if "\0" in cwd or not _is_text(cwd) or not os.path.isabs(cwd):
        raise BadRequest(f"cwd must be an absolute path, got {cut(cwd)!r}", value=cwd)
    if not os.path.isdir(cwd):
        raise BadRequest(f"cwd must be a folder, {cut(cwd)} is none", value=cwd)
    return cwd


def _check_correlation(id: str | None) -> None:
    if id is not None and not (1 <= len(id) <= 200 and id.isprintable() and _is_text(id)):
        raise BadRequest(
            f"correlation_id must be 1 to 200 printable characters, got {cut(id)!r}", value=id
        )


def environment(given: Mapping[str, str] | None, ours: Mapping[str, str]) -> dict[str, str]:
    """The environment of a command: what was *given*, and what no program can do without.

    Args:
        ours: The server's own, asked only for PATH, HOME and LANG.
    """
    env = {
        "PATH": ours.get("PATH") or "/usr/local/bin:/usr/bin:/bin",
        "HOME": ours.get("HOME") or os.path.expanduser("~"),
        "LANG": ours.get("LANG") or "C.UTF-8",
    }
    env.update(given or {})
    return {name: value for name, value in env.items() if name not in SECRET_NAMES}


def shown(argv: list[str]) -> list[str]:
    """*argv* as it goes into an event: its beginning, if it is very long."""
    room = SHOWN_ARGV_BYTES
    parts: list[str] = []
    for part in argv:
        if len(part) + 1 > room:
            return [*parts, part[:room] + "…"]
        room -= len(part) + 1
        parts.append(part)
    return parts


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _size(parts: Iterable[str]) -> int:
    return sum(len(part.encode()) + 1 for part in parts)
