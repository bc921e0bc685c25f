"""What a client was handed of one durable subscription, as far as its own words are judged. Pure.

Which events it has in hand now is known by the bus alone: it may take some back.
"""

from __future__ import annotations

from antiphon.errors import BadRequest


class Hand:
    """Remembers how far events were sent.

    Args:
        size: Most events in hand; kept by the bus.

    Attributes:
        last: The highest seq sent.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.last = 0

    def sent(self, seq: int) -> None:
        """Count *seq* as sent."""
        self.last = max(self.last, seq)

    def check(self, sid: str, seq: int) -> None:
        """Whether a client may speak of *seq* at all.

        Raises:
            BadRequest: Nothing that far was sent.
        """
        if seq > self.last:
            raise BadRequest(
                f"seq {seq} was never sent on {sid}, the last was {self.last}", value=seq
            )
