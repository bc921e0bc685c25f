"""The trace that an event carries in its headers, as ``traceparent``."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.actors import Trace
from antiphon.actors.feed import TracedEvents
from antiphon.messages import Event

TRACEPARENT = "traceparent"
TRACE = frozenset((TRACEPARENT, "tracestate"))
"""The headers that say which trace an event belongs to: other with each try, so no content."""


def trace_of(event: Event) -> Trace | None:
    """What *event* belongs to; None if it says nothing, or nothing that can be read."""
    if event.headers is None or TRACEPARENT not in event.headers:
        return None
    try:
        return Trace.parse(event.headers[TRACEPARENT], event.correlation_id)
    except ValueError:
        return None


def any_traced(events: Sequence[Event]) -> bool:
    """Whether one of *events* has a ``traceparent``."""
    for event in events:  # noqa: SIM110 - a loop costs half of any() here, once for each event
        if event.headers is not None and TRACEPARENT in event.headers:
            return True
    return False


def with_traces(events: Sequence[Event]) -> TracedEvents:
    """*events*, for an actor that handles each in its trace."""
    return TracedEvents(events, trace_of)
