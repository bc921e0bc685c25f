"""Where a subscription starts, and whether a cursor still belongs to this log. Pure.

The rule is Kafka's leader epochs: a cursor is valid while its epoch is known
and its seq lies before the next epoch's first; no event is read to check it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from antiphon.bus.store import Epoch
from antiphon.errors import BadRequest, cut
from antiphon.ids import Cursor

START_WORDS = ("now", "earliest", "last")


@dataclass(frozen=True, slots=True)
class Start:
    """A start, resolved.

    Attributes:
        position: Read what comes after this seq.
        reset: Why the cursor was not valid, if it was not.
        last: First the newest event of each matching topic up to ``position``.
        known: The start names a place, so what was trimmed after it is a gap.
    """

    position: int
    reset: str | None = None
    last: bool = False
    known: bool = False


def resolve(start: str | int, epochs: Sequence[Epoch], head: int) -> Start:
    """Turn a start word, a cursor or a bare seq into a position.

    Raises:
        BadRequest: If it is none of them.
    """
    if isinstance(start, bool) or not isinstance(start, (str, int)):
        raise BadRequest(f"not a start: {cut(start)}", value=start)
    if start == "now":
        return Start(head)
    if start == "last":
        return Start(head, last=True)
    if start == "earliest":
        return Start(0)
    if isinstance(start, int) or (start.isascii() and start.isdigit() and len(start) <= 16):
        seq = int(start)
        if seq < 0:
            raise BadRequest(f"a seq must not be negative, got {seq}", value=seq)
        return Start(min(seq, head), known=True)
    try:
        cursor = Cursor.parse(start)
    except ValueError as error:
        words = ", ".join(START_WORDS)
        raise BadRequest(
            f"{error}; a start is a cursor, a seq or one of {words}", value=start
        ) from None
    return _check(cursor, epochs, head)


def _check(cursor: Cursor, epochs: Sequence[Epoch], head: int) -> Start:
    for at, epoch in enumerate(epochs):
        if epoch.name != cursor.epoch:
            continue
        newest = at + 1 == len(epochs)
        last = head if newest else epochs[at + 1].first_seq - 1
        if cursor.seq <= last:
            return Start(cursor.seq, known=True)
        why = f"seq {cursor.seq} was never reached in epoch {cursor.epoch}, which ended at {last}"
        return Start(last, reset=why, known=True)
    return Start(0, reset=f"epoch {cursor.epoch} is not of this log")
