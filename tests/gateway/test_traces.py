"""One trace from a request through the events and actors that it leads to; spans if wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracerProvider, SpanKind, StatusCode

from antiphon.actors import Actor, ActorContext, ActorRef, Trace, current_trace
from antiphon.actors.spans import recording
from antiphon.bridges.otel import record_spans
from antiphon.messages import Event

Until = Callable[[Callable[[], bool]], Any]
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACE_ID = PARENT.split("-")[1]


class Spans:
    """What was written down."""

    def __init__(self, provider: TracerProvider, exporter: InMemorySpanExporter) -> None:
        self.provider = provider
        self._exporter = exporter

    def named(self, name: str) -> ReadableSpan:
        (span,) = (span for span in self.all() if span.name == name)
        return span

    def all(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()


@pytest.fixture
def spans() -> Iterator[Spans]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    undo = record_spans(provider)
    assert undo is not None
    yield Spans(provider, exporter)
    undo()
    assert not recording()


class Follower(Actor[str]):
    """Answers each event of ``a.*`` by one on ``b.done``, and by a message to another actor."""

    def __init__(self, bus: Any, seen: list[Trace | None], other: ActorRef[str] | None) -> None:
        self.bus = bus
        self.seen = seen
        self.other = other

    async def pre_start(self, ctx: ActorContext[str]) -> None:
        if self.other is not None:
            await self.bus.subscribe(ctx.myself, "a.*")

    async def handle_event(self, event: Event, ctx: ActorContext[str]) -> None:
        self.seen.append(current_trace())
        if self.other is not None:
            self.other.cast("look")
            await self.bus.publish_event("b.done", level="none")

    async def handle(self, msg: str, ctx: ActorContext[str]) -> None:
        self.seen.append(current_trace())
        if msg == "fail":
            raise ValueError("secret words")


async def follow(desk: Any) -> list[Trace | None]:
    seen: list[Trace | None] = []
    other = await desk.system.spawn(lambda: Follower(desk.bus, seen, None))
    await desk.system.spawn(lambda: Follower(desk.bus, seen, other))
    return seen


async def test_spans_link_a_request_its_publish_the_handler_and_what_that_leads_to(
    desk: Any, spans: Spans, until: Until
) -> None:
    seen = await follow(desk)
    event = {"topic": "a.x", "payload": "private words", "correlation_id": "job 7"}
    answer = await desk.post("/v1/events?level=synced", event, headers={"traceparent": PARENT})
    assert answer.status == 200
    await until(lambda: len(seen) == 2 and len(spans.all()) == 5)

    request, publish = spans.named("POST /v1/events"), spans.named("publish a.x")
    handled, done = spans.named("handle Event"), spans.named("publish b.done")
    hop = spans.named("handle str")
    links = [(request, None), (publish, request), (handled, publish), (done, handled)]
    for span, parent in [*links, (hop, handled)]:
        assert f"{span.context.trace_id:032x}" == TRACE_ID
        wanted = PARENT.split("-")[2] if parent is None else f"{parent.context.span_id:016x}"
        assert f"{span.parent.span_id:016x}" == wanted
    kinds = [span.kind for span in (request, publish, handled)]
    assert kinds == [SpanKind.SERVER, SpanKind.PRODUCER, SpanKind.CONSUMER]
    stored = await desk.get("/v1/events/1")
    assert stored["headers"]["traceparent"].split("-")[2] == f"{publish.context.span_id:016x}"
    assert seen[0] is not None
    assert seen[0].correlation_id == "job 7"


async def test_attributes_are_those_of_the_conventions_and_hold_no_payload_and_no_token(
    desk: Any, spans: Spans
) -> None:
    await desk.post("/v1/events?level=none", {"topic": "a.x", "payload": "private words"})
    await desk.ask("GET", "/v1/events/77")
    request, publish = spans.named("POST /v1/events"), spans.named("publish a.x")
    assert request.attributes is not None
    assert dict(request.attributes) == {
        "http.request.method": "POST",
        "url.path": "/v1/events",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "http.response.status_code": 200,
        "http.route": "/v1/events",
    }
    assert publish.attributes is not None
    assert publish.attributes["messaging.system"] == "antiphon"
    assert publish.attributes["messaging.destination.name"] == "a.x"
    assert spans.named("GET /v1/events/{seq}").status.status_code is StatusCode.UNSET
    shown = "".join(span.to_json() for span in spans.all())
    assert "private" not in shown
    assert desk.token not in shown


async def test_a_failure_is_told_by_its_name_alone(desk: Any, spans: Spans, until: Until) -> None:
    ref = await desk.system.spawn(lambda: Follower(desk.bus, [], None))

    async def send() -> None:
        from antiphon.actors import tracing

        with tracing(Trace.parse(PARENT)):
            ref.cast("fail")

    await send()
    await until(lambda: bool(spans.all()))
    span = spans.named("handle str")
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["error.type"] == "ValueError"
    assert "secret" not in span.to_json()


async def test_a_refused_publish_is_a_failed_span(desk: Any, spans: Spans) -> None:
    answer = await desk.post("/v1/events", {"topic": "a.x", "expect_last_seq": 9})
    assert answer.status == 409
    span = spans.named("publish a.x")
    assert span.attributes is not None
    assert span.attributes["error.type"] == "WrongExpectedSeq"
    large = await desk.post("/v1/events", {"topic": "a.y", "payload": "x" * 262_100})
    assert large.status == 413
    assert spans.named("publish a.y").attributes["error.type"] == "PayloadTooLarge"  # type: ignore[index]


async def test_without_a_tracer_a_trace_still_goes_from_the_request_to_the_handlers(
    desk: Any, until: Until
) -> None:
    seen = await follow(desk)
    await desk.post("/v1/events", {"topic": "a.x"}, headers={"traceparent": PARENT})
    await desk.post("/v1/events", {"topic": "a.y"})
    await desk.post("/v1/events", {"topic": "a.z"}, headers={"traceparent": "00-nonsense"})
    await until(lambda: len(seen) == 6)
    ids = [None if trace is None else trace.trace_id for trace in seen]
    assert ids.count(TRACE_ID) == 2
    assert ids.count(None) == 4
    events = (await desk.get("/v1/events"))["events"]
    headers = {event["topic"]: event.get("headers") for event in events[:1]}
    assert headers["a.x"]["traceparent"].startswith(f"00-{TRACE_ID}-")
    done = (await desk.get("/v1/events?pattern=b.*"))["events"]
    assert ["headers" in event for event in done].count(True) == 1


async def test_a_request_that_is_sent_again_is_a_duplicate(desk: Any) -> None:
    event = {"topic": "a.x", "id": "x", "payload": 1}
    answers = [
        await desk.post("/v1/events", event, headers={"traceparent": PARENT}) for _ in range(2)
    ]
    first, again = (answer.json()["results"][0] for answer in answers)
    assert (again["seq"], again["duplicate"]) == (first["seq"], True)


async def test_an_event_of_a_durable_subscription_is_handled_in_its_trace_too(
    desk: Any, until: Until
) -> None:
    seen: list[Trace | None] = []

    class Holder(Follower):
        async def pre_start(self, ctx: ActorContext[str]) -> None:
            await self.bus.subscribe(ctx.myself, "a.*", durable="d")

    await desk.system.spawn(lambda: Holder(desk.bus, seen, None))
    await desk.post("/v1/events", {"topic": "a.x"}, headers={"traceparent": PARENT})
    await desk.post("/v1/events", {"topic": "a.x"})
    await until(lambda: len(seen) == 2)
    assert [trace and trace.trace_id for trace in seen] == [TRACE_ID, None]


async def test_nothing_is_recorded_unless_a_tracer_is_configured() -> None:
    assert record_spans() is None
    assert record_spans(NoOpTracerProvider()) is None
    assert not recording()
    await asyncio.sleep(0)
