"""The long proofs, with small counts; ``make prove`` runs them with the full ones."""

import os
import shutil
from pathlib import Path

import pytest
from benchmarks.prove import chaos, crashes, kills, losses, paused, seeds, soak, workspace

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


def test_the_fold_of_file_events_is_the_disk_after_every_step() -> None:
    result = workspace.run()
    assert result["held"], result


def test_a_worker_shows_every_line_and_a_flood_fills_nothing() -> None:
    result = workspace.run_this(20)
    assert result["held"], result


def test_a_server_killed_under_load_loses_and_doubles_nothing() -> None:
    browser = shutil.which("chromium") is not None
    assert browser or not os.environ.get("ANTIPHON_REQUIRE_BROWSER"), "no chromium is installed"
    result = kills.run(3, browser=browser)
    assert result["held"], result


def test_parts_of_a_loaded_server_die_and_nothing_is_missing() -> None:
    result = crashes.run_actors(12)
    assert result["held"], result


def test_a_stubborn_worker_is_gone_six_seconds_after_its_server() -> None:
    result = crashes.run_stubborn()
    assert result["held"], result


def test_the_runtimes_tests_pass_under_other_interleavings() -> None:
    result = seeds.run(3)
    assert result["held"], result


def test_paused_subscribers_catch_up_while_more_comes() -> None:
    result = paused.run(40, 3.0, 4000)
    assert result["held"], result


def test_a_log_survives_kills_at_any_point_and_power_cuts() -> None:
    for result in (losses.run_crashes(20), losses.run_power(10)):
        assert result["held"], result


def test_a_bounded_log_under_load_loses_nothing_but_what_it_tells(tmp_path: Path) -> None:
    """Twenty seconds are too short for a slope of memory; the full run judges that."""
    mib = 1024**2
    plan = soak.Plan(20.0, 6000, 10, 8 * mib, 4 * mib, 10.0)
    result = soak.run(plan, tmp_path / "soak.svg")
    assert (result["missing"], result["out_of_order"]) == (0, 0), result
    [gap], [begins] = result["stalled_gaps"], result["stalled_events_begin"]
    assert begins == gap[1] + 1
    assert result["durable"]["missing"] == 0, result
    assert len(result["durable"]["gaps"]) == 1
    assert result["file_swing_percent"] < 10
    assert (tmp_path / "soak.svg").read_text("utf-8").startswith("<svg")


def test_chaos_takes_no_event_from_whom_it_is_for_and_gives_none_to_others() -> None:
    result = chaos.run(chaos.Plan(seconds=25.0, events_per_s=150))
    assert result["held"], result
