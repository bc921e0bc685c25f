"""What operators see of a real server: its numbers, and spans once its program has a tracer."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest
from benchmarks.prove.server import Served, wait_for
from prometheus_client.parser import text_string_to_metric_families as parse

TRACED = """
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

def actors(app):
    provider = TracerProvider()
    out = Path("spans.jsonl").open("a", buffering=1)
    one_line = lambda span: span.to_json(indent=None) + "\\n"
    exporter = ConsoleSpanExporter(out=out, formatter=one_line)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return []
"""


def test_a_tracer_that_the_program_configures_gets_spans_and_a_scrape_tells_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "traced.py").write_text(TRACED)
    monkeypatch.chdir(tmp_path)
    with Served(tmp_path / "data", "--actors", "traced:actors") as served:
        served.publish("a.b", "hello")
        file = tmp_path / "spans.jsonl"

        def named() -> set[str]:
            return {json.loads(line)["name"] for line in file.read_text().splitlines()}

        wanted = {"POST /v1/events", "publish a.b"}
        wait_for(lambda: file.exists() and wanted <= named(), 10, "the spans of a publish")
        token = (tmp_path / "data" / "admin-token").read_text().strip()
        request = urllib.request.Request(
            f"{served.url}/metrics", headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            families = {family.name: family for family in parse(answer.read().decode())}
        for name in ("log_size_bytes", "disk_free_bytes", "uptime_seconds"):
            assert families[f"antiphon_{name}"].samples[0].value > 0, name
