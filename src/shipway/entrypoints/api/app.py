"""The control plane's HTTP API: authenticate, one service call, render.

Every path but /health needs a key: reading needs the role `operate`, changing needs `admin`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request

from shipway import __version__
from shipway.core.errors import UsageError
from shipway.core.principal import Principal
from shipway.entrypoints.api.incidents import incident_changing, incident_reading
from shipway.entrypoints.api.refusals import handle_errors
from shipway.entrypoints.api.words import reason_of
from shipway.rollouts.model import CommandKind
from shipway.services.access import authenticate, require_role
from shipway.services.application import Application
from shipway.services.releases import verified_blob
from shipway.services.rollouts import command_rollout, rollout_views

Leading = Callable[[], bool]


def control_app(application: Application, *, leading: Leading) -> FastAPI:
    """Return the API over an opened application; `leading` tells whether this process holds the lease."""
    api = FastAPI(title="Shipway control", version=__version__, docs_url=None, redoc_url=None)
    handle_errors(api, application.clock)

    @api.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "leading": leading()}

    async def operator(authorization: Annotated[str | None, Header()] = None) -> Principal:
        principal = await authenticate(application.state.keys, authorization, application.clock)
        require_role(principal, "operate")
        return principal

    async def admin(principal: Annotated[Principal, Depends(operator)]) -> Principal:
        require_role(principal, "admin")
        return principal

    api.include_router(_reading(application), dependencies=[Depends(operator)])
    api.include_router(incident_reading(application), dependencies=[Depends(operator)])
    api.include_router(_changing(application, admin))
    api.include_router(incident_changing(application, admin))
    return api


def _reading(application: Application) -> APIRouter:
    router = APIRouter()

    @router.get("/version")
    async def version() -> dict[str, Any]:
        snapshot = await application.state.snapshots.read(application.environment)
        routes = [
            {"route": item.route, "stable": item.stable, "candidate": item.candidate, "weight": item.candidate_weight}
            for item in snapshot.routes
        ]
        told = {"environment": application.environment, "snapshot": snapshot.version, "routes": routes}
        return {"shipway": __version__, **told}

    @router.get("/releases")
    async def releases() -> list[dict[str, Any]]:
        return [release.to_dict() for release in await application.releases.list()]

    @router.get("/releases/{name}")
    async def release(name: str) -> dict[str, Any]:
        found = await application.releases.get(name)
        prompts = {
            key: (await verified_blob(application, entry["digest"], f"prompt {key}")).decode()
            for key, entry in found.manifest["prompts"].items()
        }
        return found.to_dict() | {"parts": found.part_digests(), "prompts": prompts}

    @router.get("/rollouts")
    async def rollouts() -> list[dict[str, Any]]:
        return await rollout_views(application)

    @router.get("/audit")
    async def audit(after: int = 0, limit: Annotated[int, Query(ge=1, le=5000)] = 1000) -> list[dict[str, Any]]:
        return [asdict(event) for event in await application.state.audit.entries(after=after, limit=limit)]

    return router


def _changing(application: Application, admin: Callable[..., Awaitable[Principal]]) -> APIRouter:
    router = APIRouter()

    @router.post("/rollouts/{rollout}/{command}")
    async def steer(
        rollout: str,
        command: str,
        principal: Annotated[Principal, Depends(admin)],
        request: Request,
    ) -> dict[str, Any]:
        known = [kind.value for kind in CommandKind]
        if command not in known:
            raise UsageError(f"there is no command {command!r}", hint=f"use one of {', '.join(known)}")
        reason, actor = reason_of(await request.body()), f"key:{principal.subject}"
        return await command_rollout(application, rollout, CommandKind(command), reason=reason, actor=actor)

    return router
