"""``retention``, ``forget`` and ``topics --size`` against a real server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import WITHIN_S, Shell, environment
from tests.cli.test_events import publish

from antiphon.cli.keeping import goes_next
from antiphon.messages import PolicyInfo

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def policy(**fields: Any) -> PolicyInfo:
    facts: dict[str, Any] = {
        "pattern": "*",
        "limits": "7d",
        "max_age_s": 604_800.0,
        "max_count": None,
        "max_bytes": None,
        "compact_by_key": False,
        "hold_bytes": 0,
        "topics": 1,
        "events": 5,
        "size_bytes": 500,
        "share": None,
        "oldest": None,
        "next": None,
        "excess_events": 0,
        "excess_bytes": 0,
        "due": False,
        "held": False,
    }
    return PolicyInfo(**{**facts, **fields})


def test_what_goes_next_is_said_in_words() -> None:
    assert goes_next(policy(), NOW) == "-"
    assert goes_next(policy(share=0.4), NOW) == "when full"
    assert goes_next(policy(share=0.4, next=NOW + timedelta(hours=3)), NOW) == "in 3h00m"
    assert goes_next(policy(due=True), NOW) == "now"
    assert goes_next(policy(due=True, excess_events=3, excess_bytes=2048), NOW) == (
        "now: 3 events or 2.0 KiB"
    )
    assert goes_next(policy(due=True, held=True), NOW) == "held by durable subscriptions"


def test_forgetting_asks_on_a_terminal_and_no_means_no(live: Shell) -> None:
    publish(live, "asked.a", 1)
    ours, theirs = os.openpty()
    try:
        os.write(ours, b"n\n")
        done = subprocess.run(
            [sys.executable, "-m", "antiphon", "forget", "asked.a"],
            env=environment(live.data),
            stdin=theirs,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )
    finally:
        os.close(theirs)
        os.close(ours)
    assert (done.returncode, done.stderr) == (1, "antiphon: nothing was forgotten\n")
    assert "forgets 1 event" in done.stdout
    assert "asked.a" in live.ok("query", "asked.a")


def test_retention_shows_each_policy_with_what_it_holds(live: Shell) -> None:
    publish(live, "chat.room", 1, 2, 3)
    head, *rows = live.ok("retention").splitlines()
    assert all(len(line) <= 80 for line in (head, *rows)), "a terminal's width"
    assert head.split()[:3] == ["TOPICS", "OF", "KEEPS"]
    chat = next(row for row in rows if row.startswith("chat.*"))
    assert "90d, hold 1GiB" in chat
    assert "in 89d23h" in chat
    report = json.loads(live.ok("retention", "--json"))
    assert {one["pattern"] for one in report["policies"]} == {"*", "chat.*", "terminal.*", "_sys.*"}


def test_topics_by_size_begin_with_the_largest(live: Shell) -> None:
    publish(live, "size.small", "x")
    publish(live, "size.large", "x" * 5000)
    lines = live.ok("topics", "size.*", "--size").splitlines()
    assert [line.split()[0] for line in lines] == ["TOPIC", "size.large", "size.small"]
    assert lines[1].endswith("%")


def test_forget_asks_first_and_shows_how_much(live: Shell) -> None:
    publish(live, "paste.a", "secret", "secret")
    asked = live("forget", "paste.*")
    assert asked.returncode == 2
    assert "forgets 2 events" in asked.stderr
    assert "--yes" in asked.stderr
    assert live.ok("query", "paste.*", "--json").count("\n") == 2
    assert live.ok("forget", "paste.*", "--yes").startswith("forgot 2 events (")
    assert live.ok("query", "paste.*", "--json") == ""
    assert b"secret" not in (live.data / "log.db").read_bytes()
    record = json.loads(live.ok("query", "_sys.audit.*", "--json").splitlines()[-1])
    assert record["payload"]["pattern"] == "paste.*"


@pytest.mark.long
def test_forget_by_id_and_its_refusals(live: Shell) -> None:
    live.ok("publish", "paste.b", '"secret"', "--id", "oops")
    done = json.loads(live.ok("forget", "--id", "oops", "--yes", "--json"))
    assert (done["events"], done["scrubbed"]) == (1, True)
    for arguments, code, says in (
        (("--id", "oops"), 1, "no event with the id oops"),
        (("nothing.*",), 1, "no event of nothing.* is in the log"),
        ((), 2, "give either a PATTERN or --id"),
        (("a", "--id", "b"), 2, "give either a PATTERN or --id"),
        (("wor*er",), 2, "invalid_pattern"),
    ):
        refused = live("forget", *arguments, "--yes")
        assert (refused.returncode, refused.stdout) == (code, "")
        assert says in refused.stderr
        assert len(refused.stderr.splitlines()) == 1


def test_a_bad_policy_is_one_line_and_the_server_does_not_start(
    shell: Shell, tmp_path: Path
) -> None:
    config = tmp_path / "bad.toml"
    config.write_text('[retention."a.*"]\nmax_age = "7 days"\n')
    refused = shell("serve", "--port", "0", ANTIPHON_CONFIG=str(config))
    assert refused.returncode == 1
    assert refused.stderr.splitlines() == [
        "antiphon: setting retention: max_age of policy a.*: 7 days is not a duration:"
        " a number and one of s, m, h, d, w, as in 7d"
    ]
    assert not shell.data.exists()
