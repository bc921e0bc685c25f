"""Steps of traces as spans of OpenTelemetry, where a tracer is configured.

Needs the package ``opentelemetry-api`` (``antiphon[otel]``); which spans go where is for the
SDK, which the program or its environment sets up, such as ``opentelemetry-instrument``.
Payloads, tokens and texts of errors never become attributes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from antiphon.actors import Trace
from antiphon.actors.spans import SpanKind, record_by

if TYPE_CHECKING:
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import TracerProvider

SYSTEM = "antiphon"
NAMED = "OTEL_PYTHON_TRACER_PROVIDER"
"""The environment variable by which the API itself finds a provider."""


def record_spans(provider: TracerProvider | None = None) -> Callable[[], None] | None:
    """Write spans by *provider*, or by the one that is configured in this process.

    Returns what undoes it; None if none is configured: nothing is recorded, at no cost.

    Raises:
        ImportError: A provider is named, and ``opentelemetry-api`` is not installed.
    """
    if provider is None and "opentelemetry.trace" not in sys.modules and not os.environ.get(NAMED):
        return None
    from opentelemetry.trace import NoOpTracerProvider, ProxyTracerProvider, get_tracer_provider

    found = get_tracer_provider() if provider is None else provider
    if isinstance(found, ProxyTracerProvider | NoOpTracerProvider):
        return None
    return record_by(OtelRecorder(found))


class _Span:
    """A span of OpenTelemetry."""

    def __init__(self, span: OtelSpan, trace: Trace) -> None:
        self._span = span
        self.trace = trace

    def end(
        self,
        error: str | None = None,
        *,
        name: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        from opentelemetry.trace import StatusCode

        if name is not None:
            self._span.update_name(name)
        if attributes:
            self._span.set_attributes(attributes)
        if error is not None:
            self._span.set_attribute("error.type", error)
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


class OtelRecorder:
    """Begins spans by the tracer ``antiphon`` of a provider."""

    def __init__(self, provider: TracerProvider) -> None:
        from antiphon import __version__

        self._tracer = provider.get_tracer(SYSTEM, __version__)

    def begin(
        self, name: str, kind: SpanKind, parent: Trace | None, attributes: Mapping[str, Any]
    ) -> _Span | None:
        from opentelemetry.trace import SpanKind as Kind

        kinds = {"server": Kind.SERVER, "producer": Kind.PRODUCER, "consumer": Kind.CONSUMER}
        told = attributes if kind == "server" else {"messaging.system": SYSTEM, **attributes}
        span = self._tracer.start_span(name, _context(parent), kinds[kind], told)
        found = span.get_span_context()
        if not found.is_valid:
            return None
        correlation_id = None if parent is None else parent.correlation_id
        trace_id, span_id = f"{found.trace_id:032x}", f"{found.span_id:016x}"
        return _Span(span, Trace(trace_id, span_id, int(found.trace_flags), correlation_id))


def _context(parent: Trace | None) -> Any:
    """Where a span belongs that goes on with *parent*, which may be of another process."""
    from opentelemetry.context import Context
    from opentelemetry.trace import (
        NonRecordingSpan,
        SpanContext,
        TraceFlags,
        set_span_in_context,
    )

    if parent is None:
        return Context()
    found = SpanContext(
        int(parent.trace_id, 16), int(parent.span_id, 16), True, TraceFlags(parent.flags)
    )
    return set_span_in_context(NonRecordingSpan(found), Context())
