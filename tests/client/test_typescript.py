"""The TypeScript client under Node: against a real server, and against one that misbehaves."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.client.node import ROOT, WEB, agent, run_node
from tests.client.servers import Talk, frame_server
from tests.serving import Server

LIMITS = {
    "frame_bytes": 1_048_576,
    "event_bytes": 262_144,
    "subscriptions": 128,
    "patterns": 32,
    "publish_events": 1_000,
    "window": 10_000,
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    try:
        yield server
    finally:
        server.stop()


def _stored(server: Server, topic: str) -> list[int]:
    """The numbers of the events of *topic*, as the log has them."""
    request = urllib.request.Request(
        f"{server.url}/v1/events?pattern={topic}&limit=500",
        headers={"authorization": f"Bearer {server.token}"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return [event["payload"]["n"] for event in json.load(response)["events"]]


def _welcome(talk: Talk) -> None:
    """Answer hello, and the subscription that follows."""
    assert talk.take()["op"] == "hello"
    talk.say(op="welcome", conn="c1", epoch="e1", head=0, limits=LIMITS, ping_ms=25000)
    talk.say(op="ok", id=talk.take()["id"], effective=["song.*"], pos="e1.0")


def test_a_killed_server_loses_no_publish_and_each_event_is_handled_once(server: Server) -> None:
    """kill -9 in the midst of publishing, more published during the outage, a new start."""
    with agent(server.url, server.token) as client:
        client.wait_for(notice="live")
        client.say(publish=list(range(20)))
        client.wait(lambda agent: len(agent.all("event")) == 20)
        client.say(publish=list(range(20, 200)))
        server.kill()
        client.wait_for(link="waiting")
        client.say(publish=list(range(200, 230)))
        server.start()
        client.wait(lambda agent: len(agent.all("published")) == 230)
        client.wait(lambda agent: len(agent.all("event")) == 230)
        assert client.all("failed") == []
        assert client.all("event") == list(range(230))
        assert [line["seq"] for line in client.heard if "event" in line] == sorted(
            line["seq"] for line in client.heard if "published" in line
        )
    assert _stored(server, "song.*") == list(range(230))


def test_a_durable_subscription_keeps_its_place_and_gives_back_what_failed(server: Server) -> None:
    """Each event comes until its handler did it; the next holder gets none of those again."""
    with agent(server.url, server.token, "choir") as first:
        first.wait_for(notice="opened")
        server.publish([{"topic": "song.verse", "payload": {"n": n}} for n in range(10)])
        first.wait(lambda agent: set(agent.all("event")) == set(range(10)))
        assert max(first.all("attempts")) == 2  # of the first that it was given with 5
    server.publish([{"topic": "song.verse", "payload": {"n": n}} for n in (10, 11)])
    with agent(server.url, server.token, "choir") as second:
        second.wait(lambda agent: 11 in agent.all("event"))
        assert second.all("event") == [10, 11]


def test_a_revoked_token_ends_the_link_and_another_one_begins_it_anew() -> None:
    """4502: no more tries, publishes fail at once; after refresh all goes on as it was."""
    tokens: list[str | None] = []

    def revoke(talk: Talk) -> None:
        _welcome(talk)
        talk.take()  # a publish, never answered
        talk.say(op="bye", code=4502, reason="the token was revoked", retry=False)
        talk.drop(4502, "the token was revoked")

    def accept(talk: Talk) -> None:
        tokens.append(talk.take().get("token"))
        talk.say(op="welcome", conn="c2", epoch="e1", head=0, limits=LIMITS, ping_ms=25000)
        sub = talk.take()
        assert sub["after"] == "e1.0"
        talk.say(op="ok", id=sub["id"], effective=["song.*"], pos="e1.0")
        pub = talk.take()
        talk.say(op="ok", id=pub["id"], results=[{"id": "x", "seq": 1}])
        talk.wait_for_end()

    with frame_server(revoke, accept) as url, agent(url, "old") as client:
        client.wait_for(notice="opened")
        client.say(publish=[1])
        client.wait_for(link="ended", code=4502)
        client.wait_for(failed=1, code="closed")
        client.say(publish=[2])
        client.wait_for(failed=2, code="closed")
        client.say(refresh="new")
        client.wait_for(refreshed=True)
        client.say(publish=[3])
        client.wait_for(published=3)
    assert tokens == ["new"]


def test_too_many_sockets_are_tried_again_and_what_is_no_frame_ends_the_link() -> None:
    """4009 is below 4500: it comes back by itself. A server of another kind is left alone."""

    def full(talk: Talk) -> None:
        talk.take()
        talk.say(op="bye", code=4009, reason="too many sockets", retry=True)
        talk.drop(4009, "too many sockets")

    def strange(talk: Talk) -> None:
        _welcome(talk)
        talk.say(no="frame")
        talk.wait_for_end()

    with frame_server(full, strange) as url, agent(url, "t") as client:
        client.wait_for(link="ended", code=1002)
        links = client.all("link")
        assert links[0] == "waiting"
        assert links[-2:] == ["live", "ended"]


def test_the_program_of_the_page_runs_as_it_stands(server: Server, tmp_path: Path) -> None:
    """``docs/typescript.md``: its program, from a folder that has ``web``, prints what it says."""
    text = (ROOT / "docs" / "typescript.md").read_text("utf-8")
    found = re.search(r"```ts run\n(.*?)```.*?```text output\n(.*?)```", text, re.S)
    assert found is not None
    (tmp_path / "web").symlink_to(WEB)
    program = tmp_path / "program.ts"
    program.write_text(found[1], "utf-8")
    assert run_node(str(program), server.url, server.token, cwd=tmp_path) == found[2]


@pytest.mark.long  # `make check` runs them by npm; here they see faults
def test_its_own_tests_pass() -> None:
    """The pure parts: the session in any weather, the outbox, the link, the iterator."""
    run_node("--test", "tests/connection/*.test.ts", "tests/state/*.test.ts")
