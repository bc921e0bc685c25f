"""``/metrics``, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from antiphon.actors import ActorSystem
from antiphon.bus import Bus, Principal
from antiphon.errors import Forbidden
from antiphon.gateway.operations import Content, Operation
from antiphon.gateway.traffic import Traffic

if TYPE_CHECKING:
    from antiphon.gateway.metrics import Metrics

STATS = "_sys.stats.*"
"""Whoever may see these may scrape: the numbers are of the same kind."""


class MetricsRoutes:
    """``/metrics``.

    Args:
        status: What ``GET /v1/status`` shows.
    """

    def __init__(
        self, bus: Bus, system: ActorSystem, traffic: Traffic, status: Callable[[], Any]
    ) -> None:
        self._bus = bus
        self._system = system
        self._traffic = traffic
        self._status = status

    def operations(self) -> list[Operation]:
        return [
            Operation(
                method="GET",
                path="/metrics",
                summary="Numbers for Prometheus",
                about=f"Needs an admin token, or one whose patterns cover `{STATS}`.",
                handle=self._show,
                gives=(
                    Content(media="text/plain"),
                    Content(media="application/openmetrics-text"),
                ),
            )
        ]

    @cached_property
    def _metrics(self) -> Metrics:
        from antiphon.gateway.metrics import Metrics  # only who is scraped pays for its library

        return Metrics(
            bus=self._bus, system=self._system, traffic=self._traffic, facts=self._status
        )

    async def _show(self, request: Request, principal: Principal) -> Response:
        if not principal.access.may_subscribe(STATS):
            raise Forbidden(f"GET /metrics needs a token that may see {STATS}")
        text, media = self._metrics.text(request.headers.get("accept", ""))
        return Response(text, headers={"cache-control": "no-store", "content-type": media})
