"""Tiny runs of ``bench bus``, ``store`` and ``replay``: they measure all that they name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from antiphon.cli import bench_bus, bench_bus_peers, bench_replay, bench_store, main
from antiphon.cli.benching import _show_lines

TINY = bench_bus.Plan(0.05, 0.2, 300)


@pytest.mark.long
def test_bench_bus_loses_nothing_and_prints_one_object(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_bus, "QUICK", TINY)
    monkeypatch.setattr(bench_bus, "SUBSCRIBERS", 5)
    monkeypatch.setattr(bench_bus, "installed_peers", dict)
    monkeypatch.setattr("antiphon.cli.bench_disk.filesystem", lambda folder: "any")
    assert main(["bench", "bus", "--quick", "--json", "--dir", str(tmp_path)]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["lost"], figures["out_of_order"], figures["quick"]) == (0, 0, True)
    assert figures["events"] >= 300
    assert figures["batch_handler_events_per_s"] > 0
    assert figures["at_10k"]["p99_ms"] >= figures["at_10k"]["p50_ms"] > 0
    assert list(tmp_path.iterdir()) == []


def test_bench_store_and_replay_print_one_object_each(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_store, "QUICK", bench_store.Plan(4000))
    monkeypatch.setattr(bench_replay, "ROWS", 400_000)
    monkeypatch.setattr(bench_replay, "RARE_EVERY", 100)
    monkeypatch.setattr("antiphon.cli.bench_disk.filesystem", lambda folder: "any")
    for name, rows in (("store", 4000), ("replay", 40_000)):
        assert main(["bench", name, "--quick", "--json", "--dir", str(tmp_path)]) == 0
        figures = json.loads(capsys.readouterr().out)
        assert figures.get("events", figures.get("rows")) == rows
        assert all(value for key, value in figures.items() if key.endswith(("_per_s", "_ms")))


def test_a_folder_in_memory_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    shm = Path("/dev/shm")
    if not shm.is_dir():
        pytest.skip("no /dev/shm here")
    assert main(["bench", "store", "--quick", "--dir", str(shm)]) == 1
    assert "where fsync means nothing" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["nats", "bubus"])
async def test_a_peer_that_is_installed_does_its_part(name: str, tmp_path: Path) -> None:
    peer = bench_bus_peers.installed_peers().get(name)
    if peer is None:
        pytest.skip(f"{name} is not installed")
    assert all(rate > 0 for rate in (await peer(tmp_path, 0.2)).values())


def test_a_long_name_is_parted_from_its_figure(capsys: pytest.CaptureFixture[str]) -> None:
    _show_lines({"short": 1, "n" * 40: 2})
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["short", "1"],
        ["n" * 40, "2"],
    ]
