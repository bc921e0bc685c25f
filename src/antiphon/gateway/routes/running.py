"""What runs in the server: actors and workers."""

from __future__ import annotations

import builtins
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from antiphon.actors import ActorSystem
from antiphon.bus import Principal
from antiphon.errors import Forbidden, NotFound, cut
from antiphon.gateway.answers import json
from antiphon.gateway.audit import Audit
from antiphon.gateway.bodies import decode, json_of
from antiphon.gateway.operations import Operation, Parameter, Right
from antiphon.messages import ActorInfo, WorkerInfo, WorkerStart


class Workers(Protocol):
    """What the gateway asks of the workers.

    Raises:
        BusError: By every method: ``NotFound``, ``BadRequest`` and so on, for the asker.
    """

    async def start(self, ask: WorkerStart) -> WorkerInfo: ...

    async def stop(self, name: str) -> WorkerInfo: ...

    async def list(self) -> builtins.list[WorkerInfo]: ...


class RunningRoutes:
    """``/v1/actors`` and ``/v1/workers``."""

    def __init__(self, system: ActorSystem, workers: Workers, audit: Audit) -> None:
        self._system = system
        self._workers = workers
        self._audit = audit

    def operations(self) -> list[Operation]:
        return [
            Operation(
                method="GET",
                path="/v1/actors",
                summary="The tree of actors, parents first",
                handle=self._actors,
                right=Right.ADMIN,
                answers=list[ActorInfo],
            ),
            Operation(
                method="POST",
                path="/v1/actors/{key:path}/kill",
                summary="Let an actor crash; its supervisor decides what follows",
                handle=self._kill,
                right=Right.ADMIN,
                parts=(Parameter(name="key", about="its path, such as log/store"),),
                optional_body=True,
                status=204,
                codes=("not_found",),
            ),
            Operation(
                method="GET",
                path="/v1/workers",
                summary="The workers, then the last 20 that ended, newest first",
                handle=self._list,
                right=Right.WORKER,
                answers=list[WorkerInfo],
            ),
            Operation(
                method="POST",
                path="/v1/workers",
                summary="Start a supervised command",
                handle=self._start,
                right=Right.WORKER,
                body=WorkerStart,
                answers=WorkerInfo,
                status=201,
            ),
            Operation(
                method="DELETE",
                path="/v1/workers/{id}",
                summary="End a worker and all its processes",
                handle=self._stop,
                right=Right.WORKER,
                answers=WorkerInfo,
                parts=(Parameter(name="id", about="its name"),),
                status=202,
                codes=("not_found",),
            ),
        ]

    async def _actors(self, request: Request, principal: Principal) -> Response:
        return json(self._system.actors())

    async def _kill(self, request: Request, principal: Principal) -> Response:
        json_of(request, empty=True)
        key = request.path_params["key"]
        ref = self._system.lookup(key)
        if ref is None:
            raise NotFound(f"no actor {cut(key)}", value=key)
        if key == "root":
            raise Forbidden("root is the whole server: shut it down instead", value=key)
        if key == "user":
            raise Forbidden("user is not started again: kill what runs under it", value=key)
        self._audit.did("actor.killed", {"actor": key}, principal)
        ref.kill(f"by {principal.name}")
        return Response(status_code=204)

    async def _list(self, request: Request, principal: Principal) -> Response:
        return json(await self._workers.list())

    async def _start(self, request: Request, principal: Principal) -> Response:
        ask = decode(json_of(request), WorkerStart)
        started = await self._workers.start(ask)
        self._audit.did("worker.started", {"worker": started.id, "run": started.run}, principal)
        return json(started, status=201)

    async def _stop(self, request: Request, principal: Principal) -> Response:
        stopped = await self._workers.stop(request.path_params["id"])
        self._audit.did("worker.stopped", {"worker": stopped.id, "run": stopped.run}, principal)
        return json(stopped, status=202)
