"""Who writes down the steps of a trace: nobody, unless a recorder was given.

A step is begun where the work enters or goes on: a request, a publish, a message or an event
that carries a trace. Without a recorder a step has an id and no more. The recorder of
OpenTelemetry is ``bridges/otel.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, TypeAlias

from antiphon.actors.trace import Trace

SpanKind: TypeAlias = Literal["server", "producer", "consumer"]


class Span(Protocol):
    """One step that is being written down.

    Attributes:
        trace: What belongs to it carries this.
    """

    trace: Trace

    def end(
        self,
        error: str | None = None,
        *,
        name: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """It is over.

        Args:
            error: It failed by this: the name of an exception, or a status.
            name: What it is called after all.
            attributes: More of them.
        """
        ...


class Recorder(Protocol):
    """Writes steps down."""

    def begin(
        self, name: str, kind: SpanKind, parent: Trace | None, attributes: Mapping[str, Any]
    ) -> Span | None:
        """Begin a step under *parent*; None: this one isn't written down."""
        ...


_recorders: list[Recorder] = []


def record_by(recorder: Recorder) -> Callable[[], None]:
    """Let *recorder* write the steps of this process; the last one given counts.

    Returns what undoes it.
    """
    _recorders.append(recorder)

    def undo() -> None:
        if recorder in _recorders:
            _recorders.remove(recorder)

    return undo


def begin_span(
    name: str, kind: SpanKind, parent: Trace | None, attributes: Mapping[str, Any]
) -> Span | None:
    """Begin a step, if anybody writes it down."""
    return _recorders[-1].begin(name, kind, parent, attributes) if _recorders else None


def recording() -> bool:
    """Whether anybody writes steps down."""
    return bool(_recorders)


def end_with(span: Span) -> Callable[[asyncio.Future[Any]], None]:
    """A callback for a future, whose outcome is the step's."""

    def done(future: asyncio.Future[Any]) -> None:
        error = asyncio.CancelledError() if future.cancelled() else future.exception()
        span.end(None if error is None else type(error).__name__)

    return done
