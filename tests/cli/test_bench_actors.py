"""A tiny run of ``bench actors`` measures everything it names; no test asserts a time."""

from __future__ import annotations

import json
from typing import Any

import pytest

from antiphon.cli import bench_actors, bench_peers, main
from antiphon.cli.bench_actors import Plan, antiphon

TINY = Plan(rounds=1, seconds=0.005, idle=20)
KEYS = {
    "quick",
    "casts_per_s",
    "calls_per_s",
    "spawns_per_s",
    "fanout_deliveries_per_s",
    "bytes_per_idle_actor",
    "peers",
    "ratio_casts_to_asyncio_queue",
    "ratio_calls_to_plain",
    "ratio_casts_to_fastest_peer",
    "asyncio_queue_per_s",
    "plain_casts_per_s",
    "plain_calls_per_s",
    "timer_late_ms",
    "python",
    "loop",
}


def measured(**more: Any) -> dict[str, Any]:
    return bench_actors.bench_actors(quick=True, progress=lambda _: None, plan=TINY, **more)


@pytest.mark.parametrize("asyncio_loop", [False, True])
def test_every_figure_is_there_and_positive(
    monkeypatch: pytest.MonkeyPatch, asyncio_loop: bool
) -> None:
    monkeypatch.setattr(bench_actors, "installed_peers", dict)
    figures = measured(asyncio_loop=asyncio_loop)
    assert figures.keys() == KEYS
    assert figures["peers"] == {}
    assert figures["ratio_casts_to_fastest_peer"] is None
    numbers = {name: v for name, v in figures.items() if type(v) in (int, float)}
    # so few actors may fit into memory that the process has already, so short a time before a tick
    for name in ("bytes_per_idle_actor", "timer_late_ms"):
        assert numbers.pop(name) >= 0
    assert all(number > 0 for number in numbers.values()), numbers


def test_a_peer_is_measured_beside_the_actors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_actors, "installed_peers", lambda: {"itself": antiphon})
    figures = measured()
    assert figures["peers"].keys() == {"itself"}
    assert all(figures["peers"]["itself"][key] > 0 for key in ("casts_per_s", "calls_per_s"))
    assert figures["ratio_casts_to_fastest_peer"] > 0


@pytest.mark.parametrize("name", bench_peers.PEERS)
async def test_a_peer_that_is_installed_loses_nothing(name: str) -> None:
    module, opener = bench_peers.PEERS[name]
    pytest.importorskip(module)
    async with opener() as peer:
        await peer.casts()
        await peer.calls(3)


async def test_a_burst_that_is_not_handled_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_peers, "STUCK_S", 0.0)
    with pytest.raises(RuntimeError, match="only 0 of 1 messages"):
        await bench_peers.Tally().reach(1)


def test_the_command_prints_one_object_or_a_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_actors, "QUICK", TINY)
    monkeypatch.setattr(bench_actors, "installed_peers", dict)
    assert main(["bench", "actors", "--quick", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out).keys() == KEYS
    assert "beside asyncio.Queue" in err

    assert main(["bench", "actors", "--quick"]) == 0
    out = capsys.readouterr().out
    assert "a tenth of the workload" in out
    assert "asyncio.Queue" in out
    assert "bytes_per_idle_actor" in out
