"""``publish --lines``: each line stored once, in order, through broken connections and floods."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest
from tests.cli.conftest import WITHIN_S, Shell, environment, wait_for
from tests.client.servers import http_server

from antiphon.cli.feeding import BATCH_EVENTS, Feeder, counts
from antiphon.cli.lines import Line, json_payload, text_payload
from antiphon.client import Endpoint
from antiphon.errors import Forbidden
from antiphon.messages import EventIn


def payloads(shell: Shell, topic: str) -> list[Any]:
    said = shell.ok("query", topic, "--json", "--limit", "100000")
    return [json.loads(line)["payload"] for line in said.splitlines()]


def test_each_line_is_an_event_in_order(live: Shell) -> None:
    done = live("publish", "in.lines", "--lines", input="one\ntwo\r\n\n{3}")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "antiphon: 4 lines stored\n"
    assert payloads(live, "in.lines") == ["one", "two", "", "{3}"]


def test_a_line_of_json_is_any_json_and_what_is_none_is_left_out_by_number(live: Shell) -> None:
    lines = '{"n": 1}\n\n[2]\nnonsense\n1e400\n"last"\n'
    done = live("publish", "in.json", "--json-lines", "--type", "t", input=lines)
    assert done.returncode == 1
    told = done.stderr.splitlines()
    assert told[0].startswith("antiphon: line 4 was left out: no JSON")
    assert told[1].startswith("antiphon: line 5 was left out: ")
    assert told[2] == "antiphon: 3 lines stored, 2 left out"
    assert payloads(live, "in.json") == [{"n": 1}, [2], "last"]


def test_lines_with_an_id_can_be_published_again(live: Shell) -> None:
    for _ in range(2):
        done = live("publish", "in.again", "--lines", "--id", "import-7", input="a\nb\n")
        assert done.returncode == 0
    assert done.stderr == "antiphon: 2 lines stored, 2 of them by an earlier run\n"
    assert payloads(live, "in.again") == ["a", "b"]


@pytest.mark.parametrize(
    "options",
    [
        ("--lines", "--json-lines"),
        ("1", "--lines"),
        ("--lines", "--expect-last-seq", "0"),
        ("--lines", "--level", "none"),
        ("--lines", "--id", "x" * 49),
    ],
)
def test_what_does_not_go_with_lines_is_a_usage_error(live: Shell, options: Any) -> None:
    assert live("publish", "in.lines", *options, input="").returncode == 2


def test_a_topic_that_is_forbidden_ends_it_at_once(live: Shell) -> None:
    done = live("publish", "_sys.x", "--lines", input="a\nb\n")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "antiphon: 0 lines stored, 2 unanswered",
        "antiphon: admin may not publish to _sys.x: "
        "reserved topics are written by Antiphon alone (forbidden)",
    ]


class Writing:
    """A ``publish --lines`` whose input a test writes by and by."""

    def __init__(self, shell: Shell, topic: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "antiphon", "publish", topic, "--lines"],
            env=environment(shell.data),
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def write(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def end(self) -> tuple[int, str]:
        _, err = self.process.communicate(timeout=WITHIN_S)
        return self.process.returncode, err


def test_a_slow_commands_line_is_live_before_the_next_one_comes(live: Shell) -> None:
    writing = Writing(live, "slow.x")
    for n in range(3):
        writing.write(f"line {n}\n")
        wait_for(lambda n=n: len(payloads(live, "slow.x")) == n + 1, "the line")
    assert writing.end() == (0, "antiphon: 3 lines stored\n")


def test_a_killed_server_costs_no_line_and_doubles_none(live: Shell) -> None:
    writing = Writing(live, "through.it")

    def write() -> None:
        for n in range(3000):
            writing.write(f"{n}\n")

    writer = threading.Thread(target=write)
    writer.start()
    wait_for(lambda: payloads(live, "through.it"), "the first lines")
    live.kill_server()
    live.serve()
    writer.join(WITHIN_S)
    code, err = writing.end()
    assert code == 0, err
    assert err.splitlines()[-1].startswith("antiphon: 3000 lines stored")
    assert payloads(live, "through.it") == [str(n) for n in range(3000)]


def test_an_interrupt_stores_what_was_read_and_tells_the_counts(live: Shell) -> None:
    writing = Writing(live, "stop.it")
    writing.write("a\n")
    wait_for(lambda: payloads(live, "stop.it"), "the line")
    writing.process.send_signal(signal.SIGINT)
    code, err = writing.end()
    assert (code, err) == (130, "antiphon: 1 line stored\n")


# --- against a scripted server -----------------------------------------------------------------


def feeder(url: str, payload_of: Any = text_payload) -> tuple[Feeder, list[float]]:
    pauses: list[float] = []
    event = EventIn(topic="a", id="run")
    made = Feeder(lambda: Endpoint(url, "t"), event, payload_of, pause=pauses.append)
    return made, pauses


def overloaded(id: str) -> dict[str, Any]:
    return {"id": id, "error": {"code": "overloaded", "message": "m", "retry_after_ms": 200}}


def test_what_is_refused_for_now_is_sent_again_in_order_after_the_servers_pause() -> None:
    seen: list[list[str]] = []

    def answer(method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        ids = [event["id"] for event in json.loads(body)]
        seen.append(ids)
        room = 2 if len(seen) == 1 else 99
        results = [{"id": id, "seq": 1} for id in ids[:room]]
        return 200, {"results": results + [overloaded(id) for id in ids[room:]]}

    with http_server(answer) as url:
        feeding, pauses = feeder(url)
        for n in range(1, 5):
            feeding.put(Line(n, b"x"))
        feeding.flush()
        feeding.close()
    assert seen == [["run-1", "run-2", "run-3", "run-4"], ["run-3", "run-4"]]
    assert pauses == [0.2]
    assert counts(feeding) == "4 lines stored"


def test_a_lost_answer_is_asked_for_again_with_the_same_ids() -> None:
    seen: list[list[str]] = []

    def answer(method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        ids = [event["id"] for event in json.loads(body)]
        seen.append(ids)
        if len(seen) < 3:
            return 0, None  # the connection breaks
        return 200, {"results": [{"id": id, "seq": 1, "duplicate": True} for id in ids]}

    with http_server(answer) as url:
        feeding, pauses = feeder(url)
        feeding.put(Line(1, b"x"))
        feeding.flush()
        feeding.close()
    assert seen == [["run-1"]] * 3
    assert pauses == [0.1, 0.2]
    assert (feeding.stored, feeding.already) == (1, 0)


def test_a_line_that_spoils_its_request_is_found_and_the_others_are_stored() -> None:
    def answer(method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        events = json.loads(body)
        if any(event["payload"] == "bad" for event in events):
            problem = {"type": "t", "title": "t", "status": 400, "code": "bad_request"}
            return 400, {**problem, "detail": "no"}
        return 200, {"results": [{"id": event["id"], "seq": 1} for event in events]}

    with http_server(answer) as url:
        feeding, _ = feeder(url, json_payload)
        for n, data in enumerate((b'"a"', b'"bad"', b'"b"'), 1):
            feeding.put(Line(n, data))
        feeding.flush()
        feeding.close()
    assert (feeding.stored, feeding.refused) == (2, 1)


def test_it_is_full_before_it_takes_much_memory() -> None:
    feeding, _ = feeder("http://127.0.0.1:1")
    for n in range(BATCH_EVENTS):
        assert not feeding.is_full
        feeding.put(Line(n, b"x"))
    assert feeding.is_full
    large, _ = feeder("http://127.0.0.1:1")
    for n in range(3):
        large.put(Line(n, b"x" * 250_000))
    assert large.is_full
    assert len(large._batch()) == 2


def test_a_last_try_gives_up_without_a_server() -> None:
    feeding, pauses = feeder("http://127.0.0.1:1")
    feeding.put(Line(1, b"x"))
    feeding.flush_once()
    assert (feeding.waiting, pauses) == (1, [])
    assert counts(feeding) == "0 lines stored, 1 unanswered"


def test_what_every_line_would_be_told_ends_it() -> None:
    def answer(method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        return 200, {"results": [{"id": None, "error": {"code": "forbidden", "message": "m"}}]}

    with http_server(answer) as url:
        feeding, _ = feeder(url)
        feeding.put(Line(1, b"x"))
        with pytest.raises(Forbidden):
            feeding.flush()
        feeding.close()
