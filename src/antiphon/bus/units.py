"""Durations and sizes as people write them: ``7d``, ``2GiB``. Pure."""

from __future__ import annotations

import re

from antiphon.errors import BadRequest, cut

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
BYTES = {
    "b": 1,
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", 1)},
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", 1)},
}
LARGEST = 2**53

_AMOUNT = re.compile(r"(\d{1,16}(?:\.\d{1,6})?) *([a-z]+)", re.ASCII)


def parse_duration(value: object) -> float:
    """Seconds: a number of them, or text such as ``90s``, ``24h``, ``7d``.

    Raises:
        BadRequest: It is neither, or negative.
    """
    return _parse(value, SECONDS, "a duration", "a number and one of s, m, h, d, w, as in 7d")


def parse_size(value: object) -> int:
    """Bytes: a number of them, or text such as ``256MiB``, ``2GB``.

    Raises:
        BadRequest: It is neither, or negative.
    """
    wanted = "a number and one of B, KB to TB, KiB to TiB, as in 2GiB"
    return round(_parse(value, BYTES, "a size", wanted))


def show_duration(seconds: float) -> str:
    """The duration in its largest unit that leaves no rest: ``7d``."""
    for unit, each in reversed(SECONDS.items()):
        if unit != "w" and seconds >= each and seconds % each == 0:
            return f"{seconds / each:.0f}{unit}"
    return f"{seconds:g}s"


def show_size(count: int) -> str:
    """The size in its largest binary unit that leaves no rest: ``2GiB``."""
    for unit, power in (("TiB", 4), ("GiB", 3), ("MiB", 2), ("KiB", 1)):
        if count and count % 1024**power == 0:
            return f"{count // 1024**power}{unit}"
    return f"{count}B"


def _parse(value: object, units: dict[str, int], what: str, wanted: str) -> float:
    amount = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        amount = float(value)
    elif isinstance(value, str):
        found = _AMOUNT.fullmatch(value.strip().lower())
        if found is not None and found[2] in units:
            amount = float(found[1]) * units[found[2]]
    if amount is None or not 0 <= amount <= LARGEST:
        raise BadRequest(f"{cut(value)} is not {what}: {wanted}", value=value)
    return amount
