"""The server's numbers for Prometheus, read where they are kept when somebody asks.

Labels are few and bounded: operations, statuses, close codes, reasons, and the names of
durable subscriptions, of which there are at most 1,000. No topic, actor or token is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from antiphon import __version__
from antiphon.actors import ActorSystem
from antiphon.bus import Bus
from antiphon.gateway.traffic import BOUNDS_S, Traffic


class Metrics:
    """Tells the numbers of one server.

    Args:
        facts: What only the application knows: ``log_bytes``, ``free_bytes``, ``uptime_s``.
            One that is absent, or None, isn't told.
    """

    def __init__(
        self,
        *,
        bus: Bus,
        system: ActorSystem,
        traffic: Traffic,
        facts: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Numbers(bus, system, traffic, facts))
        ProcessCollector(registry=self._registry)

    def text(self, accept: str) -> tuple[bytes, str]:
        """All of them now, and their content type: Prometheus' text, or OpenMetrics."""
        encode, media = choose_encoder(accept)
        return encode(self._registry), media


class _Numbers(Collector):
    def __init__(
        self,
        bus: Bus,
        system: ActorSystem,
        traffic: Traffic,
        facts: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._bus = bus
        self._system = system
        self._traffic = traffic
        self._facts = facts

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("antiphon_build", "version", {"version": __version__})
        yield from self._log()
        yield from self._durables()
        yield from self._actors()
        yield from self._http()
        yield from self._sockets()
        yield from self._app()

    def _log(self) -> Iterator[Metric]:
        log = self._bus.log
        yield _gauge("log_head_seq", "last seq of the log", log.head)
        yield _gauge("log_up", "1 while the log takes events", log.status.state == "ok")
        yield _gauge("log_topics", "topics with events", len(log.topics))
        yield _gauge("log_waiting_events", "events waiting to be stored", log.waiting)
        yield _gauge("log_waiting_bytes", "bytes waiting to be stored", log.waiting_bytes)
        for name, about in (
            ("published", "events stored"),
            ("duplicates", "events that had been stored before"),
            ("refused", "events refused by the log"),
            ("overloaded", "events refused since too much waited"),
        ):
            yield _counter(f"events_{name}", about, log.counters[name])
        yield _counter("events_delivered", "events handed to subscriptions", log.delivered)
        yield _counter("ephemeral_dropped", "ephemeral events slow readers missed", log.missed)
        removed = CounterMetricFamily(
            "antiphon_removed", "events removed, by reason; topics", labels=["reason"]
        )
        for reason, count in log.removals.counters.items():
            removed.add_metric([reason], count)
        yield removed
        yield _counter("removed_bytes", "bytes of removed events", log.removals.size_bytes)
        yield _gauge("subscriptions", "open subscriptions", log.subscriptions)

    def _durables(self) -> Iterator[Metric]:
        infos = self._bus.durables()
        yield _gauge("durables", "durable subscriptions", len(infos))
        for field, about in (
            ("lag", "seqs between the position and the head"),
            ("in_hand", "events in holders' hands"),
            ("waiting", "events read and in nobody's hand"),
        ):
            yield _by_name(GaugeMetricFamily, f"durable_{field}", about, infos, field)
        for field, about in (
            ("parked", "events that no holder could handle"),
            ("lost", "events that were gone before they were settled"),
        ):
            yield _by_name(CounterMetricFamily, f"durable_{field}", about, infos, field)
        stopped = GaugeMetricFamily("antiphon_durable_stopped", "1 if it stands still", labels=NAME)
        for info in infos:
            stopped.add_metric([info.name], info.state == "stopped")
        yield stopped

    def _actors(self) -> Iterator[Metric]:
        system, infos = self._system, self._system.actors()
        yield _gauge("actors", "actors alive", len(infos))
        deepest = max((info.depth for info in infos), default=0)
        yield _gauge("mailbox_depth_max", "messages in the fullest mailbox", deepest)
        workers = sum(info.key.startswith("services/workers/") for info in infos)
        yield _gauge("workers", "workers alive", workers)
        for what, about in (
            ("started", "generations of actors started"),
            ("restarted", "generations started anew"),
            ("failed", "generations that failed"),
            ("tripped", "supervisors that gave up"),
        ):
            yield _counter(f"actors_{what}", about, system.told[what])
        letters = CounterMetricFamily(
            "antiphon_dead_letters", "messages nobody handled", labels=["reason"]
        )
        for reason, count in sorted(system.dead_letters.counts.items()):
            letters.add_metric([str(reason)], count)
        yield letters
        blocked = 0 if system.watchdog is None else system.watchdog.blocked
        yield _counter("loop_blocked", "times the loop was blocked for a second", blocked)

    def _http(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "antiphon_http_requests", "HTTP requests answered", labels=["operation", "status"]
        )
        for (operation, status), count in sorted(self._traffic.requests.items()):
            requests.add_metric([operation, str(status)], count)
        yield requests
        seconds = HistogramMetricFamily(
            "antiphon_http_request_duration_seconds",
            "time until an answer began",
            labels=["operation"],
        )
        for operation, durations in sorted(self._traffic.durations.items()):
            buckets = _cumulated(durations.buckets)
            seconds.add_metric([operation], buckets, durations.total_s)
        yield seconds
        yield _counter("denied", "requests turned away at the door", self._traffic.denied)

    def _sockets(self) -> Iterator[Metric]:
        traffic = self._traffic
        yield _gauge("websockets", "WebSockets open", traffic.sockets)
        yield _counter("websockets_accepted", "WebSockets opened", traffic.accepted)
        closes = CounterMetricFamily(
            "antiphon_websocket_closes", "WebSockets closed by the server", labels=["code"]
        )
        for code, count in sorted(traffic.closes.items()):
            closes.add_metric([str(code)], count)
        yield closes
        yield _counter("websocket_frames_received", "frames that came", traffic.frames_in)
        yield _counter("websocket_frames_sent", "frames that went", traffic.frames_out)
        yield _counter("websocket_sent_bytes", "bytes of frames that went", traffic.bytes_out)

    def _app(self) -> Iterator[Metric]:
        facts = self._facts()
        for key, name, about in (
            ("log_bytes", "log_size_bytes", "bytes of the log on disk"),
            ("free_bytes", "disk_free_bytes", "bytes free on the log's disk"),
            ("uptime_s", "uptime_seconds", "seconds since the start"),
        ):
            if facts.get(key) is not None:
                yield _gauge(name, about, facts[key])


NAME = ["name"]


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(f"antiphon_{name}", about, value=value)


def _counter(name: str, about: str, value: float) -> Metric:
    return CounterMetricFamily(f"antiphon_{name}", about, value=value)


def _by_name(
    family: type[GaugeMetricFamily] | type[CounterMetricFamily],
    name: str,
    about: str,
    infos: list[Any],
    field: str,
) -> Metric:
    metric = family(f"antiphon_{name}", about, labels=NAME)
    for info in infos:
        metric.add_metric([info.name], getattr(info, field))
    return metric


def _cumulated(buckets: list[int]) -> list[tuple[str, float]]:
    """As Prometheus wants them: each with all that are smaller."""
    bounds = [*map(str, BOUNDS_S), "+Inf"]
    sums = [sum(buckets[: at + 1]) for at in range(len(buckets))]
    return list(zip(bounds, map(float, sums), strict=True))
