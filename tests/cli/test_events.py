"""``publish``, ``tail``, ``query`` and ``topics`` against a real server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Shell, environment, wait_for

from antiphon.client import Endpoint, HttpClient
from antiphon.errors import WrongExpectedSeq
from antiphon.messages import EventIn, Published


def publish(shell: Shell, topic: str, *payloads: object) -> list[int]:
    """Publish through one client; give the positions."""
    facts = json.loads((shell.data / "server.json").read_text())
    token = (shell.data / "admin-token").read_text().strip()
    events = [EventIn(topic=topic, payload=payload) for payload in payloads]
    seqs: list[int] = []
    with HttpClient(Endpoint(facts["url"], token)) as client:
        for at in range(0, len(events), 500):
            results = client.publish_many(events[at : at + 500])
            seqs += [result.seq or 0 for result in results if isinstance(result, Published)]
    return seqs


def cursor_of(err: list[str] | str) -> Any:
    lines = err.splitlines() if isinstance(err, str) else err
    return json.loads(lines[-1])["cursor"]


def test_what_is_published_is_found_again_as_it_was_stored(live: Shell) -> None:
    said = live.ok(
        "publish", "shop.order", '{"n": 1}', "--key", "k", "--type", "t", "--json"
    )  # fmt: skip
    result = json.loads(said)
    assert result["seq"] >= 1
    (line,) = live.ok("query", "shop.order", "--json").splitlines()
    event = json.loads(line)
    assert (event["seq"], event["payload"], event["key"]) == (result["seq"], {"n": 1}, "k")

    facts = json.loads((live.data / "server.json").read_text())
    token = (live.data / "admin-token").read_text().strip()
    with HttpClient(Endpoint(facts["url"], token)) as client:
        assert client.event(result["seq"]).decode() == line, "byte for byte as on the wire"


def test_a_payload_comes_from_the_input_too(live: Shell) -> None:
    live.ok("publish", "from.input", "-", input='["a",\n 1]\n')
    assert json.loads(live.ok("query", "from.input", "--json"))["payload"] == ["a", 1]


def test_publishing_again_with_the_same_id_changes_nothing(live: Shell) -> None:
    first, second = (
        json.loads(live.ok("publish", "same.id", "1", "--id", "x", "--json")) for _ in range(2)
    )
    assert first["seq"] == second["seq"]
    assert second["duplicate"] is True
    refused = live("publish", "same.id", "2", "--id", "x")
    assert refused.returncode == 1
    assert refused.stderr.endswith("(id_conflict)\n")


def test_publishing_at_an_end_that_has_moved_is_refused_with_the_last_seq(live: Shell) -> None:
    live.ok("publish", "end.moves", "1", "--expect-last-seq", "0")
    refused = live("publish", "end.moves", "2", "--expect-last-seq", "0")
    assert refused.returncode == 1
    assert refused.stderr.endswith("(wrong_expected_seq)\n")
    facts = json.loads((live.data / "server.json").read_text())
    token = (live.data / "admin-token").read_text().strip()
    event = EventIn(topic="end.moves", expect_last_seq=0)
    with HttpClient(Endpoint(facts["url"], token)) as client:
        with pytest.raises(WrongExpectedSeq) as wrong:
            client.publish(event)
        [raw] = client.query(["end.moves"]).events
        assert wrong.value.last_seq == json.loads(raw)["seq"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("publish", "a..b"), 2, "invalid_topic"),
        (("publish", "_sys.x"), 1, "forbidden"),
        (("publish", "a", "1e400"), 2, "invalid_payload"),
        (("publish", "a", "{"), 2, "payload is no JSON"),
        (("publish", "a", "NaN"), 2, "payload is no JSON"),
        (("publish", "a", "1", "--level", "x"), 2, "--level"),
        (("tail", "**"), 2, "invalid_pattern"),
        (("tail", "--from", "now", "--after", "3"), 2, "exclude each other"),
        (("tail", "--after", "nonsense"), 2, "bad_request"),
        (("query", "a", "--since", "yesterday"), 2, "15m"),
        (("query", "--limit", "0"), 2, "--limit"),
        (("topics", "--url", "nonsense"), 2, "--url"),
    ],
)
def test_every_refusal_is_one_clear_line(
    live: Shell, arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = live(*arguments)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert done.stderr.startswith("antiphon: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_payload_nested_too_deep_is_refused_by_the_server(live: Shell) -> None:
    done = live("publish", "a", "-", input="[" * 100_000 + "]" * 100_000)
    assert done.returncode == 2
    assert "invalid_payload" in done.stderr


def test_a_wrong_token_is_told(live: Shell) -> None:
    done = live("topics", ANTIPHON_TOKEN="wrong")
    assert done.returncode == 1
    assert "(unauthorized); ANTIPHON_TOKEN" in done.stderr


def test_a_tail_goes_on_where_another_one_ended(live: Shell) -> None:
    seqs = publish(live, "page.turn", *range(7))
    first = live("tail", "page.turn", "--from", "earliest", "--limit", "3", "--json")
    rest = live("tail", "page.turn", "--after", cursor_of(first.stderr), "--limit", "4", "--json")
    seen = [json.loads(line)["seq"] for line in (first.stdout + rest.stdout).splitlines()]
    assert seen == seqs
    assert (first.returncode, rest.returncode) == (0, 0)
    by_seq = live("tail", "page.turn", "--after", str(seqs[4]), "--limit", "2", "--json")
    assert [json.loads(line)["payload"] for line in by_seq.stdout.splitlines()] == [5, 6]


def test_query_prints_the_newest_ones_oldest_first_beyond_one_page(live: Shell) -> None:
    seqs = publish(live, "many.events", *range(1003))
    found = live.ok("query", "many.events", "--limit", "1001", "--json").splitlines()
    assert [json.loads(line)["seq"] for line in found] == seqs[2:]
    assert len(live.ok("query", "many.events").splitlines()) == 100


def test_ctrl_c_ends_a_tail_in_order(live: Shell) -> None:
    (seq,) = publish(live, "stop.me", 1)
    tail = live.begin("tail", "stop.me", "--from", "earliest")
    tail.wait_for_lines(1)
    tail.signal(signal.SIGINT)
    assert tail.end() == 0
    assert cursor_of(tail.err).endswith(f".{seq}") or int(cursor_of(tail.err).split(".")[1]) > seq
    assert len(tail.err) == 1


def test_a_reader_that_leaves_ends_a_command_quietly(live: Shell) -> None:
    publish(live, "a.flood", *["x" * 2000] * 200)
    for command in ("query", "tail"):
        more = ["--from", "earliest"] if command == "tail" else ["--limit", "200"]
        arguments = [sys.executable, "-m", "antiphon", command, "a.flood", "--json", *more]
        done = subprocess.run(
            ["sh", "-c", '"$@" | head -n 1', "sh", *arguments],
            env=environment(live.data),
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert len(done.stdout.splitlines()) == 1
        assert [line for line in done.stderr.splitlines() if "cursor" not in line] == []


def test_a_hostile_payload_reaches_the_terminal_as_text(live: Shell) -> None:
    publish(live, "hostile", "\x1b[2J\x9b31m\u202egnp.exe")
    line = live.ok("query", "hostile").rstrip("\n")
    assert line.isprintable()


def test_topics_are_listed_with_their_counts(live: Shell) -> None:
    publish(live, "counted.topic", 1, 2, 3)
    table = live.ok("topics", "counted.*").splitlines()
    assert table[0].split() == ["TOPIC", "EVENTS", "SIZE", "FIRST", "LAST"]
    assert table[1].split()[:2] == ["counted.topic", "3"]
    assert json.loads(live.ok("topics", "counted.topic", "--json"))["count"] == 3


def test_without_a_server_the_exit_code_is_3_and_the_text_says_how_to_start_one(
    shell: Shell,
) -> None:
    for command in (["topics"], ["publish", "a"], ["tail"], ["run", "true"], ["status"]):
        done = shell(*command)
        assert done.returncode == 3, done.stderr
        assert "start one with: antiphon serve" in done.stderr
        assert done.stderr.count("\n") == 1


def test_an_open_tail_survives_a_killed_server_and_has_each_event_once(shell: Shell) -> None:
    shell.serve()
    tail = shell.begin("tail", "kept.*", "--json")
    probes = 0
    while not tail.out:  # "now" is when the tail has connected: tell it by the first event
        probes += 1
        publish(shell, "kept.probe", probes)
        assert tail.process.poll() is None, tail.err
    before = publish(shell, "kept.a", *range(5))
    shell.kill_server()
    shell.serve()
    after = publish(shell, "kept.b", *range(5))
    tail.wait_for_lines(len(tail.out))
    expected = before + after

    def seen() -> list[int]:
        events = [json.loads(line) for line in list(tail.out)]
        return [event["seq"] for event in events if event["topic"] != "kept.probe"]

    wait_for(lambda: len(seen()) >= len(expected), "all events")
    assert seen() == expected
    tail.signal(signal.SIGINT)
    assert tail.end() == 0
    assert any("lost the server" in line for line in tail.err)
    assert int(cursor_of(tail.err).split(".")[1]) >= after[-1]


@pytest.mark.long
def test_a_topic_is_described_by_a_schema_that_publishes_must_fit(
    live: Shell, tmp_path: Path
) -> None:
    file = tmp_path / "order.json"
    file.write_text('{"type": "object", "required": ["n"]}')
    assert live("topics", "describe", "described.*").returncode == 1
    live.ok("topics", "describe", "described.*", "--schema", str(file))
    shown = json.loads(live.ok("topics", "describe", "described.*"))
    assert shown == {"type": "object", "required": ["n"]}
    refused = live("publish", "described.x", "{}")
    assert (refused.returncode, "at ''" in refused.stderr) == (2, True)
    live.ok("publish", "described.x", '{"n": 1}')
    live.ok("topics", "describe", "described.*", "--remove")
    live.ok("publish", "described.x", "{}")
    file.write_text('{"type": "text"}')
    wrong = live("topics", "describe", "described.*", "--schema", str(file))
    assert (wrong.returncode, "(invalid_schema)" in wrong.stderr) == (2, True)
    file.write_text("nothing")
    wrong = live("topics", "describe", "described.*", "--schema", str(file))
    assert (wrong.returncode, f"{file} is no JSON" in wrong.stderr) == (1, True)
    missing = live("topics", "describe", "described.*", "--schema", f"{file}.no")
    assert missing.stderr == f"antiphon: {file}.no: no such file or directory\n"
    assert live("topics", "describe", "a", "--remove", "--schema", str(file)).returncode == 2
    assert "described.x" in live.ok("topics", "list", "described.*")
    assert "described.x" in live.ok("topics", "described.*")
