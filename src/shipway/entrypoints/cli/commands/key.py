"""`shipway key`: API keys."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import anyio
import typer

from shipway.core.errors import UsageError
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption, command_group
from shipway.entrypoints.cli.output import emit, table
from shipway.entrypoints.wiring import opened
from shipway.services.keys import KeyRequest, NewKey, create_key, revoke_key, rotate_key

group = command_group("Create, list, rotate and revoke API keys.")
_UNITS_S = {"m": 60, "h": 3600, "d": 86_400}


@group.command()
def create(
    tenant: Annotated[str, typer.Option(help="Whose documents and budget the key uses.")] = "default",
    groups: Annotated[list[str] | None, typer.Option("--group", help="Document group; may be repeated.")] = None,
    roles: Annotated[
        list[str] | None, typer.Option("--role", help="invoke, operate or admin; may be repeated.")
    ] = None,
    routes: Annotated[list[str] | None, typer.Option("--route", help="Only this route; may be repeated.")] = None,
    expires: Annotated[str | None, typer.Option(help="Lifetime in m, h or d, such as 30m, 12h or 90d.")] = None,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Create a key and print it once."""
    del debug
    request = KeyRequest(
        tenant=tenant,
        groups=tuple(groups or ["public"]),
        roles=tuple(roles or ["invoke"]),
        routes=tuple(routes or []),
        expires_in_s=None if expires is None else _duration_s(expires, "--expires"),
    )
    made = anyio.run(_create, project, request)
    lines = [made.secret, f"key {made.entry.key_id} for tenant {tenant}; it is not shown again"]
    emit({"key_id": made.entry.key_id, "secret": made.secret, "tenant": tenant}, lines, as_json=as_json)


@group.command("list")
def list_keys(*, project: ProjectOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """List the keys in force, never the keys themselves."""
    del debug

    async def read() -> list[dict[str, object]]:
        async with opened(project) as app:
            return [
                {
                    "key_id": entry.key_id,
                    "tenant": entry.tenant,
                    "groups": list(entry.groups),
                    "roles": list(entry.roles),
                    "routes": list(entry.routes),
                    "expires": _date(entry.expires_at_s),
                    "rotated": _date(entry.rotated_at_s),
                    "old_secret_until": _date(entry.previous_until_s),
                }
                for entry in await app.state.keys.list()
            ]

    rows = anyio.run(read)
    header = ("key_id", "tenant", "groups", "roles", "routes", "expires", "rotated")
    shown = [[",".join(v) if isinstance(v := row[name], list) else v for name in header] for row in rows]
    emit(rows, table(header, shown), as_json=as_json)


@group.command()
def rotate(
    key_id: Annotated[str, typer.Argument(help="The id that `key list` shows.")],
    overlap: Annotated[
        str, typer.Option(help="How long the old secret still opens, in m, h or d; 0 ends it at once.")
    ] = "1h",
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Give a key a new secret and print it once; the old one opens for a while longer."""
    del debug
    overlap_s = 0.0 if overlap == "0" else _duration_s(overlap, "--overlap")

    async def act() -> NewKey:
        async with opened(project) as app:
            return await rotate_key(app, key_id, overlap_s=overlap_s)

    made = anyio.run(act)
    until = _date(made.entry.previous_until_s) if overlap_s else "now"
    lines = [made.secret, f"key {key_id} has this secret now; it is not shown again. The old one ends {until}"]
    shown = {"key_id": key_id, "secret": made.secret, "old_secret_until": made.entry.previous_until_s}
    emit(shown, lines, as_json=as_json)


@group.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="The id that `key list` shows.")],
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Revoke a key; the gateway refuses it within a second."""
    del debug

    async def act() -> None:
        async with opened(project) as app:
            await revoke_key(app, key_id)

    anyio.run(act)
    emit({"key_id": key_id, "revoked": True}, [f"{key_id} is revoked"], as_json=as_json)


async def _create(project: Path | None, request: KeyRequest) -> NewKey:
    async with opened(project) as app:
        return await create_key(app, request)


def _duration_s(text: str, option: str) -> float:
    match = re.fullmatch(r"(\d{1,6})([mhd])", text)
    if match is None or int(match[1]) == 0:
        raise UsageError(
            f"{option} {text!r} is not a time",
            hint="give a whole number from 1 and a unit: m (minutes), h (hours) or d (days), such as 30m, 12h or 90d",
        )
    return int(match[1]) * float(_UNITS_S[match[2]])


def _date(at_s: float | None) -> str:
    return "never" if at_s is None else datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds")
