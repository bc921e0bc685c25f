"""What a scrape says of a live server, read by Prometheus' own parser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from antiphon.gateway import Doors, bind
from antiphon.gateway.forwarded import Proxies
from antiphon.gateway.traffic import BOUNDS_S, Durations

from .conftest import serving

Until = Callable[[Callable[[], bool]], Any]


LABELS = ("operation", "name", "reason", "status", "code", "le")


async def scrape(desk: Any) -> dict[Any, float]:
    """Each sample by its name and labels."""
    answer = await desk.ask("GET", "/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = list(parse_text(answer.body.decode()))
    assert all(family.documentation for family in families)
    samples = [sample for family in families for sample in family.samples]
    known = {*LABELS, "version", "implementation", "major", "minor", "patchlevel"}
    assert {label for sample in samples for label in sample.labels} <= known
    return {
        (one.name, *(one.labels[name] for name in LABELS if name in one.labels)): one.value
        for one in samples
    }


async def test_a_scrape_tells_events_requests_sockets_actors_and_the_disk(
    desk: Any, until: Until
) -> None:
    async with desk.client() as socket:
        await socket.sub("s", "a.*")
        await desk.post("/v1/events", [{"topic": "a.b"}, {"topic": "a.b", "payload": 1}])
        await socket.seqs("s", 2)
        assert (await desk.ask("GET", "/v1/events/99")).status == 404
        assert (await desk.ask("GET", "/v1/topics", token="wrong")).status == 401
        assert (await desk.ask("GET", "/", headers={"Host": "evil.example"})).status == 403
        told = await scrape(desk)
        assert told[("antiphon_websockets",)] == 1
    await until(lambda: not desk.connections())
    assert told[("antiphon_log_head_seq",)] == desk.bus.head
    assert told[("antiphon_events_published_total",)] == desk.bus.head
    assert told[("antiphon_events_delivered_total",)] == 2
    assert told[("antiphon_websocket_frames_received_total",)] >= 3
    assert told[("antiphon_websocket_sent_bytes_total",)] > 300
    assert told["antiphon_http_requests_total", "POST /v1/events", "200"] == 1
    assert told["antiphon_http_requests_total", "GET /v1/events/{seq}", "404"] == 1
    assert told["antiphon_http_requests_total", "GET /v1/topics", "401"] == 1
    assert told["antiphon_http_requests_total", "other", "403"] == 1
    assert told[("antiphon_denied_total",)] == 1
    assert told["antiphon_http_request_duration_seconds_count", "POST /v1/events"] == 1
    assert told["antiphon_http_request_duration_seconds_bucket", "POST /v1/events", "+Inf"] == 1
    assert told[("antiphon_actors",)] == len(desk.system.actors()) + 1  # the connection's has ended
    assert told[("antiphon_actors_started_total",)] >= told[("antiphon_actors",)] - 1
    assert told[("antiphon_log_up",)] == 1
    assert told[("process_resident_memory_bytes",)] > 0


async def test_requests_behind_a_proxy_are_counted_by_their_operations(tmp_path: Path) -> None:
    doors = Doors(tcp=bind("127.0.0.1", 0), proxies=Proxies(["127.0.0.1"]))
    async with serving(tmp_path / "web", doors=doors) as desk:
        await desk.ask("GET", "/v1/topics", headers={"X-Forwarded-For": "192.0.2.7"})
        told = await scrape(desk)
    assert told["antiphon_http_requests_total", "GET /v1/topics", "200"] == 1


async def test_a_restart_a_drop_and_the_lag_of_a_durable_are_told(desk: Any, until: Until) -> None:
    holder = await desk.bus.durable("mine", "a.*")
    for _ in range(3):
        await desk.bus.publish_event("a.b")
    slow = desk.bus.open_subscription(["a.typing"], on_ready=lambda: None)
    while slow.take() is not None:
        pass
    for _ in range(300):
        desk.bus.publish_event("a.typing")
    slow.close()
    desk.system.lookup("log/store").kill("by a test")
    await until(lambda: desk.system.told["restarted"] == 1)
    told = await scrape(desk)
    assert told["antiphon_durable_lag", "mine"] == desk.bus.head
    assert told["antiphon_durable_stopped", "mine"] == 0
    assert told[("antiphon_ephemeral_dropped_total",)] == slow.missed > 0
    assert told[("antiphon_actors_restarted_total",)] == desk.system.told["restarted"]
    await holder.aclose()


async def test_no_label_is_a_topic_an_actor_or_a_token(desk: Any) -> None:
    before = set(await scrape(desk))
    for n in range(20):
        await desk.post("/v1/events", {"topic": f"t{n}.x"})
        await desk.ask("GET", f"/v1/events/{n}")
        await desk.ask("GET", f"/nowhere/{n}")
    more = {key for key in set(await scrape(desk)) - before if len(key) > 1}
    names = {key[1] for key in more}
    assert names <= {"POST /v1/events", "GET /v1/events/{seq}", "GET /metrics", "other"}


async def test_openmetrics_is_given_to_whoever_asks_for_it(desk: Any) -> None:
    headers = {"Accept": "application/openmetrics-text;version=1.0.0"}
    answer = await desk.ask("GET", "/metrics", headers=headers)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    names = {family.name for family in parse_openmetrics(answer.body.decode())}
    assert "antiphon_events_published" in names


@pytest.mark.parametrize(
    ("sub", "status"),
    [((), 403), (("a.*",), 403), (("_sys.stats.actors",), 403), (("_sys.stats.*",), 200)],
)
async def test_a_scrape_needs_a_token_that_may_see_the_stats(
    desk: Any, sub: tuple[str, ...], status: int
) -> None:
    token = await desk.issue("scraper", sub=sub)
    assert (await desk.ask("GET", "/metrics", token=token)).status == status


def test_a_duration_falls_below_the_first_bound_that_is_not_less() -> None:
    durations = Durations()
    taken = (0.0, BOUNDS_S[0], 0.002, BOUNDS_S[-1], 99.0)
    for seconds in taken:
        durations.add(seconds)
    assert [durations.buckets[at] for at in (0, 1, -2, -1)] == [2, 1, 1, 1]
    assert durations.total_s == pytest.approx(sum(taken))
