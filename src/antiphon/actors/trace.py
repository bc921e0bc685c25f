"""Which piece of work the present code belongs to, carried from message to message.

The form is W3C Trace Context (``traceparent``, version 00). A message sent while a
trace is current carries it; its handler runs in a span of its own below the
sender's. Nothing is recorded here: that is for whoever reads the ids.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

_FORM = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class Trace:
    """One step (span) of one piece of work (trace).

    Attributes:
        trace_id: 32 hexadecimal digits, the same in every step.
        span_id: 16 hexadecimal digits, of this step.
        flags: 1 if the trace is sampled by whoever began it.
        correlation_id: The user's own name for the work, if any.
    """

    trace_id: str
    span_id: str
    flags: int = 1
    correlation_id: str | None = None

    @classmethod
    def new(cls, correlation_id: str | None = None) -> Trace:
        """Begin a piece of work."""
        return cls(secrets.token_hex(16), secrets.token_hex(8), 1, correlation_id)

    @classmethod
    def parse(cls, traceparent: str, correlation_id: str | None = None) -> Trace:
        """Go on with a piece of work that began elsewhere.

        Raises:
            ValueError: *traceparent* is not of version 00's form, or an id is all zeros.
        """
        found = _FORM.fullmatch(traceparent)
        if found is None or not int(found[1], 16) or not int(found[2], 16):
            raise ValueError(f"not a traceparent: {traceparent[:80]!r} (expected 00-TRACE-SPAN-FF)")
        return cls(found[1], found[2], int(found[3], 16), correlation_id)

    @property
    def traceparent(self) -> str:
        """As it goes into a header."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"

    def step(self) -> Trace:
        """A new step of the same work."""
        return Trace(self.trace_id, secrets.token_hex(8), self.flags, self.correlation_id)


_current: ContextVar[Trace | None] = ContextVar("antiphon_trace", default=None)

current_trace = _current.get
"""The trace that the running code belongs to, or None."""
set_trace = _current.set


@contextmanager
def tracing(trace: Trace | None = None, *, correlation_id: str | None = None) -> Iterator[Trace]:
    """Let what the block sends belong to *trace*, or to a new piece of work."""
    trace = trace or Trace.new(correlation_id)
    token = _current.set(trace)
    try:
        yield trace
    finally:
        _current.reset(token)
