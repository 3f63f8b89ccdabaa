"""The control plane's HTTP API: authenticate, one service call, render.

Every path but /health needs a key: reading needs the role `operate`, changing needs `admin`.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Body, Depends, FastAPI, Header, Request
from fastapi.responses import JSONResponse

from shipway import __version__
from shipway.core.errors import ShipwayError
from shipway.core.ids import ulid
from shipway.core.principal import Principal
from shipway.entrypoints.failures import failure_of
from shipway.rollouts.model import CommandKind
from shipway.services.access import authenticate, require_role
from shipway.services.application import Application
from shipway.services.releases import verified_blob
from shipway.services.rollouts import command_rollout, rollout_views

Leading = Callable[[], bool]


def control_app(application: Application, *, leading: Leading) -> FastAPI:
    """Return the API over an opened application; `leading` tells whether this process holds the lease."""
    api = FastAPI(title="Shipway control", version=__version__, docs_url=None, redoc_url=None)

    async def operator(authorization: Annotated[str | None, Header()] = None) -> Principal:
        principal = await authenticate(application.state.keys, authorization, application.clock)
        require_role(principal, "operate")
        return principal

    async def admin(principal: Annotated[Principal, Depends(operator)]) -> Principal:
        require_role(principal, "admin")
        return principal

    _handle_errors(api, application)

    @api.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "leading": leading()}

    @api.get("/version", dependencies=[Depends(operator)])
    async def version() -> dict[str, Any]:
        snapshot = await application.state.snapshots.read(application.environment)
        routes = [
            {"route": r.route, "stable": r.stable, "candidate": r.candidate, "weight": r.candidate_weight}
            for r in snapshot.routes
        ]
        return {
            "shipway": __version__,
            "environment": application.environment,
            "snapshot": snapshot.version,
            "routes": routes,
        }

    @api.get("/releases", dependencies=[Depends(operator)])
    async def releases() -> list[dict[str, Any]]:
        return [release.to_dict() for release in await application.releases.list()]

    @api.get("/releases/{name}", dependencies=[Depends(operator)])
    async def release(name: str) -> dict[str, Any]:
        found = await application.releases.get(name)
        prompts = {
            key: (await verified_blob(application, entry["digest"], f"prompt {key}")).decode()
            for key, entry in found.manifest["prompts"].items()
        }
        return found.to_dict() | {"parts": found.part_digests(), "prompts": prompts}

    @api.get("/rollouts", dependencies=[Depends(operator)])
    async def rollouts() -> list[dict[str, Any]]:
        return await rollout_views(application)

    @api.post("/rollouts/{rollout}/{command}")
    async def steer(
        rollout: str,
        command: CommandKind,
        principal: Annotated[Principal, Depends(admin)],
        reason: Annotated[str, Body(embed=True, max_length=500)] = "",
    ) -> dict[str, Any]:
        return await command_rollout(application, rollout, command, reason=reason, actor=f"key:{principal.subject}")

    @api.get("/audit", dependencies=[Depends(operator)])
    async def audit(after: int = 0, limit: int = 1000) -> list[dict[str, Any]]:
        events = await application.state.audit.entries(after=after, limit=min(limit, 5000))
        return [
            json.loads(json.dumps(event, default=lambda value: {s: getattr(value, s) for s in value.__slots__}))
            for event in events
        ]

    return api


def _handle_errors(api: FastAPI, application: Application) -> None:
    @api.middleware("http")
    async def add_request_id(request: Request, call_next: Callable[[Request], Awaitable[Any]]) -> Any:
        request.state.request_id = f"req_{ulid(application.clock.now_s())}"
        response = await call_next(request)
        response.headers["X-Request-Id"] = request.state.request_id
        return response

    @api.exception_handler(ShipwayError)
    async def shipway_error(request: Request, error: ShipwayError) -> JSONResponse:
        body = {"message": error.message, "type": type(error).__name__, "hint": error.hint}
        request_id = getattr(request.state, "request_id", "")
        return JSONResponse({"error": body, "request_id": request_id}, failure_of(error).http_status)
