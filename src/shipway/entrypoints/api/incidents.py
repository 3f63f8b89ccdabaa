"""The control API's switches and flags: reading needs the role `operate`, changing needs `admin`."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends

from shipway.core.principal import Principal
from shipway.services.application import Application
from shipway.services.flags import delete_flag, list_flags, set_flag, show_flag
from shipway.services.switches import SwitchRequest, clear_switch, list_switches, set_switch

Text = Annotated[str, Body(max_length=500)]


def incident_reading(application: Application) -> APIRouter:
    """Return what shows switches and flags."""
    router = APIRouter()

    @router.get("/switches")
    async def switches() -> list[dict[str, Any]]:
        return [{"name": switch.name, **asdict(switch)} for switch in await list_switches(application)]

    @router.get("/flags")
    async def flags() -> dict[str, Any]:
        return await list_flags(application)

    @router.get("/flags/{key}")
    async def flag(key: str) -> dict[str, Any]:
        return await show_flag(application, key)

    return router


def incident_changing(application: Application, admin: Callable[..., Awaitable[Principal]]) -> APIRouter:
    """Return what sets and clears them; the audit log names the key."""
    router = APIRouter()
    Admin = Annotated[Principal, Depends(admin)]  # noqa: N806 - a type, made from the argument

    @router.post("/switches")
    async def set_one(
        principal: Admin,
        kind: Text,
        target: Text = "*",
        value: Text = "",
        expires_in_s: Annotated[float | None, Body()] = None,
        reason: Text = "",
    ) -> dict[str, Any]:
        request = SwitchRequest(kind, target, value, expires_in_s, reason)
        return asdict(await set_switch(application, request, actor=_actor(principal)))

    @router.delete("/switches/{name:path}")
    async def clear(name: str, principal: Admin) -> dict[str, Any]:
        return asdict(await clear_switch(application, name, actor=_actor(principal)))

    @router.put("/flags/{key}")
    async def put(key: str, principal: Admin, definition: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        written = await set_flag(application, key, definition, actor=_actor(principal))
        return {"flag": key, "version": written.version}

    @router.delete("/flags/{key}")
    async def delete(key: str, principal: Admin) -> dict[str, Any]:
        written = await delete_flag(application, key, actor=_actor(principal))
        return {"flag": key, "version": written.version}

    return router


def _actor(principal: Principal) -> str:
    return f"key:{principal.subject}"
