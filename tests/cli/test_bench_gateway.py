"""A tiny run of ``bench gateway``: real processes and sockets, and nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from antiphon.cli import bench_gateway, main

TINY = bench_gateway.Plan(0.2, 0.5, 0.5, 0.3, 1, 0.0)


@pytest.mark.long
def test_bench_gateway_loses_nothing_and_prints_one_object(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_gateway, "QUICK", TINY)
    monkeypatch.setattr(bench_gateway, "SOCKETS", 5)
    monkeypatch.setattr(bench_gateway, "RATE", 1000)
    monkeypatch.setattr("antiphon.cli.bench_disk.filesystem", lambda folder: "any")
    assert main(["bench", "gateway", "--quick", "--json", "--dir", str(tmp_path)]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["lost"], figures["out_of_order"], figures["quick"]) == (0, 0, True)
    assert figures["events_per_s"] > 0
    assert figures["plain_50_a_frame_events_per_s"] > 0
    for part in ("at_10k", "at_10k_one_stalled"):
        assert figures[part]["p99_ms"] >= figures[part]["p50_ms"] > 0
    assert list(tmp_path.iterdir()) == []
